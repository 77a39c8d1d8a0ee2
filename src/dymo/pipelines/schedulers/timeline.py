"""The steps of a run: which evaluations belong to each, and between which noise levels it goes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import PipelineError
from ...guidance.levels import at_resolution
from ...guidance.loop import Timestep
from .table import is_flow, kind_of, prediction_of


def place_of(scheduler: Any, things: Tensor) -> int | None:
    """Where in the scheduler's timesteps a pipeline's loop over `things` begins; None where they are no part of them.

    Timesteps may be listed twice: the scheduler's own counter decides, where it has one.
    """
    known = getattr(scheduler, "timesteps", None)
    if not isinstance(known, Tensor) or not len(things) or len(things) > len(known):
        return None
    places = [
        i for i in range(len(known) - len(things) + 1) if torch.equal(known[i : i + len(things)].cpu(), things.cpu())
    ]
    own = getattr(scheduler, "begin_index", None)
    return own if own in places else (places[0] if places else None)


def timesteps(scheduler: Any, first: int, count: int) -> list[Timestep]:
    """The steps of a run that makes `count` evaluations, from place `first` of the scheduler's timesteps on.

    Raises PipelineError where a step begins at noise alone and the model predicts it.
    """
    kind = kind_of(scheduler)
    angles = _trained_angles(scheduler)
    total = len(scheduler.timesteps) - kind.ends
    calls, whole = kind.calls(count), len(kind.calls(total))
    found: list[Timestep] = []
    at = first
    for i, n in enumerate(calls):
        here, there = kind.levels(scheduler, at, at + n - 1)
        if here.a == 0 and prediction_of(scheduler) == "epsilon":
            raise PipelineError(
                f"{type(scheduler).__name__} begins at noise without any signal, and its prediction_type is 'epsilon', from which no image can "
                "be told there: the latents would be NaN. Set prediction_type='v_prediction' if the model predicts that, or "
                "rescale_betas_zero_snr=False"
            )
        t = float(np.interp(here.angle, angles, np.arange(len(angles)))) * 1000 / len(angles)
        # Rounded, so that a trained timestep is itself, and a border at 800 holds for t = 800.
        found.append(Timestep(i, len(calls), round(t, 6), here, there, at / total, n, sum(calls[i + 1 :]), whole))
        at += n
    return found


def at_pixels(scheduler: Any, steps: Sequence[Timestep], pixels: int) -> list[Timestep]:
    """The timesteps with `t_64`, for latents of so many pixels, where the sampler's is a flow's."""
    if not is_flow(scheduler):
        return list(steps)
    angles = _trained_angles(scheduler)
    found = [np.interp(at_resolution(now.here, pixels).angle, angles, np.arange(len(angles))) for now in steps]
    return [replace(now, t_64=round(float(t) * 1000 / len(angles), 6)) for now, t in zip(steps, found, strict=True)]


def _trained_angles(scheduler: Any) -> np.ndarray:
    """`Level.angle` at each training timestep, rising: t by it is right for any spacing of the sampler's own.

    A flow has no such timesteps, and neither has TrigFlow: their t is that of Stable Diffusion at the same signal-to-noise ratio.
    """
    if is_flow(scheduler) or not hasattr(scheduler, "alphas_cumprod"):
        return _stable_diffusion()
    return _angles(scheduler.alphas_cumprod.cpu().double().clamp(0, 1).numpy())


@functools.cache
def _stable_diffusion() -> np.ndarray:
    """SD1.5's own schedule, "scaled_linear" from .00085 to .012."""
    return _angles(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))


def _angles(abar: np.ndarray) -> np.ndarray:
    return np.arctan2(np.sqrt(1 - abar), np.sqrt(abar))
