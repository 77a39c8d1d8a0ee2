"""The samplers of diffusers as the engine sees them: what can be steered, its noise levels, its memory of earlier steps."""

from __future__ import annotations

from .latents import initial_scale, limited, noise_like, shrink
from .table import SCHEDULERS, Kind, draws_noise, evaluations, is_flow, kind_of, prediction_of
from .timeline import at_pixels, place_of, timesteps

__all__ = [
    "SCHEDULERS", "Kind", "at_pixels", "draws_noise", "evaluations", "initial_scale", "is_flow", "kind_of", "limited", "noise_like",
    "place_of", "prediction_of", "shrink", "timesteps",
]  # fmt: skip
