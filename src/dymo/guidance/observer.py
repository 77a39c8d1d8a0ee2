"""What an algorithm tells of itself while it runs, and what it is told at the end of a step; the base class does nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from .loop import Rows, Seen, Timestep
from .schedule import Stage
from .step import Move


class Observer:
    """Every method may be overridden. Tensors stay on their device: `read` is the one place where the host waits."""

    def begin(self, now: Timestep, stage: Stage, short: str | None) -> None:
        """A step begins; `short`: it would be guided, or by a gradient where it is guided without, were more of the budget's "seconds"
        or "bytes" left.
        """

    def evaluated(
        self, seen: Seen, weights: Mapping[str, Tensor], losses: Mapping[str, Tensor], moved: Move | None, best: Tensor | None = None
    ) -> None:  # fmt: skip
        """One evaluation with objectives is done: weights and losses (n,) by objective's name; moved: where they steer, too.

        best (n,) bool: the samples for which the step goes on from this evaluation, unless a later one is better; None: all.
        """

    def read(self, *values: Tensor) -> list[list[float]]:
        """The values (n,) on the host, in one transfer."""
        return [value.tolist() for value in values]

    def granted(self, rows: Rows, recurrences: list[int]) -> None:
        """So often will this step be taken again, or was it."""

    def chosen(self, step: Tensor, z0: Tensor) -> None:
        """The step ends with predictions z0' (B, c, h, w) of several steps: step (B,), the index of each one's."""

    def accepted(self, z: Tensor, z0: Tensor) -> Collection[int]:
        """The step ends with z_{t-1} and z0', (B, c, h, w) both. Returns the samples that the reward is to steer no more."""
        return ()
