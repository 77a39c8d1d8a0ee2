"""Words for how many: "two", "twenty-one", "1,000", "dozen"."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"\d[\d.,]*")
_WORDS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen dozens".split()
)


def is_numeral(word: str) -> bool:
    """Whether a word says how many, in digits or in English."""
    return all(part in _WORDS or _DIGITS.fullmatch(part) for part in re.split(r"[-\s]+", word.lower()))
