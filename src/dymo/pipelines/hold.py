"""What one run holds of a pipeline: its components, one run at a time, and their settings, put back afterwards."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import PipelineError


class _Owned:
    """A lock that records which thread holds it."""

    def __init__(self) -> None:
        self.lock, self.owner = threading.Lock(), 0


_OWNED: weakref.WeakKeyDictionary[Any, _Owned] = weakref.WeakKeyDictionary()
_OWNED_LOCK = threading.Lock()


@contextmanager
def held(pipe: Any, components: Iterable[Any]) -> Iterator[None]:
    """The components (denoiser, scheduler) for one run; a run in another thread waits for those that it shares.

    Raises PipelineError where this thread holds one already: it would wait for itself.
    """
    with _OWNED_LOCK:
        locks = {id(c): (c, _OWNED.setdefault(c, _Owned())) for c in components}
    with ExitStack() as stack:
        # In one order everywhere, so that two runs never wait for each other.
        for key in sorted(locks):
            component, owned = locks[key]
            if owned.owner == threading.get_ident():
                raise PipelineError(
                    f"the {type(component).__name__} of this {type(pipe).__name__} is in use by a run around this one: let that "
                    "run end first, or use a pipeline with components of its own"
                )
            stack.enter_context(owned.lock)
            owned.owner = threading.get_ident()
            stack.callback(setattr, owned, "owner", 0)
        yield


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """No parameter needs a gradient inside: `from_pretrained` leaves them on, and graphs would grow.

    Parameters are put back by name: offload hooks replace the tensors while they run.
    """
    thawed = [(module, name) for module in modules for name, p in module.named_parameters() if p.requires_grad]
    try:
        for module, name in thawed:
            module.get_parameter(name).requires_grad_(False)
        yield
    finally:
        for module, name in thawed:
            module.get_parameter(name).requires_grad_(True)


@contextmanager
def checkpointed(modules: Iterable[Any]) -> Iterator[None]:
    """The modules' own gradient checkpointing is on inside, where they have one that was off."""
    name = "_gradient_checkpointing_func"  # diffusers' switch leaves it in each part when it is turned off
    with ExitStack() as stack:
        for module in modules:
            if getattr(module, "_supports_gradient_checkpointing", False) and not module.is_gradient_checkpointing:
                for part in module.modules():
                    own = part.__dict__
                    stack.callback(own.update, {name: own[name]}) if name in own else stack.callback(own.pop, name, None)
                stack.callback(module.disable_gradient_checkpointing)
                module.enable_gradient_checkpointing()
        yield


@contextmanager
def recomputed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """The blocks keep only their inputs for the backward, in which they run once more: all of the inputs, also those by name."""
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(patched(block, "forward", functools.partial(_run_again, block.forward)))
        yield


def _run_again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **kwargs) if torch.is_grad_enabled() else forward(*args, **kwargs)


@contextmanager
def processing(denoiser: Any, processors: dict[str, Any]) -> Iterator[None]:
    """The denoiser's attention processors are these inside, by name."""
    now = dict(getattr(denoiser, "attn_processors", {}))
    same = all(now[name] is processor for name, processor in processors.items())
    try:
        if not same:
            denoiser.set_attn_processor(dict(processors))
        yield
    finally:
        if not same:
            denoiser.set_attn_processor(now)


@contextmanager
def parked(modules: Iterable[Any]) -> Iterator[None]:
    """The modules are in the CPU's memory inside, and afterwards where they were; those that an offload moves stay with it."""
    moved = [
        (m, m.device)
        for m in modules
        if m.device.type not in ("cpu", "meta") and not any(hasattr(x, "_hf_hook") for x in m.modules())
    ]
    try:
        for module, _ in moved:
            module.to("cpu")
        torch.cuda.empty_cache()
        yield
    finally:
        for module, device in moved:
            module.to(device)


def assign(owner: Any, values: Mapping[str, Any]) -> None:
    """Each of these attributes has this value from here on."""
    for name, value in values.items():
        setattr(owner, name, value)


def put_back(owner: Any, before: Mapping[str, Any]) -> None:
    """The attributes of `owner` are these again, and no others."""
    for name in set(vars(owner)) - set(before):
        delattr(owner, name)
    assign(owner, before)


def is_compiled(module: nn.Module) -> bool:
    """Whether the user has compiled it, or parts of it."""
    return hasattr(module, "_orig_mod") or any(
        getattr(m, "_compiled_call_impl", None) is not None for m in module.modules()
    )


_ABSENT = object()


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` inside; a function keeps the signature of what it replaces (pipelines inspect it)."""
    before = vars(owner).get(name, _ABSENT)
    if callable(value):
        original, function = getattr(owner, name), value

        @functools.wraps(original)
        def value(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextmanager
def counted(owner: Any, name: str) -> Iterator[list[None]]:
    """Within, the calls of `owner.name`: a list that has an entry for each."""
    calls: list[None] = []
    own = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return own(*args, **kwargs)

    with patched(owner, name, call):
        yield calls
