"""A comparison of `dymo bench` on held-out prompts of two and of three things, with what it is to uphold: `Study.main`.

Differences are tested over the prompts, a prompt's seeds averaged first, all together as one family (sign-flip tests with
Holm's correction). A run continues where it was cut off; several processes with the same arguments share the work.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dymo.bench.plan import Comparison
from dymo.bench.results import RowResult, collect
from dymo.bench.runner import Rank, work_here
from dymo.bench.store import open_run
from dymo.commands.models import load_pipeline
from dymo.miniature.world import caption_of, in_turns
from dymo.report.atomic import write_text
from dymo.report.table import Column, Table
from dymo.report.verdict import Difference, differences

BATCH = 8


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
    return {None: every} | {n: [p for p in every if len(caption_of(p).things) == n] for n in (2, 3)}


Said = dict[tuple[str, str, Measure], Difference]


class Found(NamedTuple):
    """What a run gave. said: (row, base, measure) -> the difference, for the pairs of rows that are compared."""

    plan: Comparison
    results: dict[str, RowResult]
    said: Said

    def mean(self, row: str, measure: Measure) -> float:
        return float(values(self.results[row], measure, things(self.plan.prompts)[measure.things]).mean())


@dataclass(frozen=True)
class Study:
    """name: of `python -m tools.NAME`. pairs: the rows that are compared, each (row, base), by the rows that there are.

    claims: each with whether it holds. settings: of the comparison (call, pipeline), where not the miniature's own. measures:
    the columns; fewer make a smaller family. about: what is compared, for the page.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]
    pairs: Callable[[Comparison], list[tuple[str, str]]]
    claims: Callable[[Found], list[tuple[str, bool]]]
    prompts: int
    seeds: int = 3
    measures: tuple[Measure, ...] = MEASURES
    about: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, prompts: int, seeds: int, batch: int = BATCH) -> Comparison:
        """As many prompts of each number of things, taking turns."""
        return Comparison.read(
            {
                "title": self.title, "rows": list(self.rows), "seeds": list(range(seeds)), "batch": batch,
                "prompts": [caption.text for caption in in_turns("test", prompts)],
                "reward": "mini-pickscore", "metrics": ["mini-pickscore", "mini-hps", "judge"], **self.settings,
            }
        )  # fmt: skip

    def main(self) -> int:
        """Run, print the tables and whether the claims hold; exit status 1 where one does not."""
        parser = argparse.ArgumentParser(description=f"{self.title}: {self.about}")
        parser.add_argument("--prompts", type=int, default=self.prompts)
        parser.add_argument("--seeds", type=int, default=self.seeds, help="images a prompt")
        parser.add_argument("--run", type=Path, default=Path("runs") / self.name, help="folder of the images and their scores")
        parser.add_argument("--out", type=Path, help="write the tables as Markdown")
        parser.add_argument("--device", default="cpu", help="default: cpu")
        parser.add_argument("--batch", type=int, default=BATCH, help=f"images at once, default {BATCH}; it changes no image")
        parser.add_argument("--rank", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="begin at another place")
        args = parser.parse_args()
        torch.manual_seed(0)
        plan = self.plan(args.prompts, args.seeds, args.batch)
        store = open_run(args.run, plan.model_dump_json(indent=1), extend=True)
        on = functools.partial(load, args.device)
        work_here(plan, store, on, args.device, Rank(*args.rank), lambda p: print(f"{p.done} of {p.total}", file=sys.stderr, flush=True))
        results = {result.row.name: result for result in collect(plan, store)}
        said, level = tested(plan, results, self.pairs(plan), self.measures)
        held = self.claims(Found(plan, results, said))
        lines = [f"- {'yes' if holds else 'NO'}: {claim}" for claim, holds in held]
        parts = tables(plan, results, said)
        for heading, table in parts:
            print(heading, table.to_text(), "", sep="\n")
        print(*lines, sep="\n")
        if args.out:
            body = [part for heading, table in parts for part in (heading, "", table.to_markdown(), "")]
            write_text(args.out, "\n".join([self._head(args, said, level), "", *body, *lines, ""]))
        return 0 if all(holds for _, holds in held) else 1

    def _head(self, args: argparse.Namespace, said: Said, level: float) -> str:
        command = f"python -m tools.{self.name}"
        command += f" --prompts {args.prompts}" if args.prompts != self.prompts else ""
        command += f" --seeds {args.seeds}" if args.seeds != self.seeds else ""
        command += f" --device {args.device} --batch {args.batch}" if args.device != "cpu" else ""
        return (
            f"# {self.title}\n\n`{command}`: {self.about}\n\n{args.prompts} held-out prompts (half of two things and half of three things), "
            f"{args.seeds} seeds each, guided by mini-pickscore; an image is right where it shows all that its "
            "prompt says (things, colours, counts, places). ▲ and ▼ mark "
            f"what the data show: the risk of any false one among the {len(said)} differences here is at most 5 % (sign-flip tests "
            f"over the prompts, Holm's correction), and the intervals are of {100 * (1 - level):.4g} %."
        )


def load(device: str, name: str) -> Any:
    """The pipeline of a row."""
    return load_pipeline(None if name == "miniature" else name, dtype="float32", device=device)


def tested(
    plan: Comparison, results: dict[str, RowResult], pairs: Sequence[tuple[str, str]], measures: Sequence[Measure] = MEASURES
) -> tuple[Said, float]:
    """Each pair's difference in each measure, as one family; and the level of the intervals."""
    by = things(plan.prompts)
    family = {
        (a, b, m): (values(results[a], m, by[m.things]), values(results[b], m, by[m.things]))
        for a, b in pairs
        for m in measures
        if by[m.things]
    }
    return differences(family)


def text(difference: Difference, digits: int) -> str:
    mark = {"higher": " ▲", "lower": " ▼"}.get(difference.word, "")
    return f"{difference.mean:+.{digits}f} [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]{mark}"


def tables(plan: Comparison, results: dict[str, RowResult], said: Said) -> list[tuple[str, Table]]:
    """The means, and the differences to each base."""
    by = things(plan.prompts)
    measures = [m for m in MEASURES if by[m.things]]
    cost = (("evaluations", 1), ("tflop", 4), ("seconds", 2))
    columns = [Column("row"), *(Column(m.title, m.digits) for m in measures)]
    columns += [Column({"tflop": "TFLOP"}.get(name, name), digits) for name, digits in cost]
    means = [
        [name, *(float(values(r, m, by[m.things]).mean()) for m in measures), *(r.mean(key) for key, _ in cost)]
        for name, r in results.items()
    ]
    made = [("Means over the images; costs are an image's.", Table(columns, means))]
    for base in dict.fromkeys(b for _, b, _ in said):
        names = list(dict.fromkeys(a for a, b, _ in said if b == base))
        compared = [m for m in measures if (names[0], base, m) in said]
        cells = [[name, *(text(said[name, base, m], m.digits) for m in compared)] for name in names]
        made.append((f"Row minus `{base}`.", Table([Column("row"), *(Column(m.title) for m in compared)], cells)))
    return made
