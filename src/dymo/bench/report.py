"""The report of a comparison: HTML and Markdown to read; CSV, LaTeX and JSON to go on with."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..methods import load_method
from ..report.atomic import write_bytes, write_text
from ..report.page import Entry, Page, PageImage, Section
from ..report.sheet import Row, contact_sheet
from ..report.table import Cell, Column, Table
from ..report.verdict import ALPHA, FEWEST, Word
from .figures import Point, pareto_plot
from .metrics import JUDGE
from .plan import Comparison, RowSpec, short_name
from .results import ACCOUNT, Case, RowResult, Tested, collect, compare
from .store import Store

SHOWN = 4
"""Prompts whose images are shown."""
THUMBNAIL = 256
_DIGITS = {JUDGE: 1, "hpsv2": 4, "hpsv2.1": 4, "imagereward": 3, "clipscore": 4}
_MARKS: dict[Word, str] = {"higher": " ▲", "lower": " ▼", "no difference shown": "", "too few pairs": " (too few pairs)"}


class Written(NamedTuple):
    """What was written, and what of it a command prints."""

    html: Path
    markdown: Path
    table: Table
    summary: str
    failed: int
    """Images that could not be generated or measured."""


def write_report(plan: Comparison, store: Store, versus: str | None = None, folder: Path | None = None) -> Written:
    """Write report.html, report.md, and `report/` with their images and results.json, images.csv and table.tex.

    versus: the row that the others are tested against, in place of the comparison's. folder: by default the run's.
    """
    results = collect(plan, store)
    base = versus or plan.base
    tested, level = compare(plan, results, base)
    folder = folder or store.folder
    beside = folder / "report"
    measured = [name for name in plan.metrics if any(result.values.get(name) for result in results)]
    table, summary = means(plan, results, measured), summarise(plan, results, tested, base)
    sections = _tests(results, tested, measured, base, level)
    sections.append(Section("What it costs", (), (_costs(results),), _plots(plan, results, measured, beside)))
    if plan.paper:
        sections.append(_published(plan))
    if missing := _missing(plan, results, measured):
        sections.append(Section("Left out, and failures", missing))
    cases = shown_cases(plan, results)
    sheet = _sheet(results, cases)
    if sheet is not None:
        write_bytes(beside / "images.webp", sheet)
    page = Page(
        plan.title, summary, table, (*plan.notes, *_notes(plan)), _entries(results, cases), _facts(plan, store.noted("command")),
        "report/images.webp" if sheet else None, sections,
    )  # fmt: skip
    write_text(beside / "table.tex", table.to_latex())
    write_text(beside / "images.csv", images_table(plan, results).to_csv())
    write_text(beside / "results.json", json.dumps({
        "plan": plan.model_dump(mode="json"), "summary": summary, "level": level,
        "rows": [{"name": r.row.name, "images": len(r.images), "failed": len(r.failures), "means": {n: r.mean(n) for n in r.values}} for r in results],
        "differences": [_finite(asdict(t) | {"difference": t.difference._asdict()}) for t in tested],
    }, indent=1) + "\n")  # fmt: skip
    html = write_text(folder / "report.html", page.to_html())
    markdown = write_text(folder / "report.md", page.to_markdown())
    return Written(html, markdown, table, summary, sum(len(r.failures) for r in results))


def means(plan: Comparison, results: Sequence[RowResult], metrics: Sequence[str]) -> Table:
    """Means a row: metrics, evaluations, counted TFLOP, seconds."""
    columns = [Column(""), *(Column(_label(name) + (" (guide)" if name in plan.guides else ""), _digits(name)) for name in metrics)]
    columns += [Column("evaluations", 1), Column("TFLOP", _tflop_digits(results)), Column("seconds", 2), Column("images", 0)]
    rows: list[list[Cell]] = [
        [_name(r.row), *(_scaled(name, r.mean(name)) for name in metrics), *map(r.mean, ACCOUNT[:3]), len(r.images)]
        for r in results
    ]
    return Table(columns, rows)


def images_table(plan: Comparison, results: Sequence[RowResult]) -> Table:
    """One line an image, with all that is known of it."""
    names = [*plan.metrics, *ACCOUNT]
    columns = [Column("row"), Column("method"), Column("prompt"), Column("seed", 0), *(Column(name, 6) for name in names)]
    rows: list[list[Cell]] = [
        [r.row.name, r.row.method, *case, *(r.values.get(name, {}).get(case) for name in names)] for r in results for case in r.images
    ]
    return Table(columns, rows)


def summarise(plan: Comparison, results: Sequence[RowResult], tested: Sequence[Tested], base: str) -> str:
    """What was found on the held-out metrics, in a few sentences."""
    held = [name for name in plan.metrics if name not in plan.guides]
    said = []
    counts = {word: [t for t in tested if t.against == base and t.metric in held and t.difference.word == word] for word in _MARKS}
    total = sum(map(len, counts.values()))
    if total:
        others = len({t.row for t in tested if t.against == base})
        said.append(
            f"{base} against {others} other row{'s' * (others != 1)} on the held-out {', '.join(map(_label, held))}, over {len(plan.prompts)} "
            f"prompts: ahead in {len(counts['lower'])} of {total} comparisons, behind in {len(counts['higher'])}, no difference shown in "
            f"{len(counts['no difference shown'])}" + (f", too few pairs in {few}" if (few := len(counts["too few pairs"])) else "") + "."
        )
    failed, absent = (sum(values) for values in ((len(r.failures) for r in results), (r.absent for r in results)))
    if failed:
        rows = ", ".join(r.row.name for r in results if r.failures)
        said.append(f"{failed} image{'s' * (failed != 1)} failed ({rows}): the reasons are below.")
    if absent:
        said.append(f"{absent} images are not generated yet: run the same command again.")
    return " ".join(said) or f"{len(results)} row{'s' * (len(results) != 1)}, {len(plan.prompts)} prompts."


def _tests(results: Sequence[RowResult], tested: Sequence[Tested], metrics: Sequence[str], base: str, level: float) -> list[Section]:
    """A section for each row that others are tested against."""
    notes = [
        f"Difference of the means over the same prompts (a prompt's seeds averaged first). ▲ and ▼: shown by the data, at most {ALPHA:.0%} "
        f"risk of any false one among the {len(tested)} comparisons of this report (sign-flip tests, Holm's correction; p is the adjusted one). "
        f"Intervals are of {100 * (1 - level):.4g} %: 0 is outside exactly where ▲ or ▼ stands. Fewer than {FEWEST} pairs say nothing.",
    ]
    sections = []
    for against in dict.fromkeys(t.against for t in tested):
        cells = {(t.row, t.metric): _cell(t) for t in tested if t.against == against}
        names = dict.fromkeys(row for row, _ in cells)
        columns = [Column(f"less {against}"), *(Column(_label(name)) for name in metrics)]
        rows: list[list[Cell]] = [[name, *(cells.get((name, metric)) for metric in metrics)] for name in names]
        lines = [line for name in names for line in _said(tested, name, against)] if against != base else []
        sections.append(Section(f"Against {against}", [*lines, *notes], (Table(columns, rows),)))
        notes = []
    return sections


def _said(tested: Sequence[Tested], row: str, against: str) -> list[str]:
    """Against whom `against` is ahead, and on what; in one line a rival."""
    found = {word: [_label(t.metric) for t in tested if (t.row, t.against) == (row, against) and t.difference.word == word] for word in _MARKS}
    words = {"lower": "ahead on", "higher": "behind on", "no difference shown": "no difference shown on", "too few pairs": "too few pairs on"}
    return [f"{against} to {row}: " + "; ".join(f"{words[word]} {', '.join(them)}" for word, them in found.items() if them) + "."]


def _cell(t: Tested) -> str:
    mean, low, high = (_scaled(t.metric, value) for value in t.difference[:3])
    n = _digits(t.metric)
    p = "p < 0.001" if t.difference.p < 0.001 else f"p = {t.difference.p:.3f}"
    first = f"{mean:+.{n}f}{_MARKS[t.difference.word]}"
    return first if t.difference.word == "too few pairs" else f"{first}\n[{low:+.{n}f}, {high:+.{n}f}], {p}"


def _costs(results: Sequence[RowResult]) -> Table:
    names = ("denoiser_rows", "denoiser_backwards", "decodes", "reward_calls")
    columns = [Column("per image"), Column("evaluations", 1), Column("TFLOP", _tflop_digits(results))]
    columns += [*(Column(name.replace("_", " "), 1) for name in names), Column("peak MB", 0), Column("seconds", 2)]
    rows: list[list[Cell]] = []
    for r in results:
        peak = r.mean("peak_bytes")
        rows.append([_name(r.row), *map(r.mean, (*ACCOUNT[:2], *names)), peak and peak / 1e6, r.mean("seconds")])
    return Table(columns, rows)


def _plots(plan: Comparison, results: Sequence[RowResult], metrics: Sequence[str], beside: Path) -> list[PageImage]:
    """One plot, a panel a held-out metric."""
    panels = []
    for name in [m for m in metrics if m not in plan.guides] or metrics:
        known = [r for r in results if r.mean(name) is not None and r.mean("tflop")]
        points = [Point(r.row.name, r.mean("tflop") or 0.0, _scaled(name, r.mean(name)) or 0.0, r.row.method == "dymo") for r in known]
        panels += [(_label(name), points)] if points else []
    if not panels:
        return []
    drawn = pareto_plot(panels, "counted TFLOP an image")
    write_bytes(beside / "pareto.svg", drawn)
    return [PageImage("score against cost; the line joins the rows that none beats at their cost", drawn, "report/pareto.svg")]


def _published(plan: Comparison) -> Section:
    names = list(dict.fromkeys(column for values in plan.paper.values() for column in values))
    rows: list[list[Cell]] = [[row, *(values.get(name) for name in names)] for row, values in plan.paper.items()]
    return Section("The paper's own figures", (), (Table([Column(""), *(Column(n, 4) for n in names)], rows),))


def _missing(plan: Comparison, results: Sequence[RowResult], metrics: Sequence[str]) -> list[str]:
    """Everything that should be here and is not."""
    notes = [f"metric {name}: no image was measured by it" for name in plan.metrics if name not in metrics]
    notes += [f"row {name}: {reason}" for name, reason in plan.left_out.items()]
    for r in results:
        notes += [f"{r.row.name}, {prompt!r}, seed {seed}: {why}" for (prompt, seed), why in r.failures.items()]
    return notes


def shown_cases(plan: Comparison, results: Sequence[RowResult]) -> list[Case]:
    """The first prompts that every row with an image has, with the first seed of each."""
    shown = [r for r in results if r.images]
    cases = [(p, next((s for s in plan.seeds if all((p, s) in r.images for r in shown)), None)) for p in plan.prompts]
    return [(p, s) for p, s in cases if s is not None][:SHOWN] if shown else []


def _entries(results: Sequence[RowResult], cases: Sequence[Case]) -> list[Entry]:
    entries = []
    for prompt, seed in cases:
        images = []
        for r in results:
            if (prompt, seed) in r.images:
                content, small = _thumbnail(r.images[prompt, seed])
                images.append(PageImage(r.row.name, content, correct=_right(r, (prompt, seed)), small=small))
        entries.append(Entry(f"{prompt} (seed {seed})", images))
    return entries


def _thumbnail(path: Path) -> tuple[bytes, bool]:
    """The file itself where it is small, else a smaller PNG; and whether it is to be enlarged with hard edges."""
    with Image.open(path) as image:
        if max(image.size) <= THUMBNAIL:
            return path.read_bytes(), max(image.size) <= THUMBNAIL // 2
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        image.convert("RGB").quantize(256).save(buffer, format="PNG", optimize=True)
        return buffer.getvalue(), False


def _sheet(results: Sequence[RowResult], cases: Sequence[Case]) -> bytes | None:
    """The rows under one another, a column a prompt: for Markdown, which has no page of its own."""
    shown = [r for r in results if r.images]
    if not cases:
        return None
    rows = [Row(r.row.name, [Image.open(r.images[c]) for c in cases], correct=[_right(r, c) for c in cases]) for r in shown]
    drawn = contact_sheet([prompt for prompt, _ in cases], rows, panels=2 if len(rows) > 8 else 1, image_size=128)
    buffer = io.BytesIO()
    drawn.save(buffer, format="WEBP", quality=88)
    return buffer.getvalue()


def _right(result: RowResult, case: Case) -> bool | None:
    value = result.values.get(JUDGE, {}).get(case)
    return None if value is None else bool(value)


def _notes(plan: Comparison) -> list[str]:
    held = [_label(name) for name in plan.metrics if name not in plan.guides]
    notes = [
        f"Guided by {', '.join(plan.guides) or 'nothing'}; held out: {', '.join(held) or 'nothing'}. An evaluation is one prediction of the "
        "denoiser with its unconditional half. TFLOP are counted on one image of each row, all that it did divided by its evaluations."
    ]
    if any(by_seconds(row) for row in plan.rows):
        notes.append(
            "†: its budget is seconds, which follow the load of the machine; prefer the rows matched by evaluations or by TFLOP."
        )
    return notes


def by_seconds(row: RowSpec) -> bool:
    """Whether the row's budget is a time, so that its results follow the load of the machine."""
    return bool((row.match and row.match.by == "seconds") or (row.budget and row.budget.seconds))


def _facts(plan: Comparison, command: str | None) -> list[tuple[str, str]]:
    facts = [("command", command)] if command else []
    facts += [("pipeline", str(short_name(plan.pipeline))), ("reward", str(plan.reward)), ("call", str(plan.call))]
    facts += [("prompts and seeds", f"{len(plan.prompts)} prompts, seeds {', '.join(map(str, plan.seeds))}")]
    if plan.batch > 1:
        facts.append(("batch", f"{plan.batch} prompts together; seconds and counts are those of a batch, divided by its images"))
    return [*facts, *((row.name, _how(row)) for row in plan.rows)]


def _how(row: RowSpec) -> str:
    """The row's method with all its settings, and what it is given."""
    said = [repr(load_method(row.method, **row.settings))]
    said += [f"{name}={short_name(value)}" for name in ("lora", "unet", "pipeline") if (value := getattr(row, name))]
    said += [f"reward={row.reward}"] if row.reward is not None else []
    said += [f"budget: {row.budget.model_dump(exclude_none=True)}"] if row.budget else []
    said += [f"the {row.match.by} of {row.match.row}"] if row.match else []
    return ", ".join(said + ([f"call={row.call}"] if row.call else []))


def _name(row: RowSpec) -> str:
    return f"{row.name} †" if by_seconds(row) else row.name


def _label(name: str) -> str:
    return "judge, %" if name == JUDGE else name


def _digits(name: str) -> int:
    return _DIGITS.get(name, 2)


def _tflop_digits(results: Sequence[RowResult]) -> int:
    """So many decimals that the smallest has three figures."""
    known = [value for r in results if (value := r.mean("tflop"))]
    return max(0, 2 - math.floor(math.log10(min(known)))) if known else 1


def _scaled(name: str, value: float | None) -> float | None:
    """The judge's fraction as a percentage; anything else as it is."""
    return 100 * value if name == JUDGE and value is not None else value


def _finite(value: dict) -> dict:
    """JSON has no infinity: the ends of an interval that has none are null."""
    return {
        k: _finite(v) if isinstance(v, dict) else None if isinstance(v, float) and not math.isfinite(v) else v for k, v in value.items()
    }
