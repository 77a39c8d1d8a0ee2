"""DyMO's presets against best-of-N of the same compute, on enough held-out prompts to tell them apart.

    python -m tools.ahead [--prompts 768] [--seeds 3] [--run runs/ahead] [--out docs/ahead.md]
"""

from __future__ import annotations

import sys

from dymo.bench.plan import Comparison

from .held_out import HPS, THREE, TWO, Found, Study, text
from .quality import PRESETS, dymo, gains

BEST = {row: f"best-of-N, {row}'s TFLOP" for row in PRESETS}


def rows() -> list[dict]:
    best = [{"name": name, "method": "best-of-n", "match": {"row": row, "by": "tflop"}} for row, name in BEST.items()]
    return [{"name": "unguided"}, *(dymo(row, row) for row in PRESETS), *best]


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    return [(row.name, "unguided") for row in plan.rows[1:]] + [(name, row) for row, name in BEST.items()]


def claims(found: Found) -> list[tuple[str, bool]]:
    """What is to hold, and whether it does."""
    behind = [
        (f"best-of-N of {row}'s TFLOP is behind it, {m.title}: {text(d, m.digits)}", d.word == "lower")
        for row, name in BEST.items()
        for m in (THREE, HPS)
        for d in [found.said[name, row, m]]
    ]
    return gains(found) + behind


STUDY = Study(
    "ahead", "DyMO and best-of-N at equal compute", rows(), pairs, claims, prompts=768, measures=(TWO, THREE, HPS),
    about="the presets `fast` and `thorough`, and best-of-N, which is given, image by image, at least the floating-point operations "
    "that the preset took on the same prompt and seed. Predictions are decoded by the tiny decoder.",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
