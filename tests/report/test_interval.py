"""The paired bootstrap against cases with a known answer."""

import numpy as np
import pytest

from dymo.report.interval import paired_bootstrap


def test_a_constant_difference_is_certain():
    a = np.random.default_rng(0).normal(size=20)
    assert paired_bootstrap(a + 0.5, a) == pytest.approx((0.5, 0.5, 0.5))


def test_the_normal_interval_of_a_large_sample():
    values = np.random.default_rng(1).normal(2.0, 3.0, size=400)
    mean, low, high = paired_bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.03)


def test_two_pairs_by_hand():
    # The resampled mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4: the 2.5 % and 97.5 % quantiles are the ends.
    assert paired_bootstrap([1, 1], [1, 0]) == (0.5, 0.0, 1.0)


def test_it_covers_the_truth_nineteen_times_in_twenty():
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        low, high = paired_bootstrap(random.normal(1.0, 1.0, size=64), n=1000, seed=trial)[1:]
        covered += low <= 1.0 <= high
    assert 0.90 <= covered / 200 <= 0.98


def test_pairing_removes_what_the_pairs_share():
    random = np.random.default_rng(3)
    shared, noise = random.normal(0, 10, 64), random.normal(0, 0.1, 64)
    assert paired_bootstrap(shared + 1 + noise, shared).low > 0


def test_seeded():
    a = np.random.default_rng(4).normal(size=30)
    assert paired_bootstrap(a, seed=5) == paired_bootstrap(a, seed=5)
    assert paired_bootstrap(a, seed=5) != paired_bootstrap(a, seed=6)


def test_booleans_are_rates():
    assert paired_bootstrap([True, True, False, False]).mean == 0.5


def test_text():
    assert paired_bootstrap([0.5, 0.5]).text(2) == "+0.50 [+0.50, +0.50]"


@pytest.mark.parametrize("a, b", [([], None), ([1.0], [1.0, 2.0]), ([[1.0]], None), ([float("nan")], None)])
def test_unusable_values(a, b):
    with pytest.raises(ValueError):
        paired_bootstrap(a, b)
