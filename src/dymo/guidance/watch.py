"""Held-out rewards beside the guide: measured on accepted predictions, never followed; flags reward hacking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config import OnHacking
from ..errors import RewardError

Scorer = Callable[[Tensor, list[int], "float | None"], Tensor]
"""Images (n, 3, H, W) in [0, 1], their samples' indices, t or None for a clean image -> (n,)."""


@dataclass
class Watch:
    """Held-out rewards, and the rule by which they contradict the guide.

    scorers, scales: by name; a scale is the points of score that count as one unit. guide_scale: the guide's own.
    A sample is flagged at the first accepted step where, counted from the step at which the watched rewards stood
    highest, the guide has risen by more than `tolerance` units and the mean of the watched ones has fallen by as much.
    """

    scorers: Mapping[str, Scorer]
    scales: Mapping[str, float]
    guide_scale: float = 1.0
    action: OnHacking = "warn"
    tolerance: float = 1.0
    flagged: dict[int, int] = field(default_factory=dict)
    """sample -> index of the step at which it was flagged."""
    _highest: dict[int, tuple[float, float]] = field(default_factory=dict)
    """sample -> the watched rewards' highest mean so far, and the guide at that step; both in units."""

    @torch.no_grad()
    def score(self, images: Tensor, samples: list[int], timestep: float | None) -> dict[str, list[float]]:
        """name -> scores (n,) of images (n, 3, H, W) in [0, 1]. Raises RewardError where they are not n finite ones."""
        found = {}
        for name, scorer in self.scorers.items():
            scores = scorer(images, samples, timestep)
            tensor = isinstance(scores, Tensor)
            if not tensor or scores.shape != (len(samples),) or not torch.isfinite(scores).all():
                got = scores.tolist() if tensor else type(scores).__name__
                raise RewardError(
                    f"the watched reward {name!r} returned {got} for {len(samples)} images: it must return a tensor of "
                    "one finite number each"
                )
            found[name] = scores.float().tolist()
        return found

    def mean(self, scores: Mapping[str, list[float]]) -> list[float]:
        """The watched rewards' mean in their own units, one number a image."""
        columns = [[value / self.scales[name] for value in values] for name, values in scores.items()]
        return [sum(row) / len(row) for row in zip(*columns, strict=True)]

    def contradicts(self, sample: int, step: int, guide: float, watched: float) -> bool:
        """Note an accepted step; whether it is the one at which the sample is flagged (once).

        guide: the guide's score in points; watched: `mean` of the watched ones.
        """
        guide = guide / self.guide_scale
        highest, then = self._highest.get(sample, (float("-inf"), 0.0))
        if watched >= highest:
            self._highest[sample] = (watched, guide)
            return False
        if sample in self.flagged or min(highest - watched, guide - then) <= self.tolerance:
            return False
        self.flagged[sample] = step
        return True
