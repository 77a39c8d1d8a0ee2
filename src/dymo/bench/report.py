"""The report of a run: tables, tests, plots and pictures, as one HTML file without a server and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..methods import load_method
from ..report.atomic import write_bytes, write_text
from ..report.page import Page, Picture, Section
from ..report.table import Cell, Column, Table
from .columns import difference, digits, label, scaled, title
from .figures import Point, pareto_plot
from .grid import picture_grid
from .plan import Plan, Row, named
from .results import RowResult, collect, compare
from .standing import standing
from .store import Store

FEWEST = 6
"""Pairs from which on the signed-rank test can fall below 0.05: 2 / 2^n."""


def write_report(
    plan: Plan, store: Store, versus: str | None = None, command: str = "", missing: dict[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[Path, Path]:  # fmt: skip
    """Write report.html and report.md with their pictures into `folder`, by default the run's; returns both paths.

    versus: the row that the others are tested against, in place of the plan's. missing: metric -> why it was left out.
    """
    results = collect(plan, store)
    base = next((r for r in results if r.row.name == (versus or plan.base)), results[0])
    metrics = [name for name in plan.metrics if any(r.values.get(name) for r in results)]
    folder = folder or store.folder
    plots = _plots(results, metrics)
    sections: list[Section | None] = [_tests(results, base, metrics)]
    sections += standing(results, plan, metrics)
    if plots:
        write_bytes(folder / "report" / "pareto.png", plots)
        sections.append(
            Section(
                "What it costs", (), (_costs(results),), (Picture("score against cost", plots, "report/pareto.png"),)
            )
        )
    if plan.paper:
        sections.append(_paper(plan))
    sheet = picture_grid(results, plan)
    if sheet is not None:
        write_bytes(folder / "report" / "pictures.png", sheet)
        sections.append(Section("The pictures", (), (), (Picture("the same seeds", sheet, "report/pictures.png"),)))
    sections.append(_missing(results, plan, {**(missing or {}), **_unmeasured(plan, metrics, missing or {})}))
    page = Page(
        plan.title, _lead(plan, results), table(results, plan, metrics),
        (*plan.notes, _guides(plan)), facts=_facts(plan, command), sections=[s for s in sections if s is not None],
    )  # fmt: skip
    return write_text(folder / "report.html", page.to_html()), write_text(folder / "report.md", page.to_markdown())


def table(results: Sequence[RowResult], plan: Plan, metrics: Sequence[str]) -> Table:
    """Means a row: metrics, evaluations, seconds."""
    columns = [Column(""), *(Column(title(name, plan.guides), digits(name)) for name in metrics)]
    columns += [Column("evaluations", 1), Column("seconds", 2), Column("pictures", 0)]
    rows: list[list[Cell]] = [
        [
            r.row.name,
            *(scaled(name, r.mean(name)) for name in metrics),
            r.mean("evaluations"),
            r.mean("seconds"),
            len(r.pictures),
        ]
        for r in results
    ]
    return Table(columns, rows)


def _tests(results: Sequence[RowResult], base: RowResult, metrics: Sequence[str]) -> Section:
    columns = [Column(""), *(Column(name) for name in metrics)]
    rows: list[list[Cell]] = []
    fewest = FEWEST
    for r in results:
        if r is base:
            continue
        tests = [compare(r, base, name) for name in metrics]
        fewest = min([fewest, *(test.pairs for test in tests if test is not None)])
        rows.append(
            [r.row.name, *(None if t is None else difference(n, t) for n, t in zip(metrics, tests, strict=True))]
        )
    notes = [
        "Mean difference over the same prompts and seeds with its paired bootstrap 95 % interval, and the p of Wilcoxon's "
        "signed-rank test, two-sided and not corrected for the number of comparisons."
    ]
    if fewest < FEWEST:
        notes.append(
            f"Only {fewest} pairs: with fewer than {FEWEST} p cannot fall below 0.05, and the intervals are too narrow."
        )
    return Section(f"Against {base.row.name}", notes, (Table(columns, rows),) if rows else ())


def _costs(results: Sequence[RowResult]) -> Table:
    names = ("denoiser_rows", "denoiser_backwards", "decodes", "reward_calls")
    columns = [Column("a picture"), Column("evaluations", 1), *(Column(n.replace("_", " "), 1) for n in names)]
    columns += [Column("peak MB", 0), Column("seconds", 2)]
    rows: list[list[Cell]] = []
    for r in results:
        peak = r.mean("peak_bytes")
        rows.append([
            r.row.name, r.mean("evaluations"), *(r.mean(n) for n in names), None if peak is None else peak / 1e6, r.mean("seconds"),
        ])  # fmt: skip
    return Table(columns, rows)


def _plots(results: Sequence[RowResult], metrics: Sequence[str]) -> bytes | None:
    panels = []
    for name in metrics:
        for cost in ("evaluations", "seconds"):
            points = [
                Point(r.row.name, r.mean(cost) or 1e-3, scaled(name, r.mean(name)) or 0.0, r.row.method == "dymo")
                for r in results
                if r.mean(name) is not None
            ]
            panels.append((label(name), cost, points))
    return pareto_plot(panels) if panels else None


def _paper(plan: Plan) -> Section:
    names = list(dict.fromkeys(column for values in plan.paper.values() for column in values))
    rows: list[list[Cell]] = [[row, *(values.get(name) for name in names)] for row, values in plan.paper.items()]
    return Section("The paper's own figures", (), (Table([Column(""), *(Column(n, 4) for n in names)], rows),))


def _missing(results: Sequence[RowResult], plan: Plan, metrics: dict[str, str]) -> Section | None:
    """Everything that should be here and is not."""
    notes = [f"column {name}: {reason}" for name, reason in metrics.items()]
    notes += [f"row {name}: {reason}" for name, reason in plan.left_out.items()]
    for r in results:
        notes += [f"{r.row.name}, {prompt!r}, seed {seed}: {why}" for (prompt, seed), why in r.failures.items()]
        if r.absent:
            notes.append(f"{r.row.name}: {r.absent} pictures are not painted yet; run the same command again")
    return Section("Left out, and failures", notes) if notes else None


def _unmeasured(plan: Plan, metrics: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    return {name: "no picture was measured by it" for name in plan.metrics if name not in metrics and name not in known}


def _lead(plan: Plan, results: Sequence[RowResult]) -> str:
    painted, total = sum(len(r.pictures) for r in results), len(plan.rows) * len(plan.prompts) * len(plan.seeds)
    return f"{len(plan.rows)} rows, {len(plan.prompts)} prompts, seeds {', '.join(map(str, plan.seeds))}: {painted} of {total} pictures."


def _guides(plan: Plan) -> str:
    held = [name for name in plan.metrics if name not in plan.guides]
    return f"Guided by {', '.join(plan.guides) or 'nothing'}; held out: {', '.join(held) or 'nothing'}."


def _facts(plan: Plan, command: str) -> list[tuple[str, str]]:
    facts = [("command", command)] if command else []
    facts += [("pipeline", str(named(plan.pipeline))), ("reward", str(plan.reward)), ("call", str(plan.call))]
    if plan.batch > 1:
        facts.append(
            ("batch", f"{plan.batch} prompts together; seconds and counts are those of a batch by its pictures")
        )
    return [*facts, *((row.name, _how(row)) for row in plan.rows)]


def _how(row: Row) -> str:
    """The row's method with all its settings, and what it is given."""
    said = [repr(load_method(row.method, **row.settings))]
    said += [f"{name}={named(value)}" for name in ("lora", "unet", "pipeline") if (value := getattr(row, name))]
    said += [f"{name}={value}" for name in ("reward", "budget") if (value := getattr(row, name))]
    said += [f"{row.match.by} of {row.match.row}"] if row.match else []
    return ", ".join(said + ([f"call={row.call}"] if row.call else []))
