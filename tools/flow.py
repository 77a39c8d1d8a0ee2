"""The flow miniature: what each objective is worth there, and what borders, gradient and text encoder change.

    python -m tools.flow [--prompts 64] [--seeds 3] [--run runs/flow] [--out docs/flow.md]
"""

from __future__ import annotations

import sys
from functools import partial

from dymo.bench.plan import Comparison
from dymo.miniature import WEIGHTS

from .held_out import ALL, HPS, TWO, Found, Study, text
from .quality import dymo

CALL = {"num_inference_steps": 25, "guidance_scale": 3.0, "max_sequence_length": 24}
SEMANTIC, BOTH, BEST = "semantic alone", "both with time travel", "best-of-N, equal TFLOP"
UNTIL = 900.0
"""The noise level down to which seeds are begun: of 25 steps 11 lie above it, and 23 above the preset's 500."""


def rows() -> list[dict]:
    fast = partial(dymo, scout_until=UNTIL)
    return [
        {"name": "unguided"},
        dymo(SEMANTIC, reward=False, recurrences=0),
        dymo("preference alone", semantic_weight=0, recurrences=0, scouts=0),
        dymo("both, one seed", scouts=0),
        fast(BOTH),
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
    plain, said = found.mean("unguided", TWO), found.said
    alone, more, hps = said[SEMANTIC, "unguided", ALL], said[BOTH, "unguided", ALL], said[BOTH, "unguided", HPS]
    return [
        (f"unguided, {plain:.1f} % of two things are right: 40 to 80", 40 <= plain <= 80),
        (f"{SEMANTIC} raises the judge: {text(alone, 1)}", alone.word == "higher"),
        (f"{BOTH} raises the judge by at least 10 points: {text(more, 1)}", more.mean >= 10 and more.word == "higher"),
        (f"{BOTH} raises mini-hps: {text(hps, 2)}", hps.word == "higher"),
    ]


STUDY = Study(
    "flow", "The flow miniature", rows(), pairs, claims, prompts=64,
    about="a small StableDiffusion3Pipeline; `fast` (both objectives, time travel, several seeds begun until t = 900) and what changes "
    "one thing of it. Predictions are decoded by the tiny decoder.",
    settings={"pipeline": str(WEIGHTS / "flow"), "call": CALL},
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
