"""What is known of each family: the noise levels of the schedulers, the layers whose maps are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..errors import PipelineError
from ..guidance.transitions import PREDICTION_TYPES, Level
from .attention import cross_attentions

# (scheduler, index into its plain timesteps) -> the levels of z_t and of z_{t-1}
Levels = Callable[[Any, int], tuple[Level, Level]]


def _variance_preserving(abar: float) -> Level:
    return Level(abar**0.5, (1 - abar) ** 0.5)


def _ddim(scheduler: Any, index: int) -> tuple[Level, Level]:
    t = int(scheduler.timesteps[index])
    before = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    final = float(scheduler.final_alpha_cumprod)
    there = float(scheduler.alphas_cumprod[before]) if before >= 0 else final
    return _variance_preserving(float(scheduler.alphas_cumprod[t])), _variance_preserving(there)


def _ddpm(scheduler: Any, index: int) -> tuple[Level, Level]:
    t = int(scheduler.timesteps[index])
    before = int(scheduler.previous_timestep(t))
    there = float(scheduler.alphas_cumprod[before]) if before >= 0 else 1.0
    return _variance_preserving(float(scheduler.alphas_cumprod[t])), _variance_preserving(there)


def _euler(scheduler: Any, index: int) -> tuple[Level, Level]:
    return Level(1.0, float(scheduler.sigmas[index])), Level(1.0, float(scheduler.sigmas[index + 1]))


SCHEDULERS: dict[str, Levels] = {
    "DDIMScheduler": _ddim,
    "DDPMScheduler": _ddpm,
    "EulerDiscreteScheduler": _euler,
    "EulerAncestralDiscreteScheduler": _euler,
}


def levels_of(scheduler: Any) -> Levels:
    """The level function of a scheduler. Raises PipelineError, with the remedy, where it is not supported."""
    name = type(scheduler).__name__
    if name not in SCHEDULERS:
        raise PipelineError(
            f"{name} cannot be steered: solvers that carry state across steps have no exact way back in time. Use one of "
            f"{', '.join(SCHEDULERS)}, e.g. pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)"
        )
    if scheduler.config.prediction_type not in PREDICTION_TYPES:
        raise PipelineError(
            f"prediction_type={scheduler.config.prediction_type!r} is not one of {', '.join(PREDICTION_TYPES)}"
        )
    return SCHEDULERS[name]


def latent_side(pipe: Any, height: int | None) -> int:
    """Rows of the latents of a picture `height` pixels high; None is the pipeline's own size."""
    factor = pipe.vae_scale_factor
    return (height or pipe.unet.config.sample_size * factor) // factor


def map_layers(unet: nn.Module, latent_side: int, map_size: int | None) -> tuple[dict[str, nn.Module], int]:
    """(name -> cross-attention module, s): the modules whose maps have side latent_side / s.

    By default s = 4 (SD1.5 at 512: 16x16; SDXL at 1024: 32x32), or the finest of a UNet that has no such layer.
    Raises PipelineError where there is none of the size asked for.
    """
    deepest = len(unet.config.block_out_channels) - 1
    by_factor: dict[int, dict[str, nn.Module]] = {}
    for name, module in cross_attentions(unet).items():
        part, _, rest = name.partition(".")
        level = deepest if part == "mid_block" else int(rest.split(".")[0])
        level = deepest - level if part == "up_blocks" else level
        by_factor.setdefault(2**level, {})[name] = module
    if not by_factor:
        raise PipelineError(
            "the denoiser has no cross-attention with to_q and to_k: unfuse its projections, or set semantic_weight=0"
        )
    if map_size is None:
        factor = 4 if 4 in by_factor else min(by_factor)
    else:
        factor = latent_side // map_size if map_size else 0
        if factor not in by_factor or latent_side % map_size:
            sizes = sorted(latent_side // f for f in by_factor)
            raise PipelineError(f"map_size={map_size}: this denoiser has maps of sizes {sizes} at this picture size")
    return by_factor[factor], factor
