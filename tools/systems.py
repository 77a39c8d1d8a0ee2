"""DyMO and the systems that people take today, at equal compute, on held-out prompts of two and of three things.

    python -m tools.systems [--prompts 96] [--seeds 3] [--run runs/systems] [--out docs/systems.md]
"""

from __future__ import annotations

import sys

from dymo.bench.plan import Comparison
from dymo.miniature import WEIGHTS

from .held_out import HPS, THREE, TWO, Found, Study, text
from .quality import dymo

TINY = str(WEIGHTS / "taesd")
OTHERS = {"FK-steering": "fk-steering", "ReNO": "reno", "DNO": "dno", "FreeDoM": "freedom"}


def rows() -> list[dict]:
    made = [{"name": "unguided"}, dymo("DyMO")]
    for name, method in OTHERS.items():
        # What is optimised through the trajectory is the decoded end, and FreeDoM's own schedule says what it spends.
        settings = {} if name in ("ReNO", "DNO") else {"settings": {"preview_vae": TINY}}
        match = {} if name == "FreeDoM" else {"match": {"row": "DyMO", "by": "tflop"}}
        made.append({"name": name, "method": method, **settings, **match})
    return made


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    return [(row.name, "unguided") for row in plan.rows[1:]] + [(name, "DyMO") for name in OTHERS]


def claims(found: Found) -> list[tuple[str, bool]]:
    """That each is behind, where the words are many and on what nobody is guided by; and that none is ahead anywhere."""
    held = []
    for name in OTHERS:
        for m in (THREE, HPS):
            d = found.said[name, "DyMO", m]
            held.append((f"{name} is behind DyMO, {m.title}: {text(d, m.digits)}", d.word == "lower"))
    ahead = [(name, m.title) for name in OTHERS for m in (TWO, THREE, HPS) if found.said[name, "DyMO", m].word == "higher"]
    return [*held, (f"none is shown to be ahead of DyMO: {', '.join(f'{a}, {b}' for a, b in ahead) or 'none'}", not ahead)]


STUDY = Study(
    "systems", "DyMO and other systems at equal compute", rows(), pairs, claims, prompts=96, measures=(TWO, THREE, HPS),
    about="the preset `fast`, and four other systems with their authors' settings, guided by the same reward. FK-steering (particles), ReNO "
    "and DNO (trajectories) are given, image by image, at least the floating-point operations of DyMO on the same prompt and seed; FreeDoM "
    "takes what its schedule takes. DNO and FK-steering draw noise in each step (eta 1). Predictions are decoded by the tiny decoder.",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
