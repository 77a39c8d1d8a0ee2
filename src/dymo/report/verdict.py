"""Which of many paired differences are shown by the data: one rule for the interval, the p and the word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

FEWEST = 10  # pairs under which nothing is said: with 10 the smallest p that can come out is 2 / 2^10
ALPHA = 0.05  # probability of any false "higher" or "lower" among all differences of a report, at most
SUBSETS = 19_999
Word = Literal["higher", "lower", "no difference shown", "too few pairs"]
K = TypeVar("K")


class Difference(NamedTuple):
    """A mean paired difference a - b."""

    mean: float
    low: float
    high: float  # the interval of the report's level: 0 is outside of it exactly where the word is "higher" or "lower"
    p: float  # holm's adjusted p, two-sided: at most `ALPHA` exactly where the word is "higher" or "lower"
    pairs: int
    word: Word

    def finite(self) -> dict[str, float | str | None]:
        """As a dictionary for JSON, which has no infinity: an interval without ends has null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in self._asdict().items()}


def differences(family: Mapping[K, tuple[ArrayLike, ArrayLike]]) -> tuple[dict[K, Difference], float]:
    """What can be said of each pair of lists (a, b) of equal length, and the level of the intervals, as 0.05 / 12.

    Each difference is tested by flipping the signs of its pairs, and its interval is the inversion of that test
    (Hartigan 1969: means of random subsets of the pairs), which is exact for differences that are symmetric about their
    mean, of any distribution. Holm's procedure over the family (1979) finds r of m; `ALPHA` / (m - r) is the level at
    which exactly those r intervals leave 0 out. Raises ValueError on unequal lengths and values that are not finite.
    """
    means: dict[K, tuple[float, int]] = {}
    subsets: dict[K, tuple[np.ndarray, np.ndarray]] = {}
    p: dict[K, float] = {}
    for name, (a, b) in family.items():
        d = np.subtract(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
        if np.shape(a) != np.shape(b) or d.ndim != 1 or not np.isfinite(d).all():
            raise ValueError(f"{name!r}: give two lists of finite numbers of the same length")
        means[name] = (float(d.mean()) if d.size else math.nan, d.size)
        if d.size >= FEWEST:
            subsets[name] = _subset_means(d)
            low, high = subsets[name]
            least = 1 + min(np.searchsorted(low, 0.0, "right"), SUBSETS - np.searchsorted(high, 0.0, "left"))
            p[name] = min(1.0, float(2 * least / (SUBSETS + 1)))
    m, found, running, adjusted = len(p), 0, 0.0, {}
    for i, name in enumerate(sorted(p, key=lambda name: p[name])):
        running = adjusted[name] = max(running, min(1.0, (m - i) * p[name]))
        found += running <= ALPHA
    level = ALPHA / max(1, m - found)
    k = math.floor(level / 2 * (SUBSETS + 1) + 1e-9)
    said = {}
    for name, (mean, pairs) in means.items():
        if name not in p:
            said[name] = Difference(mean, -math.inf, math.inf, 1.0, pairs, "too few pairs")
            continue
        low, high = subsets[name]
        ends = (float(low[k - 1]), float(high[SUBSETS - k])) if k else (-math.inf, math.inf)
        word: Word = "no difference shown" if adjusted[name] > ALPHA else "higher" if mean > 0 else "lower"
        said[name] = Difference(mean, *ends, adjusted[name], pairs, word)
    return said, level


def _subset_means(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted means of random subsets of d: for lower ends and for upper ends, which differ in the empty subset."""
    packed = _subsets(d.size)
    sums, counts = np.empty(SUBSETS), np.empty(SUBSETS)
    for start in range(0, SUBSETS, 2000):
        chosen = np.unpackbits(packed[start : start + 2000], axis=1, count=d.size).astype(float)
        sums[start : start + 2000], counts[start : start + 2000] = chosen @ d, chosen.sum(1)
    # The rounding of a sum must not decide on which side of 0 it lies.
    sums[np.abs(sums) < 1e-12 * np.abs(d).sum()] = 0.0
    mean = sums / np.maximum(counts, 1)
    empty = counts == 0
    return np.sort(np.where(empty, -math.inf, mean)), np.sort(np.where(empty, math.inf, mean))


@lru_cache(maxsize=4)
def _subsets(n: int) -> np.ndarray:
    """(SUBSETS, n bits): the same for every difference of n pairs, so that a report comes out the same each time."""
    return np.packbits(np.random.default_rng(0).integers(2, size=(SUBSETS, n), dtype=np.uint8), axis=1)
