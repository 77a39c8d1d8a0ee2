"""Dynamic time travel: how often a step is taken again."""

from __future__ import annotations

import math

from ..config import Config
from .schedule import STAGES, Stage


def recurrences(config: Config, stage: Stage, size: float) -> int:
    """r_t: a fixed number, or floor(h_t ||g_t||) (arXiv 2412.00759), at most `config.max_recurrences` where that is set.

    size: ||g_t|| of the first evaluation at this level; one that is not finite gives 0.
    """
    if config.recurrences != "dynamic":
        return config.recurrences
    if not math.isfinite(size):
        return 0
    wanted = config.h[STAGES.index(stage)] * size
    return int(wanted if config.max_recurrences is None else min(wanted, config.max_recurrences))


def recurs(config: Config, stage: Stage) -> bool:
    """Whether r_t can be above 0 in this stage at all: where it cannot, nobody waits for ||g_t||."""
    if config.recurrences != "dynamic":
        return config.recurrences > 0
    return config.h[STAGES.index(stage)] > 0 and config.max_recurrences != 0
