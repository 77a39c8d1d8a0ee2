"""Step length and displacement of z_{t-1} along the unit gradient, per sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Config
from ..errors import ConfigError
from ..parts import Argument, Set, Setting
from .loop import Seen, Timestep
from .schedule import STAGES, Stage
from .units import relative_size

FURTHEST = 2.5
"""Most that a step of a short run is longer."""
FAINTEST = 1e-19
"""Below it, the squares that a norm sums vanish in float32."""


def norms(x: Tensor) -> Tensor:
    """||x|| of each sample in float32: (B, ...) -> (B,)."""
    return x.float().flatten(1).norm(dim=1)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,) in a shape that multiplies `like` (B, ...) sample by sample."""
    return values.view(-1, *[1] * (like.ndim - 1))


def usable(size: Tensor) -> Tensor:
    """By their norms (B,), which gradients have a direction, (B,) bool."""
    return (size > FAINTEST) & (size < float("inf"))


def failure(size: float) -> str | None:
    """Why the gradient of this norm has no direction: "nan", "infinite", "zero" (to float32's squares); None where it has one."""
    return "nan" if math.isnan(size) else "infinite" if math.isinf(size) else None if size > FAINTEST else "zero"


def finite(gradient: Tensor) -> Tensor:
    """Which samples' gradients (B, ...) have neither NaN nor infinity, (B,) bool; nothing but zeros is finite too."""
    return torch.linalg.vector_norm(gradient.flatten(1), float("inf"), dim=1).isfinite()


def polyak_length(eta: float, noise: Tensor, size: Tensor) -> Tensor:
    """eta ||eps|| / ||g|| of the norms (B,), so that length x g / ||g|| is Polyak's step eta ||eps|| / ||g||^2 g."""
    return eta * noise / size


def residual_length(eta: float, residual: Tensor) -> Tensor:
    """eta ||eps_cond - eps_uncond||, the rule of the authors' program. (B,)."""
    return eta * norms(residual)


def damped(length: Tensor, size: Tensor, damping: float) -> Tensor:
    """The length where ||g|| is large against `damping`, and towards nothing where it vanishes. (B,).

    Both rules divide by the gradient, so they would turn the last rest of it, which is noise once an objective is met,
    into a full step. The factor ||g||^2 / (||g||^2 + damping^2) is Levenberg's, on 1 / ||g||^2.
    """
    return length / (1 + (damping / size) ** 2)  # squares of the size itself would leave float32


def pace(config: Config, now: Timestep) -> float:
    """By how much a step of this run is longer than one of a run of `config.eta_steps` steps, so that a stage moves as far."""
    if config.eta_steps is None:
        return 1.0
    whole = now.whole or round(now.left / (1 - now.done))
    return min(FURTHEST, config.eta_steps / whole)


@dataclass
class Move:
    """The displacement of z_{t-1} (B, ...), zero where the gradient has no direction; its length, and ||g|| in `config.units`, (B,)."""

    displacement: Tensor
    length: Tensor
    size: Tensor


def move(config: Config, stage: Stage, gradient: Tensor, seen: Seen) -> Move:
    """How far z_{t-1} goes against `gradient` (B, ...) = d L / d z_t.

    Lengths are in variance-preserving coordinates, so that DDIM and Euler move alike; ||g|| is in `config.units`. Raises ConfigError where the
    rule needs classifier-free guidance and there is none.
    """
    here, there = seen.timestep.here.radius, seen.timestep.there.radius
    further = pace(config, seen.timestep)
    eta = further * config.eta[STAGES.index(stage)]
    gradient = gradient.float() * here
    steepness, noise = norms(gradient), norms(seen.eps)
    size = relative_size(steepness, gradient[0].numel()) if config.units == "relative" else steepness
    if config.step_rule == "residual":
        if seen.residual is None:
            raise ConfigError(
                Setting("step_rule", "residual"), " measures its steps by classifier-free guidance, and there is none: give ",
                Argument("guidance_scale"), " above 1, or ", Set(Setting("step_rule", "polyak")),
            )
        length = residual_length(eta, seen.residual)
    else:
        length = polyak_length(eta, noise, size)
    if config.damping:
        length = damped(length, size, config.damping)
    if config.max_step is not None:
        length = torch.minimum(length, further * config.max_step * noise)
    goes = usable(steepness)
    length = torch.where(goes, length, 0.0)
    unit = torch.where(per_sample(goes, gradient), gradient / per_sample(steepness, gradient), 0.0)
    return Move(per_sample(-there * length, gradient) * unit, length, size)
