"""The preset `fast` against best-of-N of the same compute, on enough held-out prompts to tell them apart.

    python -m tools.ahead [--prompts 768] [--seeds 3] [--run runs/ahead] [--out docs/ahead.md]
"""

from __future__ import annotations

import sys

from dymo.bench.plan import Comparison

from .held_out import HPS, THREE, TWO, Found, Study, text
from .quality import dymo, gains

BEST = "best-of-N, fast's TFLOP"


def rows() -> list[dict]:
    return [
        {"name": "unguided"},
        dymo("fast"),
        {"name": BEST, "method": "best-of-n", "match": {"row": "fast", "by": "tflop"}},
    ]


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    return [("fast", "unguided"), (BEST, "unguided"), (BEST, "fast")]


def claims(found: Found) -> list[tuple[str, bool]]:
    """What is to hold, and whether it does."""
    behind = ((m, found.said[BEST, "fast", m]) for m in (THREE, HPS))
    return gains(found, ["fast"]) + [
        (f"{BEST} is behind fast, {m.title}: {text(d, m.digits)}", d.word == "lower") for m, d in behind
    ]


STUDY = Study(
    "ahead", "DyMO and best-of-N at equal compute", rows(), pairs, claims, prompts=768, measures=(TWO, THREE, HPS),
    about="the preset `fast`, and best-of-N, which is given, image by image, at least the floating-point operations "
    "that it took on the same prompt and seed. Predictions are decoded by the tiny decoder.",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
