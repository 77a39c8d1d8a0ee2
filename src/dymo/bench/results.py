"""The pictures of a run, read from its store for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..report.interval import Interval, paired_bootstrap
from .metrics import shard_of
from .needs import need
from .plan import Plan, Row
from .store import Key, Store

ACCOUNT = ("evaluations", "seconds", "denoiser_rows", "denoiser_backwards", "decodes", "reward_calls", "peak_bytes")
Place = tuple[str, int]
"""Prompt and seed."""


@dataclass
class RowResult:
    """What a row made: its pictures and numbers by prompt and seed, and why some are missing."""

    row: Row
    pictures: dict[Place, bytes] = field(default_factory=dict)
    values: dict[str, dict[Place, float]] = field(default_factory=dict)
    """Metric or part of the account -> its values."""
    failures: dict[Place, str] = field(default_factory=dict)
    absent: int = 0
    """Pictures that nobody has painted yet."""

    def mean(self, name: str) -> float | None:
        found = self.values.get(name, {})
        return sum(found.values()) / len(found) if found else None


class Test(NamedTuple):
    """A paired comparison: the mean difference with its bootstrap interval, Wilcoxon's p, and the number of pairs."""

    difference: Interval
    p: float
    pairs: int


def collect(plan: Plan, store: Store, metrics: Sequence[str] | None = None) -> list[RowResult]:
    """The rows of a plan as far as the store has them."""
    names = plan.metrics if metrics is None else metrics
    found = []
    for row in plan.rows:
        result, configuration = RowResult(row), plan.hash_of(row)
        for prompt in plan.prompts:
            for seed in plan.seeds:
                key, place = Key(configuration, prompt, seed), (prompt, seed)
                picture = store.get(key)
                if picture is None:
                    reason = store.failure(key)
                    result.absent += reason is None
                    if reason is not None:
                        result.failures[place] = reason
                    continue
                result.pictures[place] = picture["png"]
                for name in ACCOUNT:
                    _note(result, name, place, picture[name])
                for name in names:
                    score = store.get(key, shard_of(name))
                    _note(result, name, place, None if score is None else score["score"])
        found.append(result)
    return found


def compare(a: RowResult, b: RowResult, name: str) -> Test | None:
    """a - b on what both have, two-sided; None where they have less than two pairs in common."""
    first, second = a.values.get(name, {}), b.values.get(name, {})
    places = [place for place in first if place in second]
    if len(places) < 2:
        return None
    x, y = [first[p] for p in places], [second[p] for p in places]
    same = all(u == v for u, v in zip(x, y, strict=True))
    # Without a single difference there is nothing to rank: no evidence at all.
    p = 1.0 if same else float(need("scipy.stats").wilcoxon(x, y).pvalue)
    return Test(paired_bootstrap(x, y), p, len(places))


def _note(result: RowResult, name: str, place: Place, value: Any) -> None:
    if value is not None:
        result.values.setdefault(name, {})[place] = float(value)
