"""What an image may spend, and how it is allotted to the steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from .config import Gradient
from .errors import ConfigError
from .parts import Argument, Code, Limit, Name, Setting

# A guided evaluation of a kind not yet timed is taken to cost this many of the cheapest kind.
_UNTIMED = 3.0


@dataclass(frozen=True)
class Budget:
    """What one image may spend: denoiser evaluations (a guided pair counts once), seconds for the whole call, bytes.

    The trajectory is never cut: evaluations and seconds are spent on recurrences where the gradient is large; in a run of few
    steps half of them are the first level's, and the others share the rest (of seconds no more than the settings ask for). When the
    seconds run short, the remaining steps are taken unguided, and the trace says so. `bytes` bounds what one evaluation
    keeps for its gradient; where it would be more, the gradient leaves out the denoiser, and then the step is unguided; in
    a run of few steps draws are compared there, without a gradient. Where it holds several seeds (`scouts`), they are begun at once.
    Raises ConfigError on values out of range.
    """

    evaluations: int | None = None
    seconds: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("evaluations", "bytes"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise ConfigError(Limit(name, value), ": give a positive whole number")
        if self.seconds is not None and not (isinstance(self.seconds, Real) and self.seconds > 0):
            raise ConfigError(Limit("seconds", self.seconds), ": give a positive number")


def check_budget(budget: Any) -> None:
    """Raises ConfigError on what is neither a Budget nor None."""
    if budget is not None and not isinstance(budget, Budget):
        raise ConfigError(Setting("budget", Code(f"{budget!r}")), ": give ", Limit("evaluations", 100), " or ", Limit("seconds", 20))


@dataclass
class Allotment:
    """Allocates a budget to the steps of one run by gradient norm, per sample.

    A step gets the share of what is left that its gradient has of all that are still expected: its own, and the mean so
    far for each step to come. Seconds count from `began`; `reserve` of them are kept for what follows the last step.
    """

    budget: Budget = field(default_factory=Budget)
    clock: Callable[[], float] = time.perf_counter
    began: float | None = None
    reserve: float = 0.0
    before: int = 0
    """Evaluations an image that were spent before this run,"""
    before_on: str = "the unguided image"
    """and on what."""

    def __post_init__(self) -> None:
        self.began = self.clock() if self.began is None else self.began
        self.mark = self.clock()
        self.spent: dict[int, int] = {}
        self.sizes: dict[int, list[float]] = {}
        self.prices: dict[str, float] = {}
        self.kept: dict[tuple[str, str], int] = {}
        self.no_dearer: dict[str, str] = {}
        """Kinds of rounds that cost at most what another kind does, which is asked as long as they are not timed."""

    @property
    def most_kept(self) -> int:
        """Bytes that an evaluation kept, of those that were weighed."""
        return max(self.kept.values(), default=0)

    @property
    def limited(self) -> bool:
        """Whether evaluations or seconds are counted out: a step's share of them needs the size of its gradient."""
        return self.budget.evaluations is not None or self.budget.seconds is not None

    def book(self, evaluations: int, on: str) -> None:
        """So many evaluations an image are spent before this run, the last of them on `on`."""
        self.before, self.before_on = evaluations, on

    def open(self, steps: int, evaluations: int | None = None, reserve: float = 0.0) -> None:
        """The run is about to begin, of so many steps and evaluations (one a step unless said otherwise).

        reserve: seconds that are kept for what follows the last step. Raises ConfigError where the budget does not reach for the plain trajectory.
        """
        limit, needed = self.budget.evaluations, steps if evaluations is None else evaluations
        if limit is not None and limit < self.before + needed:
            each = "" if needed == steps else f"{needed} evaluations that this sampler makes in the "
            also = f" and the {self.before} of {self.before_on}" if self.before else ""
            raise ConfigError(
                Limit("evaluations", limit),
                f" is less than the {each}{steps} steps of the trajectory{also}, which is never cut short: raise the budget or lower ",
                Name(Argument("num_inference_steps")),
            )
        self.reserve, self.mark = reserve or self.reserve, self.clock()

    def free(self) -> int | None:
        """Evaluations that the sample which has spent most has left; None without a limit."""
        limit = self.budget.evaluations
        return None if limit is None else limit - self.before - max(self.spent.values(), default=0)

    def count(self, rows: list[int], kind: str, evaluations: int = 1) -> None:
        """One round of these samples is done, of the kind (stage) named: so many evaluations."""
        now = self.clock()
        took, self.mark = now - self.mark, now
        known = self.prices.get(kind)
        self.prices[kind] = took if known is None else 0.7 * known + 0.3 * took
        for i in rows:
            self.spent[i] = self.spent.get(i, 0) + evaluations

    def seconds_left(self) -> float:
        """Seconds until the budget is spent, the reserve taken off; infinite without a limit."""
        assert self.began is not None
        if self.budget.seconds is None:
            return math.inf
        return self.budget.seconds - self.reserve - (self.clock() - self.began)

    @contextmanager
    def weighed(self, kind: str, gradient: str) -> Iterator[None]:
        """Counts the bytes that an evaluation of this kind, with this gradient, keeps for its backward."""
        if self.budget.bytes is None:
            yield
            return
        storages: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            yield
        self.kept[kind, gradient] = max(self.kept.get((kind, gradient), 0), sum(storages.values()))

    def plan(self, kind: str, wanted: Gradient, left: int, kept: float = 0.0) -> tuple[Gradient, str | None]:
        """The gradient of a guided step of this kind, as wanted or without the denoiser; and what it is short of, "bytes" or
        "seconds", where it can only be taken unguided. left: the steps from this one on; kept: seconds that the others are to have.

        What an evaluation keeps is found out by the first one of its kind.
        """
        ways: list[Gradient] = [wanted, "straight-through"]
        through = next((way for way in ways if self.kept.get((kind, way), 0) <= (self.budget.bytes or math.inf)), None)
        short = "bytes" if through is None else None if self.guides(left, kind, kept) else "seconds"
        return through or wanted, short

    def price(self, kind: str) -> float:
        """Seconds of one round of this kind, as far as is known."""
        for known in (kind, self.no_dearer.get(kind)):
            if known in self.prices:
                return self.prices[known]
        cheapest = min(self.prices.values(), default=0.0)
        return cheapest if kind == "unguided" else _UNTIMED * cheapest

    def guides(self, left: int, kind: str, kept: float = 0.0) -> bool:
        """Whether guiding this step leaves the time to take the other ones, `left` with this one, at least unguided; or `kept` seconds."""
        return self.price(kind) + max(kept, (left - 1) * self.price("unguided")) <= self.seconds_left()

    def rounds(self, kind: str, kept: float) -> int:
        """How many rounds of this kind there are seconds for, `kept` of them left; of a budget that has seconds."""
        return max(0, int((self.seconds_left() - kept) / max(self.price(kind), 1e-9)))

    def grant(
        self, rows: list[int], wanted: list[int], sizes: list[float], left: int, kind: str, calls: int = 1, ahead: int | None = None
    ) -> list[int]:  # fmt: skip
        """How many of the `wanted` recurrences of each sample are paid for.

        left: the steps after this one, and ahead: their evaluations (None: one each); calls: evaluations of a recurrence.
        """
        after = left if ahead is None else ahead
        return [
            self._grant(i, want, size, left, kind, calls, after)
            for i, want, size in zip(rows, wanted, sizes, strict=True)
        ]

    def _grant(self, sample: int, want: int, size: float, left: int, kind: str, calls: int, after: int) -> int:
        sizes = self.sizes.setdefault(sample, [])
        sizes.append(size if math.isfinite(size) else 0.0)
        limits = []
        if self.budget.evaluations is not None:
            limits.append((self.budget.evaluations - self.before - self.spent.get(sample, 0) - after) // calls)
        if self.budget.seconds is not None:
            limits.append(self.rounds(kind, left * self.price(kind)))
        if not limits:
            return want
        extra = max(0, min(limits))
        expected = sizes[-1] + left * sum(sizes) / len(sizes)
        share = sizes[-1] / expected if expected > 0 else 0.0
        return max(0, min(want, round(extra * share), extra))
