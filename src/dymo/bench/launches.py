"""Counts what keeps an accelerator waiting: kernels that are launched, and numbers that the host reads back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_aten = torch.ops.aten

# No kernel, and no view either: memory that is asked for, or the same memory under another name.
_FREE = {
    _aten._unsafe_view, _aten.empty, _aten.empty_like, _aten.empty_strided, _aten.empty_permuted, _aten.new_empty,
    _aten.new_empty_strided, _aten.lift_fresh, _aten.resize_, _aten.set_, _aten.is_same_size,
}  # fmt: skip

# The host needs to know how many there are, or whether they are equal, before it can go on.
_ASKING = {
    _aten.nonzero, _aten.masked_select, _aten.equal, _aten._unique2, _aten.unique_dim, _aten.unique_consecutive, _aten.repeat_interleave,
}  # fmt: skip

_READING = {
    Tensor.tolist: "tolist", Tensor.numpy: "numpy", Tensor.cpu: "cpu", Tensor.item: "item", Tensor.__bool__: "bool",
    Tensor.__float__: "float", Tensor.__int__: "int", Tensor.__index__: "index",
}  # fmt: skip


class Launches(TorchDispatchMode):
    """Counts, while it is open, the operations that would launch a kernel and those for which the host would wait.

    An operation of torch is one kernel, attention as a whole too; views and bare allocations are none. A read is one
    transfer, of a number or of a list. device: which tensors are on the accelerator; all unless said, so that a run on the
    CPU is counted as one on an accelerator would be.
    """

    def __init__(self, device: Callable[[Tensor], bool] = lambda _: True):
        super().__init__()
        self.device = device
        self.by_kernel: Counter[str] = Counter()
        self.by_read: Counter[str] = Counter()
        self._reads = _Reads(self)

    @property
    def kernels(self) -> int:
        """Launched so far."""
        return self.by_kernel.total()

    @property
    def reads(self) -> int:
        """Waited for so far."""
        return self.by_read.total()

    def restart(self) -> None:
        """Count from 0 again."""
        self.by_kernel.clear()
        self.by_read.clear()

    def __enter__(self) -> Launches:
        super().__enter__()
        self._reads.__enter__()
        # A fake tensor would read its list number by number.
        self._patch = mock.patch.object(FakeTensor, "tolist", self._listed(FakeTensor.tolist))
        self._patch.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._patch.stop()
        self._reads.__exit__(*exc)
        super().__exit__(*exc)

    def _listed(self, plain: Callable[[Tensor], list]) -> Callable[[Tensor], list]:
        def tolist(x: Tensor) -> list:
            return self._reads.counted("tolist", lambda: plain(x))

        return tolist

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if func.namespace != "aten" or func.is_view or packet in _FREE:
            return out
        touched = [x for x in tree_iter((args, kwargs, out)) if isinstance(x, Tensor)]
        if not any(map(self.device, touched)):
            return out
        name = str(func)
        if packet is _aten._local_scalar_dense:
            self._read("item")
            return out
        self.by_kernel[name] += 1
        if packet in _ASKING or _masked(packet, args):
            self._read(name)
        return out

    def _read(self, name: str) -> None:
        if not self._reads.inside:
            self.by_read[name] += 1


class _Reads(TorchFunctionMode):
    """Sees the calls that read a whole tensor at once, which are several operations or none."""

    def __init__(self, account: Launches):
        super().__init__()
        self.account, self.inside = account, False

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = _READING.get(func) or ("to" if func is Tensor.to and _to_host(args, kwargs) else None)
        if name is None or self.inside or not self.account.device(args[0]):
            return func(*args, **kwargs)
        return self.counted(name, lambda: func(*args, **kwargs))

    def counted(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` gives, as one read whatever it is made of."""
        self.account.by_read[name] += 1
        self.inside = True
        try:
            return read()
        finally:
            self.inside = False


def _to_host(args: tuple, kwargs: dict) -> bool:
    target = kwargs.get("device", args[1] if len(args) > 1 else None)
    return (
        isinstance(target, (str, torch.device)) and torch.device(target).type == "cpu" and args[0].device.type != "cpu"
    )


def _masked(packet: Any, args: tuple) -> bool:
    """Whether an index is a mask, whose places have to be counted first."""
    if packet not in (_aten.index, _aten.index_put, _aten.index_put_):
        return False
    return any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in args[1])
