"""Several rewards at once: a weighted sum in which each counts in its own units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import RewardError
from ..parts import OfReward
from .base import Reward, check_scores, full_precision, is_differentiable, scale_of

Conflicts = Literal["sum", "project"]
"""What is done with the gradients of the parts: added up, or each first freed of what opposes another (PCGrad)."""


class CombinedReward:
    """sum_k w_k s_k / scale_k over rewards k with weights w_k and their own declared scales.

    A weight of 1 on each thus asks for one ordinary spread of each. conflicts: "sum" differentiates the sum; "project"
    has every part differentiated by itself and projects the latents' gradients (as many backward passes as parts).
    Raises RewardError on an empty table or a weight that is zero or not finite.
    """

    resolution: int | None = None
    cosine_scale: float | None = None

    def __init__(self, parts: Sequence[tuple[Reward, float]], conflicts: Conflicts = "sum"):
        if conflicts not in get_args(Conflicts):
            raise RewardError(OfReward("conflicts", conflicts), ": choose 'sum' or 'project'")
        if not parts:
            raise RewardError("no reward to combine: give {name: weight, ...}")
        for reward, weight in parts:
            check_weight(reward.name, weight)
        self.parts, self.conflicts = tuple(parts), conflicts
        self.name = " + ".join(f"{weight:g} {reward.name}" for reward, weight in parts)
        self.reads_timestep = any(reward.reads_timestep for reward, _ in parts)
        self.differentiable = all(is_differentiable(reward) for reward, _ in parts)
        self.scale = math.hypot(*(weight for _, weight in parts))  # the spread of the sum, were the parts independent

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> (B,)."""
        return self.scores(images, prompts, timestep).sum(0)

    def scores(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """The summands w_k s_k / scale_k of K rewards: images (B, 3, H, W) in [0, 1] -> (K, B).

        Raises RewardError where one of them does not return (B,).
        """
        summands = []
        for reward, weight in self.parts:
            scores = reward.score(images, prompts, timestep)
            check_scores(reward.name, scores, len(prompts))
            summands.append(weight / scale_of(reward) * full_precision(scores))
        return torch.stack(summands)

    def to(self, device: torch.device | str) -> CombinedReward:
        """Move every part; returns self."""
        for reward, _ in self.parts:
            reward.to(device)
        return self


def check_weight(name: str, weight: object) -> None:
    """Raises RewardError on a weight in a combination that is no finite number, or 0."""
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool) and math.isfinite(weight)
    if not number or not weight:
        raise RewardError(f"{name}: its weight is {weight!r}; give a number other than 0")
