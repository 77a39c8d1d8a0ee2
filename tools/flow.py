"""The flow miniature: what the words' objective is worth there, and both with time travel.

    python -m tools.flow [--prompts 192] [--seeds 3] [--run runs/flow] [--out docs/flow.md]
"""

from __future__ import annotations

import sys

from dymo.bench.plan import Comparison
from dymo.miniature import WEIGHTS

from .held_out import ALL, HPS, TWO, Found, Study, text
from .quality import dymo

SETTINGS = {
    "pipeline": str(WEIGHTS / "flow"),
    "call": {"num_inference_steps": 25, "guidance_scale": 3.0, "max_sequence_length": 24},
}
SEMANTIC, BOTH = "semantic alone", "both with time travel"
UNTIL = 900.0
"""The noise level down to which seeds are begun: of 25 steps 11 lie above it, and 23 above the preset's 500."""


def rows() -> list[dict]:
    return [{"name": "unguided"}, dymo(SEMANTIC, reward=False, recurrences=0), dymo(BOTH, scout_until=UNTIL)]


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    return [(row.name, "unguided") for row in plan.rows[1:]]


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
    "flow", "The flow miniature", rows(), pairs, claims, prompts=192, settings=SETTINGS,
    about="a small StableDiffusion3Pipeline, unguided, with the words' objective alone, and with `fast` (both objectives, time travel, "
    "several seeds begun until t = 900). Predictions are decoded by the tiny decoder.",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
