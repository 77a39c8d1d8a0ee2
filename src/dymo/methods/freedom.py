"""FreeDoM: the reward's gradient in the middle of the trajectory (Yu et al., ICCV 2023, arXiv 2303.09833).

It is a point among DyMO's settings: z_{t-1} -= rho g with rho = 0.2 s ||eps_c - eps_u|| / ||g||, s the guidance scale, from
30 to 70 % of the steps, each of those from 40 % on taken three times. As in the comparison that the paper makes, the
loss is minus the reward, in place of FreeDoM's own.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, RewardError
from .base import Result
from .dymo import Aligned


def settings(guidance_scale: float, length: float, guided: tuple[float, float], repeated: float, times: int) -> dict:
    """FreeDoM's schedule as values of `Config`. Raises ConfigError without classifier-free guidance."""
    if not guidance_scale > 1:
        raise ConfigError(
            f"guidance_scale={guidance_scale!r}: FreeDoM's step is a part of the guidance; give more than 1"
        )
    return dict(
        borders_by="progress", borders=(guided[0], repeated), unguided_tail=1 - guided[1], semantic_weight=0.0,
        preference_form="score", step_rule="residual", eta=length * guidance_scale, damping=0.0, max_step=1e9,
        # Any gradient wants all repetitions past the second border, and none before it.
        recurrences="dynamic", h=(0.0, 0.0, 1e30), max_recurrences=times - 1, gradient="full",
        # The middle stage has L_R alone here, and its weight is of no account: the rule takes the direction only.
        k=1e-6,
    )  # fmt: skip


@dataclass(frozen=True)
class FreeDoM:
    """length: 0.2 of the guidance; guided: from and to, as fractions of the steps; repeated: from where, `times` each."""

    length: float = 0.2
    guided: tuple[float, float] = (0.3, 0.7)
    repeated: float = 0.4
    times: int = 3
    preview_vae: Any = None

    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        if reward is None:
            raise RewardError("FreeDoM needs a reward: give one, as load_reward('pickscore')")
        scale = pipeline_kwargs.get("guidance_scale")
        if scale is None:
            scale = inspect.signature(type(pipe).__call__).parameters["guidance_scale"].default
        values = settings(scale, self.length, (self.guided[0], self.guided[1]), self.repeated, self.times)
        aligned = Aligned("paper", values, preview_vae=self.preview_vae)
        return aligned.run(pipe, prompts, reward, budget, generator, **pipeline_kwargs)
