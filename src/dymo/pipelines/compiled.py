"""The blocks that a denoiser, a decoder or a reward repeats, compiled one by one for the length of a run."""

from __future__ import annotations

import inspect
import itertools
import logging
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from ..parts import Part
from .attention import Lean
from .hold import patched

log = logging.getLogger(__name__)

# Of diffusers' UNets, which name the first of them alone.
_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")

_FUNCTIONS: dict[Any, Callable[..., Any]] = {}
_NUMBERS = itertools.count()


def repeated(denoiser: Any, read: Iterable[nn.Module] = ()) -> list[nn.Module]:
    """The denoiser's blocks that can be compiled: what it names itself, and a UNet's residual blocks.

    read: modules whose attention is read by hooks; a block that has one is left out, as hooks inside are not seen.
    """
    names = {*_BLOCKS, *(getattr(denoiser, "_repeated_blocks", None) or ())}
    hooked = {id(m) for m in read}
    found = [m for m in denoiser.modules() if type(m).__name__ in names]
    return [m for m in found if quiet(m) and not any(id(x) in hooked and not _lean(x) for x in m.modules())]


@contextmanager
def compiled(blocks: Iterable[nn.Module], backend: str = "inductor") -> Iterator[int]:
    """Inside, these modules run compiled; modules of one class and shape share the code, which is kept for the next run.

    Yields how many there are. A module that something watches or wraps, as an offload or checkpointing does, runs as it is; of one
    that interpolates, only its parts that do not are compiled.
    """
    chosen = _forwards(blocks, backend)
    with _running(chosen), ExitStack() as stack:
        # One block is compiled with and without a graph, and for each size of image.
        limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
        stack.enter_context(torch._dynamo.config.patch({limit: 64}))
        yield len(chosen)


def with_compiled(function: Callable[..., Any], block: nn.Module | None, backend: str) -> Callable[..., Any]:
    """The function, within which one module runs compiled, as far as `compiled` compiles it; as it is while it is checkpointed."""
    chosen = _forwards([] if block is None else [block], backend)

    def run(*args: Any, **kwargs: Any) -> Any:
        with _running([] if getattr(block, "gradient_checkpointing", False) else chosen):
            return function(*args, **kwargs)

    return run if chosen else function


def without_interpolation(module: nn.Module) -> list[nn.Module]:
    """The largest modules, of several parts each, in which nothing interpolates: the module itself where nothing in it does.

    Compiled together with residual blocks of a VAE, `F.interpolate` got a gradient of zero from inductor (torch 2.13 on a CPU).
    """
    runs = type(module).forward is not nn.Module.forward  # a list of modules does not
    if runs and not any(map(_interpolates, module.modules())):
        return [module]
    return [part for child in module.children() if any(child.children()) for part in without_interpolation(child)]


def _interpolates(module: nn.Module) -> bool:
    """Whether the code of the module's class calls `F.interpolate`."""
    kinds = itertools.takewhile(lambda kind: kind is not nn.Module, type(module).__mro__)
    functions = (inspect.unwrap(value) for kind in kinds for name, value in vars(kind).items() if callable(value) and name != "__init__")
    return any("interpolate" in function.__code__.co_names for function in functions if isinstance(function, types.FunctionType))


def _forwards(blocks: Iterable[nn.Module], backend: str) -> list[tuple[nn.Module, Callable[..., Any]]]:
    parts = [part for block in blocks if quiet(block) for part in without_interpolation(block)]
    return [(part, partial(_compiled(part, backend), part)) for part in parts]


@contextmanager
def _running(forwards: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    with ExitStack() as stack:
        for module, forward in forwards:
            stack.enter_context(patched(module, "forward", forward))
        yield


@contextmanager
def explained(remedy: tuple[str | Part, ...]) -> Iterator[None]:
    """What torch.compile raises inside, as a ConfigError with the remedy."""
    try:
        yield
    except RuntimeError as error:
        if not of_the_compiler(error):
            raise
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise ConfigError(
            f"torch cannot compile here ({reason.strip()}); it needs a C++ compiler, and Triton on a GPU. Install them, or ", remedy
        ) from error


def of_the_compiler(error: Exception) -> bool:
    """Whether torch.compile failed, and not what it compiled."""
    return isinstance(error, torch._dynamo.exc.TorchDynamoException) or "nductor" in type(error).__name__


def _compiled(block: nn.Module, backend: str) -> Callable[..., Any]:
    weights = tuple((name, p.shape, p.stride(), p.dtype, p.device) for name, p in block.named_parameters())
    key = (type(block), backend, weights)
    if key not in _FUNCTIONS:
        own = with_code_of_its_own(_run, type(block).__name__, _forward=type(block).forward)
        _FUNCTIONS[key] = torch.compile(own, backend=backend, dynamic=False)
    return _FUNCTIONS[key]


def with_code_of_its_own(function: Any, name: str = "", **names: Any) -> Callable[..., Any]:
    """A copy of a function: what is compiled is looked up by code, one guard after another. names: that are its globals in the copy."""
    code = function.__code__.replace(co_name=f"{name or function.__name__}_{next(_NUMBERS)}")
    return types.FunctionType(code, {**function.__globals__, **names}, code.co_name, function.__defaults__, function.__closure__)


# `_compiled` gives `_run` globals in which this is the forward of the block's class.
_forward: Callable[..., Any] = nn.Module.__call__


def _run(block: Any, *args: Any, **kwargs: Any) -> Any:
    return _forward(block, *args, **kwargs)


def quiet(block: nn.Module) -> bool:
    """Whether nothing watches or wraps the block or what is in it."""
    return not any(
        "forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or hasattr(m, "_hf_hook") or hasattr(m, "_orig_mod")
        or getattr(m, "_compiled_call_impl", None) is not None or getattr(m, "gradient_checkpointing", False)
        for m in block.modules()
    )  # fmt: skip


def _lean(module: nn.Module) -> bool:
    return isinstance(getattr(module, "processor", None), Lean)
