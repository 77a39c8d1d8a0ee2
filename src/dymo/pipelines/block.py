"""One forward of a whole batch, with a graph to one block of its rows.

Under classifier-free guidance the words' loss depends on the conditional rows alone. Run apart, they cost a second forward's
launches; run together, autograd would keep and differentiate the others too. Here every operation runs once, on all rows, and
autograd is shown the rows of one block, which lie inside the whole: what it keeps, and the way back, is of that block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from . import fused  # noqa: F401  (its operations are named below)

_aten = torch.ops.aten


class Mixed(Exception):
    """An operation that is not known to treat the rows of a batch one by one."""


class OneBlock(TorchDispatchMode):
    """While it is open, operations on tensors of `count` blocks of rows run on all of them and show block `at`.

    A tensor of `shown` is block `at` of its whole; so is what is computed from it. Raises Mixed at an operation that is not
    known to keep the rows apart: nothing has been changed then.
    """

    def __init__(self, count: int, at: int):
        super().__init__()
        self.count, self.at = count, at

    def shown(self, rows: Tensor) -> Tensor:
        """Block `at` of `rows` (count * n, ...), with its graph: what is computed from it is computed of all rows."""
        found = self._block(rows)
        found._whole = rows.detach()
        return found

    @staticmethod
    def whole(shown: Tensor) -> Tensor:
        """All rows of a tensor that was computed under this mode, without a graph."""
        return shown._whole

    def _block(self, whole: Tensor) -> Tensor:
        n, rest = divmod(whole.shape[0], self.count)
        if rest:
            raise Mixed(f"{whole.shape[0]} rows are not {self.count} blocks")
        return whole.narrow(0, self.at * n, n)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        first: Any = args[0] if args else None
        packet = func.overloadpacket
        if func.namespace == "prim":  # what kind of tensor it is
            return func(*args, **kwargs)
        if packet in _VIEWS:
            whole = getattr(first, "_whole", None)
            if whole is None:
                return func(*args, **kwargs)
            out = func(*args, **kwargs)
            found = _VIEWS[packet](func, whole, first, out, args[1:], kwargs)
            for one, all_rows in zip(out, found, strict=True) if isinstance(out, (list, tuple)) else ((out, found),):
                one._whole = all_rows
            return out
        known = [getattr(x, "_whole", None) for x in (first if packet is _aten.cat else args)]
        if all(x is None for x in known):
            return func(*args, **kwargs)
        if packet not in _BY_ROW or any(getattr(x, "_whole", None) is not None for x in kwargs.values()):
            raise Mixed(f"{func} is not known to keep rows apart")
        return self._computed(func, packet, args, kwargs, known)

    def _computed(self, func: Any, packet: Any, args: tuple, kwargs: dict, known: list) -> Any:
        given = args[0] if packet is _aten.cat else args
        n = next(x.shape[0] for x, whole in zip(given, known, strict=True) if whole is not None)
        wholes = []
        for x, whole in zip(given, known, strict=True):
            if whole is None and packet in _ELEMENTWISE and isinstance(x, Tensor) and x.ndim and x.shape[0] == n > 1:
                # Made inside of the forward, of nothing that has rows: the same for every block.
                whole = (
                    torch.cat([x] * self.count) if x.ndim == max(y.ndim for y in given if isinstance(y, Tensor)) else x
                )
            elif whole is None and packet is _aten.bmm:
                # A weight, once for each row: a linear layer on rows that do not lie one behind the other.
                if x.shape[0] > 1 and x.stride(0):
                    raise Mixed(f"{func} with rows of its own")
                whole = x[:1].expand(n * self.count, *x.shape[1:])
            wholes.append(x if whole is None else whole)
        try:
            out = self._run(func, packet, args, kwargs, wholes)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise Mixed(f"{func} on all rows: {error}") from error
        if isinstance(out, Tensor):
            return self._marked(out)
        return tuple(self._marked(x) if isinstance(x, Tensor) and x.ndim > 1 else x for x in out)

    def _run(self, func: Any, packet: Any, args: tuple, kwargs: dict, wholes: list) -> Any:
        if packet is _aten.cat:
            if _dim(args, kwargs, 1, args[0][0].ndim) == 0:
                raise Mixed("rows are joined")
            return func(wholes, *args[1:], **kwargs)
        if packet is _aten.native_group_norm:
            return func(*wholes[:3], args[3] * self.count, *args[4:], **kwargs)
        if packet in _OVER_DIMS and _over_rows(args):
            raise Mixed(f"{func} over rows")
        return func(*wholes, **kwargs)

    def _marked(self, whole: Tensor) -> Tensor:
        found = self._block(whole)
        found._whole = whole
        return found


# Views: (operation, the whole, what is shown of it, the operation's answer on that, its other arguments) -> its answer on the whole.

_View = Callable[[Any, Tensor, Tensor, Any, tuple, dict], Any]


def _sized(func: Any, whole: Tensor, shown: Tensor, out: Tensor, rest: tuple, kwargs: dict) -> Any:
    """Operations that are told the new size."""
    if not out.ndim or (shown.shape[0] and whole.shape[0] % shown.shape[0]):
        raise Mixed(f"{func} without rows")
    size = [out.shape[0] * (whole.shape[0] // shown.shape[0]), *out.shape[1:]]
    # Rows that do not lie one behind the other are copied, where the one that is shown needs no copy.
    return func(whole, size) if func.overloadpacket is _aten.expand else whole.reshape(size)


def _alike(func: Any, whole: Tensor, shown: Tensor, out: Any, rest: tuple, kwargs: dict) -> Any:
    return func(whole, *rest, **kwargs)


def _off_rows(place: int) -> _View:
    """Operations on the dimension that is argument `place`, counted from the one after the tensor."""

    def view(func: Any, whole: Tensor, shown: Tensor, out: Any, rest: tuple, kwargs: dict) -> Any:
        dim = rest[place] if len(rest) > place else kwargs.get("dim", 0)
        inserted = func.overloadpacket is _aten.unsqueeze
        if dim % (shown.ndim + inserted) == 0:
            if isinstance(out, Tensor) and out.shape == shown.shape:
                return whole.detach()
            raise Mixed(f"{func} of rows")
        return func(whole, *rest, **kwargs)

    return view


def _moved(func: Any, whole: Tensor, shown: Tensor, out: Any, rest: tuple, kwargs: dict) -> Any:
    dims = rest[0] if func.overloadpacket is _aten.permute else rest
    fixed = dims[0] % shown.ndim == 0 if func.overloadpacket is _aten.permute else all(d % shown.ndim for d in dims)
    if not fixed:
        raise Mixed(f"{func} moves rows")
    return func(whole, *rest, **kwargs)


_VIEWS: dict[Any, _View] = {
    _aten.view: _sized, _aten._unsafe_view: _sized, _aten.expand: _sized, _aten._reshape_alias: _sized,
    _aten.detach: _alike, _aten.alias: _alike,
    _aten.permute: _moved, _aten.transpose: _moved,
    _aten.unsqueeze: _off_rows(0), _aten.squeeze: _off_rows(0), _aten.slice: _off_rows(0), _aten.select: _off_rows(0),
    _aten.split: _off_rows(1), _aten.split_with_sizes: _off_rows(1), _aten.unbind: _off_rows(0), _aten.narrow: _off_rows(0),
}  # fmt: skip

_ELEMENTWISE = {_aten.add, _aten.sub, _aten.mul, _aten.div, _aten.rsub}
_OVER_DIMS = {_aten._softmax, _aten.mean}
_BY_ROW = {
    *_ELEMENTWISE, *_OVER_DIMS, _aten.cat,
    _aten.convolution, _aten.addmm, _aten.mm, _aten.bmm, _aten.native_group_norm, _aten.native_layer_norm,
    _aten.silu, _aten.gelu, _aten.relu, _aten.sigmoid, _aten.tanh, _aten.mish, _aten.exp, _aten.sin, _aten.cos, _aten.neg,
    _aten.clone, _aten._to_copy, _aten.avg_pool2d, _aten.constant_pad_nd,
    _aten.upsample_nearest2d, _aten._upsample_nearest_exact2d, _aten.upsample_bilinear2d,
    _aten._scaled_dot_product_flash_attention_for_cpu, _aten._scaled_dot_product_flash_attention,
    _aten._scaled_dot_product_efficient_attention, _aten._scaled_dot_product_cudnn_attention,
    _aten._scaled_dot_product_fused_attention_overrideable,
    torch.ops.dymo.gated, torch.ops.dymo.group_normed,
}  # fmt: skip
"""Operations whose n-th row depends on the n-th rows of what goes in alone."""


def _dim(args: tuple, kwargs: dict, place: int, ndim: int) -> int:
    return (args[place] if len(args) > place else kwargs.get("dim", 0)) % ndim


def _over_rows(args: tuple) -> bool:
    """Whether a reduction's dimensions, its second argument, hold that of the rows."""
    dims = args[1] if len(args) > 1 else None
    if dims is None:
        return True
    return any(d % args[0].ndim == 0 for d in ([dims] if isinstance(dims, int) else dims))
