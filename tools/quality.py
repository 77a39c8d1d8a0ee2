"""What each part of the method is worth, on held-out prompts of two and of three things that no setting was tuned on.

    python -m tools.quality [--prompts 96] [--seeds 3] [--run runs/quality] [--out docs/quality.md]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dymo.bench.plan import Comparison
from dymo.miniature import WEIGHTS

from .held_out import HPS, THREE, TWO, Found, Study, text

PRESETS = ("fast", "thorough")
"""Rows with both objectives, time travel and several seeds."""
ONE_SEED = "fast, one seed"
ABOUT = (
    "rows that start from the same seeds. `fast` and `thorough` are the presets (both objectives, time travel, several seeds begun); "
    f"`{ONE_SEED}` leaves the further seeds out (`scouts=0`); the rows above it are parts of it, and the rows under the presets change one "
    "thing of it. Predictions are decoded by the "
    "tiny decoder unless said. Best-of-N is given, image by image, at least the evaluations, or the floating-point operations, that the row "
    "which it is named after took."
)


def dymo(name: str, preset: str = "fast", reward: str | bool | None = None, tiny: bool = True, **settings: object) -> dict:
    """A row of the method; reward: of the comparison unless said (False: none)."""
    preview = {"preview_vae": str(WEIGHTS / "taesd")} if tiny else {}
    row = {"name": name, "method": "dymo", "settings": {"preset": preset, "settings": settings, **preview}}
    return row | ({} if reward is None else {"reward": reward})


def rows() -> list[dict]:
    best = [{"name": f"best-of-N, {row}'s TFLOP", "method": "best-of-n", "match": {"row": row, "by": "tflop"}} for row in PRESETS]
    best += [{"name": f"best-of-N, {row}'s evaluations", "method": "best-of-n", "match": row} for row in PRESETS]
    return [
        {"name": "unguided"},
        dymo("semantic alone", reward=False, recurrences=0),
        dymo("preference alone", semantic_weight=0, recurrences=0, scouts=0),
        dymo("both", recurrences=0, scouts=0),
        dymo(ONE_SEED, scouts=0),
        dymo("fast"),
        dymo("thorough", "thorough"),
        dymo(f"{ONE_SEED}, gradient conditional", gradient="conditional", scouts=0),
        dymo(f"{ONE_SEED}, gradient full", gradient="full", scouts=0),
        dymo(f"{ONE_SEED}, the VAE's own decoder", tiny=False, scouts=0),
        *best,
    ]


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    """Every row and "unguided", the changed rows and what they change, and best-of-N and the row whose cost it has."""
    names = [row.name for row in plan.rows]
    found = [(name, "unguided") for name in names if name != "unguided"]
    found += [(name, ONE_SEED) for name in names if name.startswith(f"{ONE_SEED},") or name in PRESETS]
    return found + [(row.name, row.match.row) for row in plan.rows if row.match is not None]


def gains(found: Found, presets: Sequence[str] = PRESETS) -> list[tuple[str, bool]]:
    """What unguided images are to be, and what the presets are to gain over them."""
    said, plain = found.said, {m: found.mean("unguided", m) for m in (TWO, THREE)}
    held = [
        (f"unguided, {plain[TWO]:.1f} % of two things are right: 50 to 80", 50 <= plain[TWO] <= 80),
        (f"unguided, {plain[THREE]:.1f} % of three things are right: 15 to 50", 15 <= plain[THREE] <= 50),
    ]
    for row in presets:
        more, hps = said[row, "unguided", THREE], said[row, "unguided", HPS]
        held += [
            (
                f"{row} raises the accuracy on three things, in the mean by at least 15 points: {text(more, 1)}",
                more.mean >= 15 and more.word == "higher",
            ),
            (f"{row} raises mini-hps: {text(hps, 2)}", hps.word == "higher"),
        ]
    return held


STUDY = Study("quality", "Quality on the miniature", rows(), pairs, gains, prompts=96, about=ABOUT)

if __name__ == "__main__":
    sys.exit(STUDY.main())
