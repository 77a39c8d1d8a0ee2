"""The results of a comparison, read from its store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..report.verdict import Difference, differences
from .plan import Comparison
from .rows import RowSpec
from .store import Key, Store
from .worker import SHARED, not_finite, scores_of

ACCOUNT = ("evaluations", "tflop", *SHARED, "peak_mb")
Case = tuple[str, int]  # prompt and seed


@dataclass
class RowResult:
    """What a row gave: its images and numbers by prompt and seed, and why some are missing."""

    row: RowSpec
    images: dict[Case, Path] = field(default_factory=dict)
    values: dict[str, dict[Case, float]] = field(default_factory=dict)  # metric or part of the account -> its values
    failures: dict[Case, str] = field(default_factory=dict)
    absent: int = 0  # images that are not generated yet

    def mean(self, name: str) -> float | None:
        """The mean of a metric over the prompts; None where no image has it."""
        found = self.values.get(name, {})
        return sum(found.values()) / len(found) if found else None


class Tested(NamedTuple):
    """One comparison of the report: a row less another, on a metric."""

    row: str
    against: str
    metric: str
    difference: Difference


def collect(plan: Comparison, store: Store) -> list[RowResult]:
    """The rows of a comparison as far as the store has them."""
    found = []
    for row in plan.rows:
        result, configuration = RowResult(row), plan.hash_of(row)
        if (older := plan.older_hash_of(row)) != configuration and not any(store.images(configuration)):
            configuration = older
        held = {key: (record, failure) for key, record, failure in store.images(configuration)}
        for case in ((prompt, seed) for prompt in plan.prompts for seed in plan.seeds):
            key = Key(configuration, *case)
            record, failure = held.get(key, (None, None))
            if record is None or not store.image_path(key).is_file():
                result.absent += failure is None
                result.failures |= {} if failure is None else {case: failure}
                continue
            result.images[case] = store.image_path(key)
            scores, wrong = _scores(plan, record)
            # Where every metric has its score, a failure noted was of a metric that is asked for no more.
            if (failure or wrong) and None in scores.values():
                result.failures[case] = failure or wrong
            for name, value in ({name: record.get(name) for name in ACCOUNT} | scores).items():
                if value is not None:
                    result.values.setdefault(name, {})[case] = float(value)
        found.append(result)
    return found


def _scores(plan: Comparison, record: Mapping[str, Any]) -> tuple[dict[str, float | None], str]:
    """The scores of an image by metric, None where there is none, and what is wrong with those that are not finite."""
    held = {name: record["scores"].get(scores_of(name)) for name in plan.metrics}
    wrong = {name: score for name, score in held.items() if score is not None and not math.isfinite(score)}
    return held | dict.fromkeys(wrong), "; ".join(not_finite(*one) for one in wrong.items())


def compare(plan: Comparison, results: list[RowResult], base: str) -> tuple[list[Tested], float]:
    """Every comparison of the report, as one family for Holm's correction, and the level of its intervals.

    Every row against `base`; and every other row of DyMO against the rows that were given its budget.
    """
    by_name = {result.row.name: result for result in results}
    pairs = [(result, by_name[base]) for result in results if result.row.name != base]
    matched = [(result, by_name[result.row.match.row]) for result in results if result.row.match is not None]
    pairs += [(result, of) for result, of in matched if of.row.name != base and of.row.method == "dymo"]
    family = {(a.row.name, b.row.name, name): paired(a, b, name) for a, b in pairs for name in plan.metrics}
    said, level = differences({names: both for names, both in family.items() if both[0].size})
    return [Tested(*names, difference) for names, difference in said.items()], level


def paired(row: RowResult, other: RowResult, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The two rows' values on what both have, a pair a prompt: its seeds are averaged, since they are no independent cases.

    Where there is one prompt, a pair a seed.
    """
    first, second = row.values.get(name, {}), other.values.get(name, {})
    cases = [case for case in first if case in second]
    units: dict[str | int, list[Case]] = {}
    alone = len({prompt for prompt, _ in cases}) == 1
    for case in cases:
        units.setdefault(case[1] if alone else case[0], []).append(case)
    means = [[np.mean([values[case] for case in unit]) for unit in units.values()] for values in (first, second)]
    return np.array(means[0]), np.array(means[1])
