"""The few-step miniature at four steps and at one: DyMO, best-of-N and ReNO at equal evaluations.

    python -m tools.few_steps [--prompts 192] [--seeds 3] [--run runs/few_steps] [--out docs/few_steps.md]
"""

from __future__ import annotations

import sys

from dymo.bench.plan import Comparison
from dymo.miniature import WEIGHTS

from .held_out import ALL, HPS, Found, Study, text

FOUR, ONE = "DyMO, 4 steps", "DyMO, 1 step"
SPENT = {FOUR: 48, ONE: 13}
"""Evaluations an image."""


def rows() -> list[dict]:
    made = []
    for name, evaluations in SPENT.items():
        steps = 4 if name == FOUR else 1
        call = {"call": {"num_inference_steps": steps, "guidance_scale": 1.0}}
        of = f"{steps} step{'s' * (steps > 1)}"
        # A whole number of trajectories, so that nobody is given more.
        budget = {"budget": {"evaluations": evaluations}}
        made += [
            {"name": f"unguided, {of}", **call},
            {"name": name, "method": "dymo", "settings": {"preset": "fast"}, **call, **budget},
            {"name": f"best-of-N, {of}", "method": "best-of-n", **call, **budget},
            {"name": f"ReNO, {of}", "method": "reno", **call, **budget},
        ]
    return made


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    found = []
    for name in SPENT:
        of = name.partition(", ")[2]
        found += [(name, f"{other}, {of}") for other in ("unguided", "best-of-N", "ReNO")]
    return found


def claims(found: Found) -> list[tuple[str, bool]]:
    made = []
    for other in ("best-of-N", "ReNO"):
        more = found.said[FOUR, f"{other}, 4 steps", ALL]
        made.append((f"{FOUR}, is ahead of {other} on the judge: {text(more, 1)}", more.word == "higher"))
    same = found.said[ONE, "ReNO, 1 step", ALL]
    made.append((f"{ONE}, is not told apart from ReNO on the judge: {text(same, 1)}", same.word not in ("higher", "lower")))
    return made


STUDY = Study(
    "few_steps", "Few steps on the miniature", rows(), pairs, claims, prompts=192, measures=(ALL, HPS),
    about="the student of few steps, without classifier-free guidance; each method has the same evaluations.",
    settings={"pipeline": str(WEIGHTS / "turbo")},
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(STUDY.main())
