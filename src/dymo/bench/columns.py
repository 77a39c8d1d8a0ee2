"""How the columns of a report are called and written."""

from __future__ import annotations

from collections.abc import Collection

from .metrics import JUDGE
from .results import Test

_DIGITS = {JUDGE: 1, "hpsv2": 4, "hpsv2.1": 4, "imagereward": 3, "clipscore": 4}


def label(name: str) -> str:
    return "judge, %" if name == JUDGE else name


def title(name: str, guides: Collection[str]) -> str:
    """The label, with a word where the column guided some row."""
    return f"{label(name)} (guide)" if name in guides else label(name)


def digits(name: str) -> int:
    return _DIGITS.get(name, 2)


def scaled(name: str, value: float | None) -> float | None:
    """The judge's fraction as a percentage; anything else as it is."""
    return 100 * value if name == JUDGE and value is not None else value


def difference(name: str, test: Test) -> str:
    """The mean difference with its interval and p, as +0.12 [+0.03, +0.20], p = 0.010."""
    mean, low, high = (scaled(name, value) for value in test.difference)
    p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
    n = digits(name)
    return f"{mean:+.{n}f} [{low:+.{n}f}, {high:+.{n}f}], {p}"
