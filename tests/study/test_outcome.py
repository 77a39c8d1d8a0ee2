"""The statistics of a study: on answers whose truth is known, the intervals hold it as often as they say."""

import math

import numpy as np
import pytest

from dymo.study.outcome import Vote, bradley_terry, interval, win_rates

ROWS = ("dymo", "plain")


def simulated(rng, raters=20, prompts=24, better=0.6):
    """Votes of raters on prompts drawn from a population whose true win rate is `better`, and that rate.

    A prompt's own probability is drawn from a beta distribution of that mean; a rater attends to it, or in one answer of
    ten presses anything; both kinds of spread are in real answers.
    """
    found, slips = [], 0.1
    chances = rng.beta(4 * better, 4 * (1 - better), prompts)
    for r in range(raters):
        slip = slips * 2 * rng.random()
        for p, chance in enumerate(chances):
            won = rng.random() < ((1 - slip) * chance + slip / 2)
            found.append(Vote(f"r{r}", f"p{p}", 0, 1, float(won)))
    return found, (1 - slips) * better + slips / 2


def test_the_true_win_rate_lies_in_the_interval_in_at_least_90_of_100_studies():
    rng, inside = np.random.default_rng(0), 0
    for n in range(100):
        votes, truth = simulated(rng, better=0.4 + 0.4 * n / 99)
        low, high = interval(votes)
        inside += low <= truth <= high
        assert high - low < 0.35
    assert inside >= 90


def test_no_difference_is_half_a_win():
    votes = [Vote("r", f"p{n}", 0, 1, value) for n, value in enumerate([1.0, 1.0, 0.5, 0.0])]
    (rate,) = win_rates(ROWS, votes)
    assert (rate.rate, rate.won, rate.tied, rate.lost) == (0.625, 2, 1, 1) and rate.low <= rate.rate <= rate.high


def test_bradley_terry_of_two_rows_is_the_log_odds():
    votes = [Vote(f"r{n % 10}", f"p{n % 12}", 0, 1, float(n % 4 != 0)) for n in range(4000)]
    first, second = bradley_terry(ROWS, votes)
    assert (first.row, second.row) == ROWS
    assert first.value - second.value == pytest.approx(
        math.log(3), abs=0.02
    ) and first.value + second.value == pytest.approx(0)


def test_bradley_terry_puts_three_rows_on_one_scale_and_stays_finite():
    strengths = np.array([1.0, 0.0, -1.0])
    rng = np.random.default_rng(1)
    votes = [Vote(f"r{r}", f"p{p}", i, j, float(rng.random() < 1 / (1 + math.exp(strengths[j] - strengths[i]))))
             for r in range(15) for p in range(20) for i, j in ((0, 1), (0, 2), (1, 2))]  # fmt: skip
    found = bradley_terry(("a", "b", "c"), votes)
    assert [s.row for s in found] == ["a", "b", "c"]
    assert [s.value for s in found] == pytest.approx(strengths, abs=0.25)
    won = [Vote("r", f"p{n}", 0, 1, 1.0) for n in range(8)]
    assert all(math.isfinite(s.value) for s in bradley_terry(ROWS, won))


def test_nothing_answered_is_no_figure():
    assert win_rates(ROWS, []) == [] and bradley_terry(ROWS, []) == []
