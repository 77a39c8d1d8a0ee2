"""Quantised weights: whether a gradient passes through them, found out by trying one layer of each kind."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from ..errors import PipelineError, first_line
from ..parts import Part, Set, Setting

log = logging.getLogger(__name__)

_PLAIN = (torch.Tensor, FakeTensor)


def quantised(denoiser: nn.Module) -> dict[str, nn.Module]:
    """What the weights of the denoiser's linear layers are, other than numbers -> one layer of the kind."""
    found: dict[str, nn.Module] = {}
    for module in denoiser.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear) and weight is not None:
            kind = type(weight) if type(weight) is not nn.Parameter else type(weight.data)
            if kind not in _PLAIN or not weight.is_floating_point():
                found.setdefault(f"{kind.__module__.partition('.')[0]}'s {kind.__name__}", module)
    return found


def keeps_weights(denoiser: nn.Module) -> bool:
    """Whether a graph holds a dequantised copy of every weight, as GGUF's does: only block by block is it affordable."""
    return any(name.endswith("GGUFParameter") for name in quantised(denoiser))


def check_weights(denoiser: nn.Module, semantic: bool, gradient: str) -> None:
    """Raises PipelineError where the run needs a gradient of the denoiser that its weights do not let pass."""
    for name, layer in quantised(denoiser).items():
        reason = _tried(layer, getattr(denoiser, "dtype", torch.float32))
        log.info("weights are %s: %s", name, reason or "a gradient passes through them")
        if reason is None or not (semantic or gradient in ("full", "conditional")):
            continue
        asks = ("the semantic objective",) if semantic else (Setting("gradient", gradient),)
        straight = Setting("gradient", "straight-through")
        remedy: tuple[str | Part, ...] = (Set(Setting("semantic_weight", 0)),) if semantic else (Set(straight),)
        if semantic and gradient != "straight-through":
            remedy += (" and ", straight)
        raise PipelineError(
            f"the denoiser's weights are {name}, through which no gradient passes ({reason}), and ", asks, " needs one: ", remedy,
            "; or load it as GGUF, in a weight-only format as torchao's Int8WeightOnlyConfig, or in bfloat16"
        )


def _tried(layer: Any, dtype: torch.dtype) -> str | None:
    """Why no gradient passes through a linear layer; None where it does, or where its weights are elsewhere."""
    if layer.weight.device.type == "meta":
        return None
    dtype = getattr(layer, "compute_dtype", None) or (dtype if dtype.is_floating_point else torch.float32)
    try:
        with torch.enable_grad():
            x = torch.ones(1, layer.in_features, device=layer.weight.device, dtype=dtype, requires_grad=True)
            y = layer(x)
            if not y.requires_grad:
                return "its product has none"
            (found,) = torch.autograd.grad(y.float().square().sum(), x)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return first_line(error)
    return None if found.isfinite().all() and found.abs().sum() > 0 else "it is not finite, or nothing"
