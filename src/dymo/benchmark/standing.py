"""Where DyMO stands against the systems it must beat, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..report.page import Section
from ..report.table import Cell, Column, Table
from .columns import difference, label
from .plan import Plan
from .results import RowResult, Test, compare

RIVALS = ("best-of-n", "reno", "fk-steering")
Standing = Literal["BEHIND", "not clearly ahead", "ahead"]


def verdict(test: Test) -> Standing:
    """By the interval of ours - theirs: all below zero, all above, or neither."""
    low, high = test.difference.low, test.difference.high
    return "ahead" if low > 0 else "BEHIND" if high < 0 else "not clearly ahead"


def standing(results: Sequence[RowResult], plan: Plan, metrics: Sequence[str]) -> Section | None:
    """DyMO against each rival at the compute that either was given, on every column that guided neither.

    None where one of them is not there.
    """
    ours = next((r for r in results if r.row.method == "dymo" and not r.row.lora and not r.row.unet), None)
    rivals = [r for r in results if r.row.method in RIVALS]
    held_out = [name for name in metrics if name not in plan.guides]
    if ours is None or not rivals or not held_out:
        return None
    rows: list[list[Cell]] = []
    sorted_by: dict[Standing, list[str]] = {"BEHIND": [], "not clearly ahead": [], "ahead": []}
    for rival in rivals:
        cells: list[Cell] = [f"{rival.row.name}: {_cost(rival)}"]
        for name in held_out:
            test = compare(ours, rival, name)
            if test is None:
                cells.append(None)
                continue
            sorted_by[verdict(test)].append(f"{rival.row.name} on {label(name)}")
            cells.append(f"{verdict(test)}: {difference(name, test)}")
        rows.append(cells)
    said = [
        f"{ours.row.name} is {word}{'' if word == 'BEHIND' else ' of'}: {'; '.join(them) or 'none'}."
        for word, them in sorted_by.items()
    ]
    columns = [Column(f"{ours.row.name} ({_cost(ours)}) against"), *(Column(label(name)) for name in held_out)]
    return Section(
        f"{ours.row.name} against best-of-N, ReNO and FK-steering, on held-out columns", said, (Table(columns, rows),)
    )


def _cost(result: RowResult) -> str:
    return f"{result.mean('evaluations') or 0:.0f} evaluations, {result.mean('seconds') or 0:.2f} s"
