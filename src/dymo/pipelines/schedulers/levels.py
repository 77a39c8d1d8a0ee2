"""The noise levels between which a step of each sampler goes, in the sampler's own coordinates.

Every function takes the scheduler and the places, in its timesteps, of the first and the last evaluation of one step
(the same place but for samplers that evaluate several times), and gives the levels of z_t and of z_{t-1}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...guidance.levels import Level

Levels = Callable[[Any, int, int], tuple[Level, Level]]

CLEAN = Level(1.0, 0.0)


def preserving(abar: float) -> Level:
    """Variance preserving: a = sqrt(abar), s = sqrt(1 - abar)."""
    return Level(abar**0.5, (1 - abar) ** 0.5)


def _abar(scheduler: Any, t: int) -> float:
    """alpha-bar at a training timestep, or behind the last one."""
    return float(scheduler.alphas_cumprod[t] if t >= 0 else scheduler.final_alpha_cumprod)


def _stride(scheduler: Any) -> int:
    return scheduler.config.num_train_timesteps // scheduler.num_inference_steps


def ddim(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """DDIM's stride: from t to t - T / N, T training timesteps and N steps."""
    t = int(scheduler.timesteps[first])
    return preserving(_abar(scheduler, t)), preserving(_abar(scheduler, t - _stride(scheduler)))


def ddpm(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """To the timestep before in the scheduler's list, and from the last to clean latents."""
    t = int(scheduler.timesteps[first])
    before = int(scheduler.previous_timestep(t))
    there = float(scheduler.alphas_cumprod[before]) if before >= 0 else 1.0
    return preserving(float(scheduler.alphas_cumprod[t])), preserving(there)


def pndm(scheduler: Any, first: int, last: int) -> tuple[Level, Level]:
    """The first step evaluates at both of its ends, and the second end says where it goes."""
    t = int(scheduler.timesteps[first])
    before = int(scheduler.timesteps[last]) if last > first else t - _stride(scheduler)
    return preserving(_abar(scheduler, t)), preserving(_abar(scheduler, before))


def lcm(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """The last step ends at the denoised latents themselves."""
    here = preserving(_abar(scheduler, int(scheduler.timesteps[first])))
    if first + 1 >= len(scheduler.timesteps):
        return here, CLEAN
    return here, preserving(_abar(scheduler, int(scheduler.timesteps[first + 1])))


def tcd(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """To the next timestep in the list, and from the last to t = 0."""
    t = int(scheduler.timesteps[first])
    before = int(scheduler.timesteps[first + 1]) if first + 1 < len(scheduler.timesteps) else 0
    return preserving(_abar(scheduler, t)), preserving(_abar(scheduler, before))


def trig(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """TrigFlow: angles from pi / 2, which is rounded upwards, to 0, of latents with the deviation sigma_data."""
    here, there = (float(scheduler.timesteps[i]) for i in (first, first + 1))
    r = scheduler.config.sigma_data
    return Level(r * max(math.cos(here), 0.0), r * math.sin(here)), Level(r * math.cos(there), r * math.sin(there))


def exploding(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """k-diffusion's samplers: a = 1, s = sigma."""
    return Level(1.0, float(scheduler.sigmas[first])), Level(1.0, float(scheduler.sigmas[first + 1]))


def solver(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """The DPM solvers and their kin: variance preserving by the list of sigma = s / a, or of flow matching."""
    here, there = (
        Level(*(float(x) for x in scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[i]))) for i in (first, first + 1)
    )
    return here, there


def flow(scheduler: Any, first: int, _last: int) -> tuple[Level, Level]:
    """Flow matching: a = 1 - sigma, s = sigma, or with `invert_sigmas` a = sigma; a shift of the schedule is in its sigmas."""
    here, there = (float(scheduler.sigmas[i]) for i in (first, first + 1))
    if getattr(scheduler.config, "invert_sigmas", False):
        here, there = 1 - here, 1 - there
    return Level(1 - here, here), Level(1 - there, there)
