"""The report of a study: Markdown, JSON, and the win rates as bars (arXiv 2412.00759, Figure 6)."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..report.atomic import write_bytes, write_text
from ..report.table import Cell, Column, Table
from .design import BROKEN, MOST_WRONG, SAME
from .outcome import Outcome, WinRate

_WON, _TIED, _LOST, _INK = "#b23a0e", "#d9d5cb", "#6a6f78", "#1b1c1e"


class Written(NamedTuple):
    """What was written, and what of it a command prints."""

    markdown: Path
    figure: Path
    table: Table
    summary: str


def write_report(found: Outcome, folder: Path) -> Written:
    """Write study.md, study.png and study.json into the folder."""
    table, said = rates_table(found.rates), summary(found)
    figure = write_bytes(folder / "study.png", bars(found.rates))
    parts = [f"# {found.design.question}", said]
    if found.rates:
        parts += [f"![{alt(found.rates)}](study.png)", table.to_markdown(), strengths_table(found).to_markdown()]
    parts += [notes(found), *_left_out(found)]
    write_text(folder / "study.json", json.dumps(dataclasses.asdict(found) | {"design": None}, indent=1) + "\n")
    return Written(write_text(folder / "study.md", "\n\n".join(parts) + "\n"), figure, table, said)


def summary(found: Outcome) -> str:
    """How many answered what, and who is left out."""
    answers = sum(rate.won + rate.tied + rate.lost for rate in found.rates)
    parts = [f"{_count(found.raters, 'rater')}, {_count(found.prompts, 'prompt')}, {_count(answers, 'answer')}."]
    if found.left_out:
        parts.append(f"Left out for the checks: {len(found.left_out)} of {found.raters + len(found.left_out)} raters.")
    if found.seconds is not None:
        parts.append(f"Half of the answers took less than {found.seconds:.1f} s.")
    return " ".join(parts)


def notes(found: Outcome) -> str:
    """How to read the figures."""
    return (
        "A win rate counts no difference as half a win. Intervals are of 95 %, by a bootstrap over raters and prompts at "
        "once: they are for other raters and other prompts of the same kind. Bradley-Terry strengths are log-odds with mean 0. "
        f"Sides and order were random for each rater, and nothing showed what made an image. Every rater got {BROKEN} pairs "
        f"with a broken image and {SAME} of an image with itself; raters with more than {MOST_WRONG} of these wrong are left out."
    )


def rates_table(rates: list[WinRate]) -> Table:
    """A line for each two rows: the win rate in %, its interval, and the answers won, tied and lost."""
    rows: list[list[Cell]] = [
        [r.first, r.second, 100 * r.rate, f"{100 * r.low:.1f} to {100 * r.high:.1f}", r.won, r.tied, r.lost]
        for r in rates
    ]
    titles = [
        ("preferred to", None),
        ("win rate, %", 1),
        ("95 % interval", 1),
        ("won", 0),
        ("no difference", 0),
        ("lost", 0),
    ]
    return Table([Column("row"), *(Column(*title) for title in titles)], rows)


def strengths_table(found: Outcome) -> Table:
    """A line a row: its Bradley-Terry strength in log-odds, and the interval."""
    rows: list[list[Cell]] = [[s.row, s.value, f"{s.low:+.2f} to {s.high:+.2f}"] for s in found.strengths]
    return Table([Column("row"), Column("Bradley-Terry", 2), Column("95 % interval", 2)], rows)


def alt(rates: list[WinRate]) -> str:
    """The figure in words."""
    said = "; ".join(f"{r.first} over {r.second} {100 * r.rate:.0f} %" for r in rates)
    return f"Bars of won, no difference and lost: {said}".replace("[", "(").replace("]", ")")


def bars(rates: list[WinRate]) -> bytes:
    """A PNG: a bar for every two rows, of the answers won, without difference, and lost; the win rate's interval on it."""
    figure = Figure(figsize=(7.2, 1.1 + 0.62 * max(1, len(rates))), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for y, rate in enumerate(rates):
        counts = (rate.won, rate.tied, rate.lost)
        total, left = sum(counts), 0.0
        for count, colour, ink in zip(counts, (_WON, _TIED, _LOST), ("white", _INK, "white"), strict=True):
            width = 100 * count / total
            axis.barh(y, width, left=left, color=colour, height=0.56)
            if width >= 8:
                axis.text(left + width / 2, y, f"{width:.0f} %", ha="center", va="center", color=ink, fontsize=9)
            left += width
        ends = [[100 * (rate.rate - rate.low)], [100 * (rate.high - rate.rate)]]
        axis.errorbar(
            100 * rate.rate, y + 0.38, xerr=ends, fmt="o", color=_INK, markersize=3.5, capsize=2.5, linewidth=1
        )
    axis.axvline(50, color=_INK, linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(rates)), [_plain(f"{r.first}\nover {r.second}") for r in rates], fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel("answers, % (won, no difference, lost); the dot: the win rate with its 95 % interval", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "dymo"})
    return buffer.getvalue()


def _left_out(found: Outcome) -> list[str]:
    lines = [f"- {rater}: {why}" for rater, why in found.left_out.items()]
    return ["## Left out", "\n".join(lines)] if lines else []


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar would start a formula


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
