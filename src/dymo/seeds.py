"""Seeds as people write them."""

from __future__ import annotations

import re

from .errors import ConfigError

MOST_SEEDS = 10_000
SEEDS_END = 2**63
"""What every seed is below."""
_RANGE = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")


def read_seeds(text: str) -> list[int]:
    """ "0-3,8" -> [0, 1, 2, 3, 8]; repeated seeds once. Raises ConfigError, whose words begin with the text."""
    remedy = "give whole numbers and ranges, as 0-7 or 1,5,9"
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"{text!r}: cannot read {part.strip()!r}; {remedy}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= SEEDS_END:
            raise ConfigError(f"{text!r}: {part.strip()!r} must rise and stay below 2**63; {remedy}")
        if last - first >= MOST_SEEDS or len(seeds) + last - first >= MOST_SEEDS:
            raise ConfigError(f"{text!r}: more than {MOST_SEEDS} seeds; split them over several runs")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)
