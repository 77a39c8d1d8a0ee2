"""The report of a comparison: HTML and Markdown to read; CSV, LaTeX and JSON to go on with."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..methods import load_method
from ..report.atomic import write_bytes, write_text
from ..report.page import Entry, Page, PageImage, Section
from ..report.sheet import SMALL, Row, contact_sheet
from ..report.table import Cell, Column, Table
from ..report.verdict import ALPHA, FEWEST, Word
from .figures import Point, pareto_plot
from .identity import lora_words, short_name
from .plan import Comparison
from .results import ACCOUNT, Case, RowResult, Tested, collect, compare
from .rows import JUDGE, RowSpec
from .store import Store

SHOWN = 4  # prompts whose images are shown
THUMBNAIL = 256
_TITLES = {"tflop": "TFLOP", "peak_mb": "peak MB"}
_MARKS: dict[Word, str] = {"higher": " ▲", "lower": " ▼", "too few pairs": " (too few pairs)"}
_NOTHING: tuple[Word, ...] = ("no difference shown", "too few pairs")
_AHEAD: dict[Word, str] = {"lower": "ahead", "higher": "behind", **{word: word for word in _NOTHING}}
"""What the word for a row says of the row that it is tested against."""


class Written(NamedTuple):
    """What was written, and what of it a command prints."""

    html: Path
    markdown: Path
    table: Table
    summary: str
    failures: list[str]  # why images could not be generated or measured


def write_report(plan: Comparison, store: Store, versus: str | None = None, folder: Path | None = None) -> Written:
    """Write report.html, report.md, and `report/` with their images and results.json, images.csv and table.tex.

    versus: the row that the others are tested against, in place of the comparison's. folder: by default the run's.
    """
    results, base, folder = collect(plan, store), versus or plan.base, folder or store.folder
    tested, level = compare(plan, results, base)
    metrics = [name for name in plan.metrics if any(result.values.get(name) for result in results)]
    held = [name for name in metrics if name not in plan.guides]
    table, summary = means(results, [*metrics, *ACCOUNT[:3]]), summarise(plan, results, tested, base, held)
    plot = _plot(results, held or metrics)
    sheet, entries = _images(results, _shown(plan, results))
    sections = _tests(tested, metrics, base, level)
    sections.append(Section("What it costs", (), (means(results, ACCOUNT),), plot))
    if plan.paper:
        sections.append(_published(plan))
    if missing := _missing(plan, results, metrics):
        sections.append(Section("Left out, and failures", missing))
    notes = [*plan.notes, *_notes(plan, held)]
    facts = _facts(plan, store.noted("command"))
    page = Page(plan.title, summary, table, notes, entries, facts, sheet[0].path if sheet else None, sections)
    found = {"plan": plan.model_dump(mode="json"), "summary": summary, "level": level}
    rows = [({"name": r.row.name, "failed": len(r.failures)}, r) for r in results]
    found["rows"] = [said | {name: r.mean(name) for name in r.values} for said, r in rows]
    found["differences"] = [{**t._asdict(), "difference": t.difference.finite()} for t in tested]
    for image in [*plot, *sheet]:
        write_bytes(folder / image.path, image.content)
    write_text(folder / "report" / "results.json", json.dumps(found, indent=1) + "\n")
    write_text(folder / "report" / "images.csv", images_table(plan, results).to_csv())
    write_text(folder / "report" / "table.tex", table.to_latex())
    html = write_text(folder / "report.html", page.to_html())
    markdown = write_text(folder / "report.md", page.to_markdown())
    return Written(html, markdown, table, summary, failures(results))


def means(results: Sequence[RowResult], names: Sequence[str]) -> Table:
    """Means a row of metrics and parts of the account, each with about four figures; and the number of images."""
    found = {name: [r.mean(name) for r in results] for name in names}
    columns = [Column(_TITLES.get(name, name.replace("_", " ")), digits(values)) for name, values in found.items()]
    titles = [f"{r.row.name} †" if _by_seconds(r.row) else r.row.name for r in results]
    counts = [len(r.images) for r in results]
    rows: list[list[Cell]] = [list(cells) for cells in zip(titles, *found.values(), counts, strict=True)]
    return Table([Column(""), *columns, Column("images", 0)], rows)


def images_table(plan: Comparison, results: Sequence[RowResult]) -> Table:
    """One line an image, with all that is known of it."""
    names = [*plan.metrics, *ACCOUNT]
    rows: list[list[Cell]] = []
    for r in results:
        values = [r.values.get(name, {}) for name in names]
        rows += [[r.row.name, r.row.method, *case, *(of.get(case) for of in values)] for case in r.images]
    return Table([Column(name) for name in ("row", "method", "prompt", "seed", *names)], rows)


def digits(values: Sequence[float | None]) -> int:
    """Decimals with which the largest value has about four figures, 1 to 6."""
    most = max((abs(value) for value in values if value), default=1.0)
    return min(6, max(1, 3 - math.floor(math.log10(most))))


def summarise(
    plan: Comparison, results: Sequence[RowResult], tested: Sequence[Tested], base: str, held: Sequence[str]
) -> str:
    """What was found on the held-out metrics, in a few sentences."""
    said, words = [], [t.difference.word for t in tested if t.against == base and t.metric in held]
    if words:
        shown = [word for word in _AHEAD if word in words or word not in _NOTHING]
        counts = "; ".join(f"{_AHEAD[word]} {words.count(word)}" for word in shown)
        said.append(
            f"{base} against {len(results) - 1} other row{'s' * (len(results) != 2)} on the held-out {', '.join(held)}, "
            f"over {len(plan.prompts)} prompts: of {len(words)} comparisons, {counts}."
        )
    if failed := [r for r in results if r.failures]:
        n = sum(len(r.failures) for r in failed)
        said.append(f"Images that failed: {n} ({', '.join(r.row.name for r in failed)}); the reasons are below.")
    if absent := sum(r.absent for r in results):
        said.append(f"Images that are not generated yet: {absent}; run the same command again.")
    return " ".join(said) or f"{len(results)} rows, {len(plan.prompts)} prompts."


def _tests(tested: Sequence[Tested], metrics: Sequence[str], base: str, level: float) -> list[Section]:
    """A section for each row that others are tested against."""
    sections = []
    by_base: dict[str, dict[str, dict[str, Tested]]] = {}
    for t in tested:
        by_base.setdefault(t.against, {}).setdefault(t.row, {})[t.metric] = t
    for against, of_row in by_base.items():
        notes = [
            f"Mean differences over the same prompts (a prompt's seeds averaged first). ▲ higher and ▼ lower are shown by the data: the risk "
            f"of any false one among the {len(tested)} comparisons of this report is at most {ALPHA:.0%} (sign-flip tests with Holm's correction; "
            f"p is the corrected one). Intervals are of {100 * (1 - level):.4g} %: 0 is outside exactly where ▲ or ▼ stands. "
            f"Nothing is said of fewer than {FEWEST} pairs."
        ]
        if against != base:
            notes = [f"{against} to {row}: {_in_words(list(found.values()))}." for row, found in of_row.items()]
        columns = [Column(f"row minus {against}"), *(Column(name) for name in metrics)]
        rows: list[list[Cell]] = [[row, *(_cell(found.get(name)) for name in metrics)] for row, found in of_row.items()]
        sections.append(Section(f"Against {against}", notes, (Table(columns, rows),)))
    return sections


def _in_words(tested: Sequence[Tested]) -> str:
    found = {ahead: [t.metric for t in tested if t.difference.word == word] for word, ahead in _AHEAD.items()}
    return "; ".join(f"{ahead} on {', '.join(names)}" for ahead, names in found.items() if names)


def _cell(t: Tested | None) -> str | None:
    if t is None:
        return None
    mean, low, high, p, _, word = t.difference
    n = max(1, digits([mean if word == "too few pairs" else max(-low, high)]) - 1)
    said = f"{mean:+.{n}f}{_MARKS.get(word, '')}"
    if word == "too few pairs":
        return said
    return f"{said}\n[{low:+.{n}f}, {high:+.{n}f}], p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _plot(results: Sequence[RowResult], metrics: Sequence[str]) -> list[PageImage]:
    """One plot, a panel a metric."""
    panels = []
    for name in metrics:
        costs = [(r.row, r.mean("tflop"), r.mean(name)) for r in results]
        panels.append(
            (name, [Point(row.name, x, y, row.method == "dymo") for row, x, y in costs if x and y is not None])
        )
    panels = [panel for panel in panels if panel[1]]
    what = "score against counted TFLOP an image; the line joins the rows that none beats at their cost"
    return [PageImage(what, pareto_plot(panels, "TFLOP an image"), "report/pareto.svg")] if panels else []


def _published(plan: Comparison) -> Section:
    names = list(dict.fromkeys(column for values in plan.paper.values() for column in values))
    rows: list[list[Cell]] = [[row, *(values.get(name) for name in names)] for row, values in plan.paper.items()]
    return Section("The paper's own figures", (), (Table([Column(""), *(Column(n, 4) for n in names)], rows),))


def _missing(plan: Comparison, results: Sequence[RowResult], metrics: Sequence[str]) -> list[str]:
    """Everything that should be here and is not."""
    notes = [f"metric {name}: no image was measured by it" for name in plan.metrics if name not in metrics]
    notes += [f"row {name}: {reason}" for name, reason in plan.left_out.items()]
    return notes + failures(results)


def failures(results: Sequence[RowResult]) -> list[str]:
    """Why images failed, each reason of a row once."""
    found = []
    for r in results:
        cases: dict[str, list[Case]] = {}
        for case, why in r.failures.items():
            cases.setdefault(why, []).append(case)
        for why, those in cases.items():
            prompt, seed = those[0]
            more = f", and {len(those) - 1} more" if len(those) > 1 else ""
            found.append(f"{r.row.name}, {prompt!r}, seed {seed}{more}: {why}")
    return found


def _shown(plan: Comparison, results: Sequence[RowResult]) -> list[Case]:
    """The first prompts that every row with an image has, with the first such seed of each."""
    there = [set(r.images) for r in results if r.images]
    common = set.intersection(*there) if there else set()
    cases = [(p, next((s for s in plan.seeds if (p, s) in common), None)) for p in plan.prompts]
    return [(p, s) for p, s in cases if s is not None][:SHOWN]


def _images(results: Sequence[RowResult], cases: Sequence[Case]) -> tuple[list[PageImage], list[Entry]]:
    """The same images twice: as one sheet, for Markdown, and one by one, for HTML."""
    if not cases:
        return [], []
    rows = []
    for r in (r for r in results if r.images):
        right = [r.values[JUDGE].get(case, 0.0) > 0 if JUDGE in r.values else None for case in cases]
        rows.append(Row(r.row.name, [Image.open(r.images[case]) for case in cases], correct=right))
    names = [f"{prompt} (seed {seed})" for prompt, seed in cases]
    drawn = contact_sheet(names, rows, panels=2 if len(rows) > 8 else 1, image_size=128)
    sheet = PageImage("images", _encoded(drawn, format="WEBP", quality=88), "report/images.webp")
    return [sheet], [Entry(name, [_thumbnail(row, i) for row in rows]) for i, name in enumerate(names)]


def _thumbnail(row: Row, i: int) -> PageImage:
    """The i-th image of a row, small enough to be one of many in a page."""
    image, correct = row.images[i], row.correct[i] if row.correct else None
    small = max(image.size) <= SMALL
    if max(image.size) > THUMBNAIL:
        image = image.convert("RGB")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        image = image.quantize(256)
    return PageImage(row.caption, _encoded(image, format="PNG", optimize=True), correct=correct, small=small)


def _encoded(image: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def _notes(plan: Comparison, held: Sequence[str]) -> list[str]:
    notes = [
        f"Guided by {', '.join(plan.guides) or 'nothing'}; held out: {', '.join(held) or 'nothing'}. An evaluation is one prediction of the "
        "denoiser with its unconditional half. TFLOP are counted on one image of each row: all that it did, divided by its evaluations."
    ]
    if JUDGE in plan.metrics:
        notes.append("The judge says for how many images, in %, every object is there, in its colour and in its place.")
    if any(map(_by_seconds, plan.rows)):
        notes.append("†: its budget is in seconds, which follow the machine's load; prefer evaluations or TFLOP.")
    return notes


def _by_seconds(row: RowSpec) -> bool:
    return bool((row.match and row.match.by == "seconds") or (row.budget and row.budget.seconds))


def _facts(plan: Comparison, command: str | None) -> list[tuple[str, str]]:
    facts = [("command", command)] if command else []
    facts += [("pipeline", str(short_name(plan.pipeline))), ("reward", str(plan.reward)), ("call", str(plan.call))]
    facts += [("prompts and seeds", f"{len(plan.prompts)} prompts, seeds {', '.join(map(str, plan.seeds))}")]
    if plan.batch > 1:
        facts.append(("batch", f"{plan.batch} prompts together; seconds and counts are a batch's by its images"))
    return [*facts, *((row.name, _how(row)) for row in plan.rows)]


def _how(row: RowSpec) -> str:
    """The row's method with all its settings, and what it is given."""
    given = row.model_dump(exclude={"name", "method", "settings"}, exclude_defaults=True, exclude_none=True)
    given |= {name: short_name(given[name]) for name in ("unet", "pipeline") if name in given}
    if "lora" in given:
        given["lora"] = " + ".join(lora_words(row.lora))
    said = [f"{name}: {value}" for name, value in given.items()]
    return ", ".join([repr(load_method(row.method, **row.settings)), *said])
