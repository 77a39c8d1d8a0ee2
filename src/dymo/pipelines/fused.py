"""Small functions of a denoiser that a compiler makes one kernel or two of, each one operation to torch, forward and backward.

Where the rows of guidance run together and some have a graph, `OneBlock` must see every operation, so blocks cannot be compiled.
These can: to it, and to a CUDA graph, each is one operation on the rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .compiled import quiet, with_code_of_its_own
from .hold import patched


@contextmanager
def fused(denoiser: nn.Module, backend: str) -> Iterator[int]:
    """Inside, the denoiser's gated activations and group normalisations are single operations, compiled by a backend of torch.compile.

    Yields how many there are; a module that something watches or wraps stays as it is. No gradient to their weights.
    """
    from diffusers.models.activations import GEGLU

    forwards: dict[type, Callable[..., Tensor]] = {GEGLU: _gated_forward, nn.GroupNorm: _normed_forward}
    with ExitStack() as stack:
        count = 0
        for module in denoiser.modules():
            if (forward := forwards.get(type(module))) and quiet(module):
                stack.enter_context(patched(module, "forward", partial(forward, module, backend)))
                count += 1
        yield count


def _gated_forward(module: Any, backend: str, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return gated(module.proj(x), backend)


def _normed_forward(module: Any, backend: str, x: Tensor) -> Tensor:
    return group_normed(x, module.weight, module.bias, module.num_groups, module.eps, backend)


@torch.library.custom_op("dymo::gated", mutates_args=())
def gated(x: Tensor, backend: str) -> Tensor:
    """The first half of the channels times the GELU of the second, x (B, n, 2 d) -> (B, n, d)."""
    return _run(_gated, backend, (x,))


@torch.library.custom_op("dymo::gated_backward", mutates_args=())
def gated_backward(grad: Tensor, x: Tensor, backend: str) -> Tensor:
    """The gradient to x (B, n, 2 d) from the one to `gated`, (B, n, d)."""
    return _run(_gated_backward, backend, (grad, x))


@torch.library.custom_op("dymo::group_normed", mutates_args=())
def group_normed(x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float, backend: str) -> Tensor:
    """x (B, c, ...) normalised by groups of channels, in its memory format."""
    return _run(_normed, backend, (x, weight, bias), groups, eps)


@torch.library.custom_op("dymo::group_normed_backward", mutates_args=())
def group_normed_backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float, backend: str
) -> Tensor:
    """The gradient to x (B, c, ...) from the one to `group_normed`."""
    return _run(_normed_backward, backend, (grad, x, weight, bias), groups, eps)


def _keep(tensors: int) -> Callable[..., None]:
    """What a backward needs: the first inputs, which are tensors, and the others."""

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:tensors])
        ctx.rest = inputs[tensors:]

    return keep


gated.register_autograd(lambda ctx, grad: (gated_backward(grad, *ctx.saved_tensors, *ctx.rest), None), setup_context=_keep(1))
group_normed.register_autograd(
    lambda ctx, grad: (group_normed_backward(grad, *ctx.saved_tensors, *ctx.rest), *[None] * 5), setup_context=_keep(3)
)


def _run(function: Callable[..., Tensor], backend: str, tensors: tuple[Tensor | None, ...], *constants: Any) -> Tensor:
    run = _compiled(function, backend, tuple(x is not None and x.shape for x in tensors), constants)
    # Autograd is outside: what is compiled for rows with a gradient is that of rows without.
    with torch.no_grad():
        return run(*(None if x is None else x.detach() for x in tensors), *constants)


@cache
def _compiled(function: Callable[..., Tensor], backend: str, shapes: Any, constants: tuple[Any, ...]) -> Callable[..., Tensor]:
    """A function for tensors of these shapes."""
    return torch.compile(with_code_of_its_own(function), backend=backend, dynamic=False)


def _gated(x: Tensor) -> Tensor:
    value, gate = x.chunk(2, -1)
    return value * F.gelu(gate)


def _gated_backward(grad: Tensor, x: Tensor) -> Tensor:
    return torch.func.vjp(_gated, x)[1](grad)[0]


def _normed(x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float) -> Tensor:
    return F.group_norm(x, groups, weight, bias, eps)


def _normed_backward(grad: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float) -> Tensor:
    return torch.func.vjp(lambda y: _normed(y, weight, bias, groups, eps), x)[1](grad)[0]
