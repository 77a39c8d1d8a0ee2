"""How often to travel back: r_t by the gradient's size, and what a budget leaves of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..config import Config
from ..errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """What one picture may spend: denoiser evaluations (a guided pair counts once), or seconds for the whole call.

    The trajectory is never cut: a budget is spent on recurrences where the gradient is large. When the seconds run
    short, the remaining steps are taken unguided, and the trace says so. Raises ConfigError on values out of range.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.evaluations is not None and (not isinstance(self.evaluations, int) or self.evaluations < 1):
            raise ConfigError(f"Budget(evaluations={self.evaluations!r}): give a positive whole number")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"Budget(seconds={self.seconds!r}): give a positive number")


def wanted(config: Config, stage_index: int, gradient_norm: float) -> int:
    """r_t: fixed, or floor(h_t ||g_t||), capped. A gradient that is not finite wants none."""
    if config.recurrences != "dynamic":
        return config.recurrences
    if not math.isfinite(gradient_norm):
        return 0
    return int(min(config.h[stage_index] * gradient_norm, config.max_recurrences))


@dataclass
class Purse:
    """Deals a budget out over the steps of one run, per sample, as the gradients come in.

    A step gets the share of what is left that its gradient has of all that are still expected: its own, and the mean
    so far for each guided step to come.
    """

    budget: Budget
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.evaluations = 0
        self.before = 0
        self.spent: list[int] = []
        self.sizes: list[list[float]] = []

    def advance(self, evaluations: int) -> None:
        """So many evaluations a picture are spent before the run."""
        self.before += evaluations
        self.evaluations += evaluations

    def open(self, steps: int, samples: int) -> None:
        """The run is about to begin. Raises ConfigError where the budget does not reach for the plain trajectory."""
        if self.budget.evaluations is not None and self.budget.evaluations < self.before + steps:
            also = f" and the {self.before} of the unguided picture" if self.before else ""
            raise ConfigError(
                f"Budget(evaluations={self.budget.evaluations}) is less than the {steps} steps of the trajectory{also}, "
                "which is never cut short: raise the budget or lower num_inference_steps"
            )
        self.spent, self.sizes = [0] * samples, [[] for _ in range(samples)]

    def count(self, active: list[int]) -> None:
        """One evaluation of these samples is done."""
        self.evaluations += 1
        for i in active:
            self.spent[i] += 1

    def seconds_each(self) -> float:
        """Mean seconds of one evaluation of the batch so far."""
        return (self.clock() - self.began) / max(1, self.evaluations)

    def late(self, steps_left: int) -> bool:
        """Whether guiding this step would leave too little time for one evaluation of every step that is left."""
        if self.budget.seconds is None or not self.evaluations:
            return False
        return self.clock() - self.began + self.seconds_each() * steps_left > self.budget.seconds

    def grant(self, sample: int, want: int, size: float, steps_left: int) -> int:
        """How many of the `want`ed recurrences are paid; `steps_left` counts the steps after this one."""
        self.sizes[sample].append(size if math.isfinite(size) else 0.0)
        extra = self._extra(sample, steps_left)
        if extra is None:
            return want
        mean = sum(self.sizes[sample]) / len(self.sizes[sample])
        expected = self.sizes[sample][-1] + steps_left * mean
        share = self.sizes[sample][-1] / expected if expected > 0 else 0.0
        return max(0, min(want, round(extra * share), extra))

    def _extra(self, sample: int, steps_left: int) -> int | None:
        """Evaluations that may go into recurrences from here on; None without a limit."""
        limits = []
        if self.budget.evaluations is not None:
            limits.append(self.budget.evaluations - self.before - self.spent[sample] - steps_left)
        if self.budget.seconds is not None:
            left = self.budget.seconds - (self.clock() - self.began)
            limits.append(int(left / max(self.seconds_each(), 1e-9)) - steps_left)
        return max(0, min(limits)) if limits else None
