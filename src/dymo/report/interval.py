"""How sure a mean difference is: the paired bootstrap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def clear_of_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def text(self, digits: int = 3) -> str:
        """ "+0.031 [+0.020, +0.043]"."""
        return f"{self.mean:+.{digits}f} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"


def paired_bootstrap(a: ArrayLike, b: ArrayLike | None = None, n: int = 10000, seed: int = 0) -> Interval:
    """Mean of a - b (of a, where b is None) with its 95 % percentile interval over `n` resamples of the pairs.

    a, b: (pairs,). Seeded. Raises ValueError on empty, unequal or not finite values.
    """
    first = np.asarray(a, dtype=float)
    second = np.zeros_like(first) if b is None else np.asarray(b, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise ValueError(f"a {first.shape} and b {second.shape}: give two lists of the same length, at least 1")
    difference = first - second
    if not np.isfinite(difference).all():
        raise ValueError("a or b holds NaN or infinity: leave those pairs out, and say so")
    random = np.random.default_rng(seed)
    means = difference[random.integers(difference.size, size=(n, difference.size))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(difference.mean()), float(low), float(high))
