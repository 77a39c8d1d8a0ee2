"""What each part of the method is worth, on held-out prompts of two and of three things that no setting was tuned on.

    python -m tools.quality [--prompts 96] [--seeds 3] [--run runs/quality] [--out docs/quality.md]

A comparison of `dymo bench` on the miniature: rows that start from the same seeds, guided by mini-pickscore. "fast" and
"thorough" are the presets (both objectives and time travel); the rows above them are parts of "fast"; the rows under
them change one thing of it. Best-of-N is given, image by image, at least the floating-point operations (or evaluations)
that the row which it is named after took. Differences are tested over the prompts, a prompt's seeds averaged first, all
together as one family (sign-flip tests with Holm's correction).

It continues where it was cut off; several processes with the same arguments share the work. Exit status 1 where a claim
does not hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dymo import load_miniature
from dymo.bench.plan import Comparison
from dymo.bench.results import RowResult, collect
from dymo.bench.runner import Rank, work_here
from dymo.bench.store import open_run
from dymo.miniature import WEIGHTS
from dymo.miniature.world import caption_of, captions
from dymo.report.atomic import write_text
from dymo.report.table import Column, Table
from dymo.report.verdict import Difference, differences

TRAVELLING = ("fast", "thorough")
"""Rows with both objectives and time travel."""
BEST = {row: f"best-of-N, {row}'s TFLOP" for row in TRAVELLING}
BATCH = 8


def rows() -> list[dict]:
    def fast(name: str, reward: str | bool | None = None, preview: str | None = None, **settings: object) -> dict:
        row = {"name": name, "method": "dymo", "settings": {"preset": "fast", "settings": settings}}
        row |= {} if reward is None else {"reward": reward}
        if preview is not None:
            row["settings"]["preview_vae"] = preview
        return row

    best = [{"name": BEST[row], "method": "best-of-n", "match": {"row": row, "by": "tflop"}} for row in TRAVELLING]
    best += [{"name": f"best-of-N, {row}'s evaluations", "method": "best-of-n", "match": row} for row in TRAVELLING]
    return [
        {"name": "unguided"},
        fast("semantic alone", reward=False, recurrences=0),
        fast("preference alone", semantic_weight=0, recurrences=0),
        fast("both", recurrences=0),
        fast("fast"),
        {"name": "thorough", "method": "dymo", "settings": {"preset": "thorough"}},
        fast("fast, gradient conditional", gradient="conditional"),
        fast("fast, gradient full", gradient="full"),
        fast("fast, tiny decoder", preview=str(WEIGHTS / "taesd")),
        *best,
    ]


def plan_of(prompts: int, seeds: int) -> Comparison:
    """Half of the prompts of two things, half of three."""
    each = [captions("test", prompts // 2, objects=n) for n in (2, 3)]
    return Comparison.read(
        {
            "title": "Quality on the miniature", "rows": rows(), "seeds": list(range(seeds)), "batch": BATCH,
            "prompts": [caption.text for pair in zip(*each, strict=True) for caption in pair],
            "metrics": ["mini-pickscore", "mini-hps", "judge"],
        }
    )  # fmt: skip


class Measure(NamedTuple):
    """A column: a metric on the prompts of so many things, or on all."""

    title: str
    metric: str
    things: int | None
    digits: int


MEASURES = (
    Measure("judge, two things, %", "judge", 2, 1),
    Measure("judge, three things, %", "judge", 3, 1),
    Measure("judge, %", "judge", None, 1),
    Measure("mini-hps (held out)", "mini-hps", None, 2),
    Measure("mini-pickscore (guide)", "mini-pickscore", None, 2),
)
TWO, THREE, ALL, HPS, _ = MEASURES


def values(result: RowResult, measure: Measure, prompts: Iterable[str]) -> np.ndarray:
    """(prompts,): the mean over each prompt's seeds."""
    found: dict[str, list[float]] = {prompt: [] for prompt in prompts}
    for case, value in result.values[measure.metric].items():
        if case[0] in found:
            found[case[0]].append(value)
    return np.array([np.mean(each) for each in found.values()])


def things(prompts: Iterable[str]) -> dict[int | None, list[str]]:
    """The prompts by how many things they name, and all of them."""
    every = list(prompts)
    return {None: every} | {n: [p for p in every if len(caption_of(p).instances) == n] for n in (2, 3)}


Said = dict[tuple[str, str, Measure], Difference]


def tested(plan: Comparison, results: dict[str, RowResult]) -> tuple[Said, float]:
    """Every row less "unguided", the changed rows less "fast", and best-of-N less the row whose cost it has."""
    by = things(plan.prompts)
    pairs = [(name, "unguided") for name in results if name != "unguided"]
    pairs += [(name, "fast") for name in results if name.startswith("fast,") or name == "thorough"]
    pairs += [(name, row.match.row) for name in results if (row := plan.row(name)).match is not None]
    family = {
        (a, b, m): (values(results[a], m, by[m.things]), values(results[b], m, by[m.things]))
        for a, b in pairs
        for m in MEASURES
    }
    return differences(family)


def text(difference: Difference, digits: int) -> str:
    mark = {"higher": " ▲", "lower": " ▼"}.get(difference.word, "")
    return f"{difference.mean:+.{digits}f} [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]{mark}"


def tables(plan: Comparison, results: dict[str, RowResult], said: Said) -> list[tuple[str, Table]]:
    by = things(plan.prompts)
    cost = (("evaluations", 1), ("tflop", 4), ("seconds", 2))
    columns = [Column("row"), *(Column(m.title, m.digits) for m in MEASURES)]
    columns += [Column({"tflop": "TFLOP"}.get(name, name), digits) for name, digits in cost]
    means = [
        [name, *(float(values(r, m, by[m.things]).mean()) for m in MEASURES), *(r.mean(key) for key, _ in cost)]
        for name, r in results.items()
    ]
    made = [("Means over the images; costs are an image's.", Table(columns, means))]
    for base, heading in (
        ("unguided", "Row minus unguided."),
        ("fast", "Row minus `fast`."),
        ("thorough", "Row minus `thorough`."),
    ):
        names = list(dict.fromkeys(a for a, b, _ in said if b == base))
        cells = [[name, *(text(said[name, base, m], m.digits) for m in MEASURES)] for name in names]
        made.append((heading, Table([Column("row"), *(Column(m.title) for m in MEASURES)], cells)))
    return made


def claims(plan: Comparison, results: dict[str, RowResult], said: Said) -> list[tuple[str, bool]]:
    """What this benchmark is to uphold, and whether it does."""
    by = things(plan.prompts)
    plain = {m: float(values(results["unguided"], m, by[m.things]).mean()) for m in (TWO, THREE)}
    found = [
        (f"unguided, {plain[TWO]:.1f} % of two things are right: 50 to 80", 50 <= plain[TWO] <= 80),
        (f"unguided, {plain[THREE]:.1f} % of three things are right: 15 to 50", 15 <= plain[THREE] <= 50),
    ]
    for row in TRAVELLING:
        more, hps = said[row, "unguided", THREE], said[row, "unguided", HPS]
        found += [
            (
                f"{row} raises the accuracy on three things by at least 15 points: {text(more, 1)}",
                more.mean >= 15 and more.word == "higher",
            ),
            (f"{row} raises mini-hps: {text(hps, 2)}", hps.word == "higher"),
        ]
        found += [
            (f"best-of-N of {row}'s TFLOP is behind it, {m.title}: {text(d, m.digits)}", d.word == "lower")
            for m in (ALL, HPS)
            for d in [said[BEST[row], row, m]]
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=3, help="images a prompt")
    parser.add_argument("--run", type=Path, default=Path("runs/quality"), help="folder of the images and their scores")
    parser.add_argument("--out", type=Path, help="write the tables as Markdown")
    parser.add_argument("--rank", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="begin at another place")
    args = parser.parse_args()
    torch.manual_seed(0)
    plan = plan_of(args.prompts, args.seeds)
    store = open_run(args.run, plan.model_dump_json(indent=1), extend=True)

    def load(_name: str):
        pipe = load_miniature()
        pipe.set_progress_bar_config(disable=True)
        return pipe

    work_here(
        plan,
        store,
        load,
        "cpu",
        Rank(*args.rank),
        lambda p: print(f"{p.done} of {p.total}", file=sys.stderr, flush=True),
    )
    results = {result.row.name: result for result in collect(plan, store)}
    said, level = tested(plan, results)
    held = claims(plan, results, said)
    lines = [f"- {'yes' if holds else 'NO'}: {claim}" for claim, holds in held]
    parts = tables(plan, results, said)
    for heading, table in parts:
        print(heading, table.to_text(), "", sep="\n")
    print(*lines, sep="\n")
    if args.out:
        command = "python -m tools.quality"
        command += f" --prompts {args.prompts}" if args.prompts != 96 else ""
        command += f" --seeds {args.seeds}" if args.seeds != 3 else ""
        head = (
            f"# Quality on the miniature\n\n`{command}`: {args.prompts} held-out prompts, half of two things and half of "
            f"three, {args.seeds} seeds each, 25 steps, guided by mini-pickscore; an image is right where it shows all that "
            "its prompt says (things, colours, counts, places). ▲ and ▼ mark what the data show: the risk of any false one "
            f"among the {len(said)} differences here is at most 5 % (sign-flip tests over the prompts, Holm's correction), and "
            f"the intervals are of {100 * (1 - level):.4g} %."
        )
        body = [part for heading, table in parts for part in (heading, "", table.to_markdown(), "")]
        write_text(args.out, "\n".join([head, "", *body, *lines, ""]))
    return 0 if all(holds for _, holds in held) else 1


if __name__ == "__main__":
    sys.exit(main())
