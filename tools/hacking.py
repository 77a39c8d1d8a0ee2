"""The hacking watch on the miniature: whether it hears a run that is driven too hard, and what "best" returns.

    python -m tools.hacking [--prompts 32] [--out FILE.md]

mini-pickscore guides, mini-hps is watched. Three claims, on held-out prompts with one seed each:

- "hard" (the preference alone, from the first step on, with long steps) raises the alarm for a good part of the
  images, "moderate" (the preset "fast") for few;
- with on_hacking="best", the hard run returns no image that mini-hps puts below the unguided one of the same seed.

Everything is scored anew here on the images returned. Exit status 1 where a claim does not hold.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dymo import DyMO, RewardHackingWarning, load_miniature, load_reward
from dymo.miniature import MINIATURE_DEFAULTS
from dymo.miniature.world import captions
from dymo.report.atomic import write_text
from dymo.report.interval import paired_bootstrap
from dymo.report.table import Column, Table

GUIDE, WATCHED = "mini-pickscore", "mini-hps"
BATCH, SEED = 8, 500
HARD: dict[str, Any] = {
    "semantic_weight": 0, "borders": (1000, 700), "eta": 0.5, "max_step": 0.3, "damping": 0.0, "recurrences": 2,
}  # fmt: skip
FEW, MANY = 0.125, 0.25
"""Shares of the images that a moderate run may alarm, and that a hard one must."""
ROUNDING = 1e-4
"""Points by which scoring in another batch may move a score."""


@dataclass
class Arm:
    """Per image: the guide's and the watched score, whether its alarm rang; which end was returned."""

    name: str
    guide: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    rang: list[float] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)


class Bench:
    """The miniature with the two scorers, loaded once."""

    def __init__(self) -> None:
        self.pipe = load_miniature()
        self.pipe.set_progress_bar_config(disable=True)
        self.scorers = {name: load_reward(name) for name in (GUIDE, WATCHED)}

    def run(self, name: str, prompts: Sequence[str], aligner: DyMO | None) -> Arm:
        """One image a prompt, seeds SEED, SEED + 1, ...; unguided where `aligner` is None."""
        arm = Arm(name)
        for start in range(0, len(prompts), BATCH):
            part = list(prompts[start : start + BATCH])
            generators = [torch.Generator().manual_seed(SEED + start + i) for i in range(len(part))]
            call = {**MINIATURE_DEFAULTS, "generator": generators, "output_type": "pt"}
            if aligner is None:
                made = self.pipe(part, **call)
                arm.rang += [0.0] * len(part)
            else:
                made = aligner(self.pipe, part, **call)
                arm.rang += [float(i in made.trace.hacked) for i in range(len(part))]
                arm.returned += made.trace.returned
            with torch.no_grad():
                for scores, scorer in ((arm.guide, GUIDE), (arm.watched, WATCHED)):
                    scores += self.scorers[scorer].score(made.images.float(), part).tolist()
        return arm


def table(arms: Sequence[Arm]) -> Table:
    columns = [
        Column("run"),
        Column(GUIDE, 2),
        Column(WATCHED, 2),
        Column("alarms, %", 1),
        Column("aligned returned", 0),
    ]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    rows = [
        [
            arm.name, mean(arm.guide), mean(arm.watched), 100 * mean(arm.rang),
            arm.returned.count("aligned") if arm.returned else None,
        ]
        for arm in arms
    ]  # fmt: skip
    return Table(columns, rows)


def verdicts(unguided: Arm, moderate: Arm, hard: Arm, best: Arm) -> list[tuple[str, bool]]:
    """The claims, and whether they hold."""
    more = paired_bootstrap(hard.rang, moderate.rang)
    shares = [sum(arm.rang) / len(arm.rang) for arm in (moderate, hard)]
    below = sum(own < plain - ROUNDING for own, plain in zip(best.watched, unguided.watched, strict=True))
    return [
        (f"moderate alarms at most {FEW:.1%} of the images: {shares[0]:.1%}", shares[0] <= FEW),
        (f"hard alarms at least {MANY:.1%}: {shares[1]:.1%}", shares[1] >= MANY),
        (f"hard alarms more than moderate: {more.text(2)} an image", more.low > 0),
        (f'with "best" no image is below the unguided one on {WATCHED}: {below} are', below == 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--out", type=Path, help="write the table as Markdown")
    args = parser.parse_args()
    warnings.simplefilter("ignore", RewardHackingWarning)
    prompts = [caption.text for caption in captions("test", args.prompts)]
    bench = Bench()
    runs = {
        "unguided": None,
        "moderate": DyMO(GUIDE, preset="fast", watch=[WATCHED]),
        "hard": DyMO(GUIDE, preset="fast", watch=[WATCHED], **HARD),
        'hard, on_hacking="best"': DyMO(GUIDE, preset="fast", watch=[WATCHED], on_hacking="best", **HARD),
    }
    arms = []
    for name, aligner in runs.items():
        arms.append(bench.run(name, prompts, aligner))
        print(f"{name}: done", file=sys.stderr, flush=True)
    made, claims = table(arms), verdicts(*arms)
    lines = [f"- {'yes' if holds else 'NO'}: {claim}" for claim, holds in claims]
    print(made.to_text(), *lines, sep="\n")
    if args.out:
        command = "python -m tools.hacking" + (f" --prompts {args.prompts}" if args.prompts != 32 else "")
        head = (
            f"# The hacking watch on the miniature\n\n`{command}`: {args.prompts} held-out prompts, one seed each, guided by {GUIDE} and "
            f"watched by {WATCHED} (`watch=`, `on_hacking=`). moderate: the preset `fast`; hard: the preference alone, from the first step on, "
            "with long steps. alarms: the share of the images whose guide rose while the watched reward fell. aligned returned: images of "
            'which, with "best", the aligned one and not the unguided one came back. Means over the images.\n'
        )
        write_text(args.out, "\n".join([head, made.to_markdown(), "", *lines, ""]))
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
