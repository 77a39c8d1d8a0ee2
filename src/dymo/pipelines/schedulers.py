"""The schedulers that can be steered: noise levels, and the state that a repeated step must start from again."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import PipelineError
from ..guidance.levels import PREDICTION_TYPES, Level, at_resolution
from ..guidance.loop import Timestep

Levels = Callable[[Any, int], tuple[Level, Level]]
"""(scheduler, index into its timesteps) -> the levels of z_t and of z_{t-1}."""


@dataclass(frozen=True)
class Kind:
    """A scheduler: its levels, and the names of the attributes that its `step` changes."""

    levels: Levels
    state: tuple[str, ...] = ("_step_index", "is_scale_input_called")


def _variance_preserving(abar: float) -> Level:
    return Level(abar**0.5, (1 - abar) ** 0.5)


def _ddim(scheduler: Any, index: int) -> tuple[Level, Level]:
    t = int(scheduler.timesteps[index])
    before = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    there = float(scheduler.alphas_cumprod[before] if before >= 0 else scheduler.final_alpha_cumprod)
    return _variance_preserving(float(scheduler.alphas_cumprod[t])), _variance_preserving(there)


def _ddpm(scheduler: Any, index: int) -> tuple[Level, Level]:
    t = int(scheduler.timesteps[index])
    before = int(scheduler.previous_timestep(t))
    there = float(scheduler.alphas_cumprod[before]) if before >= 0 else 1.0
    return _variance_preserving(float(scheduler.alphas_cumprod[t])), _variance_preserving(there)


def _sigmas(scheduler: Any, index: int) -> tuple[Level, Level]:
    return Level(1.0, float(scheduler.sigmas[index])), Level(1.0, float(scheduler.sigmas[index + 1]))


def _flow(scheduler: Any, index: int) -> tuple[Level, Level]:
    here, there = (float(scheduler.sigmas[i]) for i in (index, index + 1))
    return Level(1 - here, here), Level(1 - there, there)


SCHEDULERS: dict[str, Kind] = {
    "DDIMScheduler": Kind(_ddim),
    "DDIMParallelScheduler": Kind(_ddim),
    "DDPMScheduler": Kind(_ddpm),
    "DDPMParallelScheduler": Kind(_ddpm),
    "EulerDiscreteScheduler": Kind(_sigmas),
    "EulerAncestralDiscreteScheduler": Kind(_sigmas),
    "FlowMatchEulerDiscreteScheduler": Kind(_flow),
}

_MULTISTEP = (
    "it keeps the predictions of earlier steps, which a displaced or repeated step would leave wrong"
)
_REASONS = {
    "DPMSolverMultistepScheduler": _MULTISTEP, "DEISMultistepScheduler": _MULTISTEP, "UniPCMultistepScheduler": _MULTISTEP,
    "PNDMScheduler": _MULTISTEP, "LMSDiscreteScheduler": _MULTISTEP, "IPNDMScheduler": _MULTISTEP, "SASolverScheduler": _MULTISTEP,
    "HeunDiscreteScheduler": "it evaluates the denoiser twice a step", "KDPM2DiscreteScheduler": "it evaluates the denoiser twice a step",
    "KDPM2AncestralDiscreteScheduler": "it evaluates the denoiser twice a step",
    "DPMSolverSinglestepScheduler": "its steps come in groups, inside of which a displacement is thrown away",
    "LCMScheduler": "the few-step samplers are not supported yet", "TCDScheduler": "the few-step samplers are not supported yet",
}  # fmt: skip


def kind_of(scheduler: Any) -> Kind:
    """What is known of a scheduler or of the class it derives from. Raises PipelineError with the reason and a remedy."""
    for base in type(scheduler).__mro__:
        if base.__name__ in SCHEDULERS:
            break
    else:
        name = type(scheduler).__name__
        reason = next((_REASONS[b.__name__] for b in type(scheduler).__mro__ if b.__name__ in _REASONS), "it is not known here")
        raise PipelineError(
            f"{name} cannot be steered: {reason}. Use one of {', '.join(SCHEDULERS)}, e.g. "
            "pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)"
        )
    if prediction_of(scheduler) not in PREDICTION_TYPES:
        raise PipelineError(f"prediction_type={prediction_of(scheduler)!r} is not one of {', '.join(PREDICTION_TYPES)}")
    return SCHEDULERS[base.__name__]


def prediction_of(scheduler: Any) -> str:
    """What the denoiser predicts; schedulers of flow matching know one answer, and do not say it."""
    return getattr(scheduler.config, "prediction_type", None) or "flow_prediction"


def snapshot(scheduler: Any, kind: Kind) -> dict[str, Any]:
    """The state of a scheduler between two steps; lists are copied, the tensors in them are never changed in place."""
    return {name: copy.copy(vars(scheduler)[name]) for name in kind.state if name in vars(scheduler)}


def at_pixels(scheduler: Any, steps: Sequence[Timestep], pixels: int) -> list[Timestep]:
    """The timesteps with `t_64`, for latents of so many pixels, where the sampler's is a flow's."""
    if prediction_of(scheduler) != "flow_prediction":
        return list(steps)
    angles = _trained_angles(scheduler)
    found = [np.interp(at_resolution(now.here, pixels).angle, angles, np.arange(len(angles))) for now in steps]
    return [replace(now, t_64=round(float(t) * 1000 / len(angles), 6)) for now, t in zip(steps, found, strict=True)]


def timesteps(scheduler: Any, first: int, steps: int) -> list[Timestep]:
    """All levels of a run that starts at place `first` of the scheduler's timesteps and has so many steps."""
    levels = kind_of(scheduler).levels
    angles = _trained_angles(scheduler)
    total = len(scheduler.timesteps)
    found = []
    for i in range(steps):
        here, there = levels(scheduler, first + i)
        t = float(np.interp(here.angle, angles, np.arange(len(angles)))) * 1000 / len(angles)
        # Rounded, so that a trained timestep is itself, and a border at 800 holds for t = 800.
        found.append(Timestep(i, steps, round(t, 6), here, there, (first + i) / total))
    return found


def _trained_angles(scheduler: Any) -> np.ndarray:
    """`Level.angle` at each training timestep, rising: t by it is right for any spacing of the sampler's own."""
    if not hasattr(scheduler, "alphas_cumprod"):
        # A flow has no such timesteps: its t is that of Stable Diffusion at the same signal-to-noise ratio.
        abar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    else:
        abar = scheduler.alphas_cumprod.double().clamp(0, 1).cpu().numpy()
    return np.arctan2(np.sqrt(1 - abar), np.sqrt(abar))


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
    if prediction == "flow_prediction":
        return 1.0
    return there.a / here.a if here.a and math.isfinite(there.a / here.a) else 1.0


def noise_like(like: Tensor, rows: list[int], generator: Any) -> Tensor:
    """Standard normal noise (n, ...) for samples of `like`, from one generator, or from each sample's of a list."""
    from diffusers.utils.torch_utils import randn_tensor

    own = [generator[i] for i in rows] if isinstance(generator, list) else generator
    return randn_tensor((len(rows), *like.shape[1:]), generator=own, device=like.device, dtype=like.dtype)


