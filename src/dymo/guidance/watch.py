"""Held-out rewards beside the guide: measured on what is accepted, never followed, and heard when they contradict it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config import OnHacking
from ..errors import RewardError

Scorer = Callable[[Tensor, list[int], "float | None"], Tensor]
"""Pictures (n, 3, H, W) in [0, 1], their samples' indices, t or None for a clean picture -> (n,)."""


@dataclass
class Watch:
    """What is watched, and when it raises the alarm.

    scorers, scales: by name; a scale is the points of score that count as one unit. guide_scale: the guide's own.
    A sample's alarm rings at the first accepted step where, counted from the step at which the watched rewards stood
    highest, the guide has risen by more than `tolerance` units and the mean of the watched ones has fallen by as much.
    """

    scorers: Mapping[str, Scorer]
    scales: Mapping[str, float]
    guide_scale: float = 1.0
    action: OnHacking = "warn"
    tolerance: float = 1.0
    rung: dict[int, int] = field(default_factory=dict)
    """sample -> index of the step at which its alarm rang."""
    _highest: dict[int, tuple[float, float]] = field(default_factory=dict)
    """sample -> the watched rewards' highest mean so far, and the guide at that step; both in units."""

    @torch.no_grad()
    def score(self, images: Tensor, samples: list[int], timestep: float | None) -> dict[str, list[float]]:
        """name -> scores (n,) of pictures (n, 3, H, W) in [0, 1]. Raises RewardError where they are not n finite ones."""
        found = {}
        for name, scorer in self.scorers.items():
            scores = scorer(images, samples, timestep)
            tensor = isinstance(scores, Tensor)
            if not tensor or scores.shape != (len(samples),) or not torch.isfinite(scores).all():
                got = scores.tolist() if tensor else type(scores).__name__
                raise RewardError(
                    f"the watched reward {name!r} returned {got} for {len(samples)} pictures: it must return a tensor of "
                    "one finite number each"
                )
            found[name] = scores.float().tolist()
        return found

    def mean(self, scores: Mapping[str, list[float]]) -> list[float]:
        """The watched rewards' mean in their own units, one number a picture."""
        columns = [[value / self.scales[name] for value in values] for name, values in scores.items()]
        return [sum(row) / len(row) for row in zip(*columns, strict=True)]

    def hear(self, sample: int, step: int, guide: float, watched: float) -> bool:
        """Take note of an accepted step; whether the sample's alarm rings now (it rings once).

        guide: the guide's score in points; watched: `mean` of the watched ones.
        """
        guide = guide / self.guide_scale
        highest, then = self._highest.get(sample, (float("-inf"), 0.0))
        if watched >= highest:
            self._highest[sample] = (watched, guide)
            return False
        if sample in self.rung or min(highest - watched, guide - then) <= self.tolerance:
            return False
        self.rung[sample] = step
        return True
