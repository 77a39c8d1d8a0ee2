"""The flow miniature, part by part: what each objective, the gradient, the borders and the text encoders change, and what they cost.

    python -m tools.flow_parts [--prompts 64] [--seeds 3] [--run runs/flow_parts] [--out docs/flow_parts.md]
"""

from __future__ import annotations

import sys
from functools import partial

from dymo.bench.plan import Comparison

from . import flow
from .flow import BOTH, SETTINGS, UNTIL
from .held_out import HPS, Found, Study, text
from .quality import dymo

BEST = "best-of-N, equal TFLOP"


def rows() -> list[dict]:
    fast = partial(dymo, scout_until=UNTIL)
    plain, words, both = flow.rows()
    return [
        plain,
        words,
        dymo("preference alone", semantic_weight=0, recurrences=0, scouts=0),
        dymo("both, one seed", scouts=0),
        both,
        fast(f"{BOTH}, gradient full", gradient="full"),
        fast(f"{BOTH}, borders not moved", resolution_shift=False),
        fast(f"{BOTH}, CLIP's maps", map_encoders=[0]),
        fast(f"{BOTH}, T5's maps", map_encoders=[1]),
        {"name": BEST, "method": "best-of-n", "match": {"row": BOTH, "by": "tflop"}},
    ]


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    names = [row.name for row in plan.rows]
    return [(name, "unguided") for name in names[1:]] + [(name, BOTH) for name in names if name.startswith((f"{BOTH},", BEST))]


def claims(found: Found) -> list[tuple[str, bool]]:
    full = found.said[f"{BOTH}, gradient full", BOTH, HPS]
    said = "a gradient of the preference through the denoiser is not shown to gain more mini-hps than one past it"
    return [(f"{said}: {text(full, 2)}", full.word != "higher")]


STUDY = Study(
    "flow_parts", "The flow miniature, part by part", rows(), pairs, claims, prompts=64, settings=SETTINGS,
    about="a small StableDiffusion3Pipeline; `fast` (both objectives, time travel, several seeds begun until t = 900) and rows that "
    "change one thing of it. Predictions are decoded by the tiny decoder.",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
