"""Verdicts: the interval, the p and the word agree, and together they are wrong as rarely as they say (S3)."""

import numpy as np
import pytest

from dymo.report import verdict
from dymo.report.verdict import ALPHA, FEWEST, differences


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fewer subsets, which the null is not affected by."""
    monkeypatch.setattr(verdict, "SUBSETS", 1999)
    verdict._subsets.cache_clear()
    yield
    verdict._subsets.cache_clear()


def family(rng, rows, pairs, gain=0.0, kind="normal"):
    """A base and `rows` others that share what their prompts have in common."""
    if kind == "rate":
        base = (rng.random(pairs) < 0.7).astype(float)
        return {i: ((rng.random(pairs) < 0.7 + gain).astype(float), base) for i in range(rows)}
    shared, base = rng.normal(size=pairs), rng.normal(size=pairs)
    return {i: (shared + gain + rng.normal(size=pairs), shared + base) for i in range(rows)}


def found(said):
    return [name for name, d in said.items() if d.word in ("higher", "lower")]


@pytest.mark.parametrize("kind", ["normal", "rate"])
def test_s3_the_risk_of_any_false_word_is_at_most_five_per_cent(kind):
    rng = np.random.default_rng(0)
    trials = 300
    wrong = sum(bool(found(differences(family(rng, 10, 16, kind=kind))[0])) for _ in range(trials))
    assert wrong / trials <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / trials) ** 0.5


def test_s3_without_the_correction_it_would_be_far_more():
    """What the test above guards against: each difference by itself at 5 %."""
    rng = np.random.default_rng(1)
    alone = [
        any(found(differences({0: pair})[0]) for pair in family(rng, 10, 16).values()) for _ in range(60)
    ]  # fmt: skip
    assert np.mean(alone) > 0.15


@pytest.mark.parametrize("gain", [0.0, 0.4, 2.0])
@pytest.mark.parametrize("kind", ["normal", "rate"])
def test_s3_interval_p_and_word_agree(gain, kind):
    rng = np.random.default_rng(2)
    for _ in range(20):
        said, _ = differences(family(rng, 8, 24, min(gain, 0.3) if kind == "rate" else gain, kind))
        for d in said.values():
            clear = d.low > 0 or d.high < 0
            assert clear == (d.p <= ALPHA) == (d.word in ("higher", "lower")), d
            assert d.low <= d.mean <= d.high
            assert not clear or (d.word == "higher") == (d.mean > 0)


def test_s3_too_few_pairs_say_nothing_however_clear():
    rng = np.random.default_rng(3)
    few, enough = (np.abs(rng.normal(size=n)) + 5 for n in (FEWEST - 1, FEWEST))
    said, level = differences({"few": (few, np.zeros(few.size)), "enough": (enough, np.zeros(enough.size))})
    assert said["few"].word == "too few pairs" and said["few"].p == 1.0
    assert said["enough"].word == "higher" and level == ALPHA, "what says nothing is no member of the family"
    assert differences({})[0] == {}


def test_a_rate_is_tested_as_the_sign_test_does():
    """Four prompts of 32 that changed, all for the better: p = 2 / 2^4, where a normal approximation has 0.046."""
    said, _ = differences({0: (np.r_[np.ones(4), np.zeros(28)], np.zeros(32))})
    assert said[0].p == pytest.approx(0.125, abs=0.02) and said[0].word == "no difference shown"


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(4)
    intervals = [differences({0: (rng.laplace(1.0, 1.0, 20), np.zeros(20))})[0][0] for _ in range(200)]
    assert 0.91 <= np.mean([d.low <= 1.0 <= d.high for d in intervals]) <= 0.99


def test_holm_by_hand():
    """Three of four are found at 0.05 / 4, / 3 and / 2; the fourth is not, and its interval is the 95 % one."""
    rng = np.random.default_rng(5)
    clear = {i: (rng.normal(3, 1, 32), np.zeros(32)) for i in range(3)}
    said, level = differences({**clear, 3: (rng.normal(0, 1, 32), np.zeros(32))})
    assert found(said) == [0, 1, 2] and level == ALPHA
    # The smallest p that 1999 subsets give is 2 / 2000, times the number of hypotheses that are left.
    assert [said[i].p for i in range(3)] == pytest.approx([0.004] * 3)


def test_equal_rows_differ_in_nothing_and_unusable_values_are_refused():
    same = np.arange(12.0)
    assert differences({0: (same, same)})[0][0][:4] == (0.0, 0.0, 0.0, 1.0)
    for a, b in (([1.0], [1.0, 2.0]), ([float("nan")] * 12, [0.0] * 12)):
        with pytest.raises(ValueError, match="finite numbers of the same length"):
            differences({0: (a, b)})


def test_an_interval_without_ends_is_null_in_json():
    said, _ = differences({i: (np.random.default_rng(i).normal(size=10), np.zeros(10)) for i in range(300)})
    assert said[0].low == -np.inf and said[0].finite()["low"] is None and said[0].word == "no difference shown"
