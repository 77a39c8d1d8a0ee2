"""Stage schedule, and the dynamic weight w that shares the middle stage between the objectives (arXiv 2412.00759)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Config
from .loop import Timestep

Stage = Literal["semantic", "mixed", "preference", "unguided"]
STAGES: tuple[Stage, ...] = ("semantic", "mixed", "preference")


def level(config: Config, now: Timestep) -> float:
    """The noise level t, in 0..1000, by which a step is judged: where `config.resolution_shift`, as of 64 x 64 latents."""
    return now.t_64 if config.resolution_shift and now.t_64 is not None else now.t


def stage(config: Config, now: Timestep) -> Stage:
    """The stage of a step, by its noise level t or by the fraction of the steps done, as `config.borders_by` says."""
    if config.unguided_tail and now.done >= 1 - config.unguided_tail - 1e-9:
        return "unguided"
    first, second = config.borders
    if config.borders_by == "timestep":
        t = level(config, now)
        return "semantic" if t >= first else "mixed" if t >= second else "preference"
    # A small tolerance, since 8 / 50 is not exact in binary.
    return "semantic" if now.done < first - 1e-9 else "mixed" if now.done < second - 1e-9 else "preference"


def change(z0: Tensor, previous: Tensor | None, normalisation: str) -> Tensor:
    """Delta = ||z0'_t - z0'_{t+1}|| / ||z0'_{t+1}|| of each sample, (B,); infinite without a previous prediction.

    "instance" takes the norms after each channel of each sample is brought to mean 0 and deviation 1.
    """
    if previous is None:
        return torch.full((z0.shape[0],), float("inf"), device=z0.device)
    if normalisation == "instance":
        z0, previous = F.instance_norm(z0), F.instance_norm(previous)
    return (z0 - previous).flatten(1).norm(dim=1) / previous.flatten(1).norm(dim=1).clamp_min(1e-12)


def weights(config: Config, now: Stage, delta: Tensor) -> tuple[Tensor, Tensor]:
    """(w_A, w_R), each (B,), at a stage with the given Delta (B,): in the mixed one w and 1 - w, w = 1 - exp(-k Delta)."""
    if now == "mixed":
        w = 1 - torch.exp(-config.k * delta)
        return config.semantic_weight * w, config.preference_weight * (1 - w)
    shares = {"semantic": (1.0, 0.0), "preference": (0.0, 1.0), "unguided": (0.0, 0.0)}[now]
    w_A, w_R = (
        torch.full_like(delta, weight * share, requires_grad=False)
        for weight, share in zip((config.semantic_weight, config.preference_weight), shares, strict=True)
    )
    return w_A, w_R
