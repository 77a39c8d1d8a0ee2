"""What the answers say: win rates with intervals over prompts and raters, and one scale for all rows (Bradley-Terry)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .answers import Answers
from .design import MOST_WRONG, Design, is_right, trials_of

RESAMPLES = 2000
FITS = 300
FEWEST_CHECKS = 2
"""Checks that a rater must have answered to be counted."""
PRIOR = 0.1
"""Regularises choix's Bradley-Terry fit: a row that never lost has a finite strength."""


class Vote(NamedTuple):
    """A counted answer. `value`: 1 for the pair's first row, 0 for its second, 0.5 for no difference."""

    rater: str
    prompt: str
    first: int
    second: int
    value: float


@dataclass(frozen=True)
class WinRate:
    """How often row `first` was preferred to row `second`, no difference counted half; with its 95 % interval."""

    first: str
    second: str
    rate: float
    low: float
    high: float
    won: int
    tied: int
    lost: int


@dataclass(frozen=True)
class Strength:
    """A row's Bradley-Terry strength (a log-odds; their mean is 0), with its 95 % interval."""

    row: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """The result of a study. left_out: rater -> why; raters are numbered in the order in which they began."""

    design: Design
    raters: int
    prompts: int
    left_out: dict[str, str]
    rates: list[WinRate]
    strengths: list[Strength]
    seconds: float | None
    """The median time of an answer."""


def outcome(answers: Answers, seed: int = 0) -> Outcome:
    """Read the answers of every rater who passed the checks."""
    design, votes, left_out, times = answers.design, [], {}, []
    counted = 0
    for n, rater in enumerate(answers.raters(), 1):
        given, checks = answers.of(rater), []
        trials = {trial.mark: trial for trial in trials_of(design, rater)}
        own = []
        for mark, one in given.items():
            trial = trials[mark]
            if trial.kind != "pair":
                checks.append(is_right(trial, one.answer))
                continue
            pair = design.pairs[trial.pair]
            value = {"first": 1.0, "second": 0.0, "tie": 0.5}[one.answer]
            own.append(Vote(rater, pair.prompt, pair.first, pair.second, value))
        if why := _why_left_out(checks):
            left_out[f"rater {n}"] = why
            continue
        counted += bool(own)
        votes += own
        times += [one.milliseconds for one in given.values()]
    rates = win_rates(design.rows, votes, seed)
    strengths = bradley_terry(design.rows, votes, seed)
    prompts = len({vote.prompt for vote in votes})
    return Outcome(
        design, counted, prompts, left_out, rates, strengths, float(np.median(times)) / 1000 if times else None
    )


def _why_left_out(checks: list[bool]) -> str:
    wrong = checks.count(False)
    if wrong > MOST_WRONG:
        return f"{wrong} of {len(checks)} checks wrong"
    if len(checks) < FEWEST_CHECKS:
        return f"stopped after {len(checks)} of the checks"
    return ""


def win_rates(rows: tuple[str, ...], votes: list[Vote], seed: int = 0) -> list[WinRate]:
    """Every two rows that were compared."""
    found = []
    for i, j in itertools.combinations(range(len(rows)), 2):
        own = [vote for vote in votes if (vote.first, vote.second) == (i, j)]
        if own:
            values = [vote.value for vote in own]
            low, high = interval(own, seed)
            won, tied = values.count(1.0), values.count(0.5)
            rate = WinRate(rows[i], rows[j], float(np.mean(values)), low, high, won, tied, len(own) - won - tied)
            found.append(rate)
    return found


def interval(votes: list[Vote], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean value, of a bootstrap over raters and prompts at once.

    Raters and prompts are drawn anew, each with replacement, and an answer counts as often as both of its own were drawn
    (the pigeonhole bootstrap, Owen 2007, arXiv 0712.1111): other raters and other prompts are what the result is for.
    """
    raters, prompts = _places(vote.rater for vote in votes), _places(vote.prompt for vote in votes)
    sums, counts = np.zeros((2, len(raters), len(prompts)))
    for vote in votes:
        at = raters[vote.rater], prompts[vote.prompt]
        sums[at] += vote.value
        counts[at] += 1
    rng = np.random.default_rng(seed)
    by_rater, by_prompt = _drawn(rng, len(raters), RESAMPLES), _drawn(rng, len(prompts), RESAMPLES)
    total = ((by_rater @ counts) * by_prompt).sum(1)
    means = ((by_rater @ sums) * by_prompt).sum(1)[total > 0] / total[total > 0]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def bradley_terry(rows: tuple[str, ...], votes: list[Vote], seed: int = 0) -> list[Strength]:
    """One strength a row, fitted by choix (MM with a prior), with intervals of the same bootstrap. [] without answers."""
    if not votes:
        return []
    raters, prompts = _places(vote.rater for vote in votes), _places(vote.prompt for vote in votes)
    told = np.array([(vote.first, vote.second, vote.value) for vote in votes])
    rng = np.random.default_rng(seed)
    by_rater, by_prompt = _drawn(rng, len(raters), FITS), _drawn(rng, len(prompts), FITS)
    at_rater, at_prompt = (
        np.array([raters[v.rater] for v in votes]),
        np.array([prompts[v.prompt] for v in votes]),
    )
    fits = np.array(
        [_fit(len(rows), told, r[at_rater] * p[at_prompt]) for r, p in zip(by_rater, by_prompt, strict=True)]
    )
    best = _fit(len(rows), told, np.ones(len(votes)))
    ends = np.quantile(fits, (0.025, 0.975), axis=0)
    found = [Strength(row, float(best[n]), float(ends[0, n]), float(ends[1, n])) for n, row in enumerate(rows)]
    return sorted(found, key=lambda strength: -strength.value)


def _fit(n: int, votes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """votes: (votes, 3) of first, second, value."""
    import choix

    first, second, value = votes[:, 0].astype(int), votes[:, 1].astype(int), votes[:, 2]
    wins = np.zeros((n, n))
    np.add.at(wins, (first, second), weights * value)
    np.add.at(wins, (second, first), weights * (1 - value))
    found = choix.ilsr_pairwise_dense(wins, alpha=PRIOR)
    return found - found.mean()


def _places(names: Iterable[str]) -> dict[str, int]:
    return {name: n for n, name in enumerate(dict.fromkeys(names))}


def _drawn(rng: np.random.Generator, n: int, times: int) -> np.ndarray:
    """(times, n): how often each of n is drawn in n draws with replacement."""
    return rng.multinomial(n, [1 / n] * n, size=times).astype(float)
