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

    def text(self, digits: int = 3) -> str:
        """ "+0.031 [+0.020, +0.043]"."""
        return f"{self.mean:+.{digits}f} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"


def paired_bootstrap(a: ArrayLike, b: ArrayLike | None = None, n: int = 10000, seed: int = 0) -> Interval:
    """Mean of a - b (of a, where b is None) with its 95 % percentile interval over `n` resamples of the pairs.

    a, b: (pairs,). Seeded. Raises ValueError on empty, unequal or not finite values.
    """
    d = np.asarray(a, dtype=float) - (0.0 if b is None else np.asarray(b, dtype=float))
    if d.shape != (np.size(a),) or not d.size or not np.isfinite(d).all():
        raise ValueError("give two lists of finite numbers of the same length, at least 1")
    means = d[np.random.default_rng(seed).integers(d.size, size=(n, d.size))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(d.mean()), float(low), float(high))
