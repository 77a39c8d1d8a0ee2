"""What a scheduler does to latents besides its step: the initial noise, limits of the prediction, the noise it draws."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ...guidance.levels import Level


def limited(scheduler: Any, z0: Tensor) -> Tensor:
    """z0' as the scheduler's own step limits it: by `thresholding` or `clip_sample`."""
    config = scheduler.config
    if getattr(config, "thresholding", False) and hasattr(scheduler, "_threshold_sample"):
        return scheduler._threshold_sample(z0)
    if getattr(config, "clip_sample", False):
        span = getattr(config, "clip_sample_range", 1.0)
        return z0.clamp(-span, span)
    return z0


def initial_scale(scheduler: Any) -> float:
    """The initial latents are standard normal noise times this."""
    sigma = getattr(scheduler, "init_noise_sigma", 1.0)
    return float(sigma) if not isinstance(sigma, Tensor) else float(sigma.detach())


def shrink(here: Level, there: Level, prediction: str = "epsilon") -> float:
    """d z_{t-1} / d z_t of a deterministic step at the same prediction of the noise: a' / a; at that of a flow's v: 1."""
    if prediction in ("flow_prediction", "reversed_flow_prediction"):
        return 1.0
    return there.a / here.a if here.a and math.isfinite(there.a / here.a) else 1.0


def noise_like(like: Tensor, rows: list[int], generator: Any) -> Tensor:
    """Standard normal noise (n, ...) for samples of `like`, from one generator, or from each sample's of a list."""
    from diffusers.utils.torch_utils import randn_tensor

    own = [generator[i] for i in rows] if isinstance(generator, list) else generator
    return randn_tensor((len(rows), *like.shape[1:]), generator=own, device=like.device, dtype=like.dtype)
