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


def standing(results: Sequence[RowResult], plan: Plan, metrics: Sequence[str]) -> list[Section]:
    """Each row of DyMO against the rivals at the compute that either was given, on every column that guided neither.

    A rival whose budget is one row's is held against that row alone; rows on trained weights are left out.
    """
    held_out = [name for name in metrics if name not in plan.guides]
    found = []
    for ours in results:
        if ours.row.method != "dymo" or ours.row.lora or ours.row.unet or not held_out:
            continue
        rivals = [
            r for r in results if r.row.method in RIVALS and (r.row.match is None or r.row.match.row == ours.row.name)
        ]
        if rivals:
            found.append(_section(ours, rivals, held_out))
    return found


def _section(ours: RowResult, rivals: Sequence[RowResult], held_out: Sequence[str]) -> Section:
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
