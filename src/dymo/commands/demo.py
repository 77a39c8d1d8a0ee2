"""`dymo demo`: the embedded miniature, unguided and aligned with the same seeds, and by how much that helped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS
from ..report.atomic import write_bytes, write_text
from ..report.interval import Interval, paired_bootstrap
from ..report.outdir import check_outdir
from ..report.page import Entry, Page, Picture
from ..report.table import Column, Table
from . import models
from .defaults import DEMO_BATCH, DEMO_PRESET, MINIATURE_NAME
from .names import file_stems
from .progress import shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..trace import Trace

GUIDE, HELD_OUT = "mini-pickscore", "mini-hps"
MOST_PROMPTS = 256


@dataclass
class Arm:
    """One way to paint all prompts. Lists hold one value a prompt."""

    name: str
    pictures: list[Image] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    correct: list[bool] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    """One a batch."""


@dataclass(frozen=True)
class Outcome:
    """The two arms, the table of them, and where everything was written."""

    captions: list[str]
    unguided: Arm
    aligned: Arm
    table: Table
    sheet: Path
    report: Path


def demo(outdir: Path, prompts: int, seed: int, console: Console) -> Outcome:
    """Paint `prompts` held-out captions twice, judge, write the report, and print the table. Raises DyMOError."""
    if not 1 <= prompts <= MOST_PROMPTS:
        raise ConfigError(f"--prompts {prompts}: give a whole number from 1 to {MOST_PROMPTS}")
    if not 0 <= seed < 2**62:
        raise ConfigError(f"--seed {seed}: give a whole number from 0 to 2**62")
    check_outdir(outdir)

    import dymo
    from dymo.miniature.world import captions as held_out_captions

    models.quiet_libraries()
    with _busy(console, "Loading the miniature …"):
        pipe = models.load_pipeline(None)
        guide = dymo.load_reward(GUIDE)
        aligner = dymo.DyMO(GUIDE, preset=DEMO_PRESET)
    captions = held_out_captions("test", prompts, seed)
    texts = [caption.text for caption in captions]
    seeds = [seed + i for i in range(prompts)]

    with _busy(console, f"Painting {prompts} pictures as the pipeline does …"):
        unguided = _paint_plain(pipe, texts, seeds)
    aligned = _paint_aligned(pipe, aligner, texts, seeds, console)
    with _busy(console, "Judging …"):
        for arm in (unguided, aligned):
            _judge(arm, captions, {GUIDE: guide, HELD_OUT: dymo.load_reward(HELD_OUT)})
    table = comparison(unguided, aligned)
    with _busy(console, "Writing the report …"):
        sheet, report = _write(outdir, pipe, texts, seeds, unguided, aligned, table)
    say = console.print
    say(table.to_text(), markup=False, highlight=False, soft_wrap=True)
    say(f"\nContact sheet: {sheet}\nReport:        {report}", markup=False, highlight=False, soft_wrap=True)
    return Outcome(texts, unguided, aligned, table, sheet, report)


def comparison(unguided: Arm, aligned: Arm) -> Table:
    """Unguided, aligned, and their difference with its paired bootstrap 95 % interval.

    The seconds have none: they are measured by batch, and its pictures' equal shares are no independent pairs.
    """
    measures: list[tuple[Column, Callable[[Arm], Sequence[float]]]] = [
        (Column(f"{GUIDE} (the guide)", 3), lambda arm: arm.scores[GUIDE]),
        (Column(f"{HELD_OUT} (held out)", 3), lambda arm: arm.scores[HELD_OUT]),
        (Column("judge accuracy, %", 1), lambda arm: [100.0 * right for right in arm.correct]),
        (Column("evaluations", 1), lambda arm: arm.evaluations),
        (Column("seconds a picture", 2), lambda arm: arm.seconds),
    ]
    columns = [Column("")]
    rows: list[list[Any]] = [[unguided.name], [aligned.name], ["difference"], ["95 % interval"]]
    for column, measure in measures:
        before, after = measure(unguided), measure(aligned)
        gain = paired_bootstrap(after, before)
        columns.append(column)
        digits = column.digits or 0
        cells: list[Any] = [
            sum(before) / len(before), sum(after) / len(after), f"{gain.mean:+.{digits}f}",
            None if before is unguided.seconds else _ends(gain, digits),
        ]  # fmt: skip
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    return Table(columns, rows)


def _ends(gain: Interval, digits: int) -> str:
    return f"{gain.low:+.{digits}f} to {gain.high:+.{digits}f}"


def _batches(texts: Sequence[str], seeds: Sequence[int]) -> list[tuple[list[str], list[Any]]]:
    """Prompts with one generator each, DEMO_BATCH at a time."""
    import torch

    return [
        (
            list(texts[i : i + DEMO_BATCH]),
            [torch.Generator("cpu").manual_seed(seed) for seed in seeds[i : i + DEMO_BATCH]],
        )
        for i in range(0, len(texts), DEMO_BATCH)
    ]


def _paint_plain(pipe: Any, texts: Sequence[str], seeds: Sequence[int]) -> Arm:
    arm = Arm("unguided")
    for prompts, generators in _batches(texts, seeds):
        began = time.perf_counter()
        arm.pictures += pipe(prompts, generator=generators, **MINIATURE_DEFAULTS).images
        arm.seconds += [(time.perf_counter() - began) / len(prompts)] * len(prompts)
        arm.evaluations += [MINIATURE_DEFAULTS["num_inference_steps"]] * len(prompts)
    return arm


def _paint_aligned(pipe: Any, aligner: Any, texts: Sequence[str], seeds: Sequence[int], console: Console) -> Arm:
    arm = Arm("aligned")
    batches = _batches(texts, seeds)
    steps = MINIATURE_DEFAULTS["num_inference_steps"]
    for n, (prompts, generators) in enumerate(batches, start=1):
        with shown(console, f"Aligning, batch {n} of {len(batches)}", steps) as course:
            began = time.perf_counter()
            output = aligner(pipe, prompts, generator=generators, on_step=course.on_step, **MINIATURE_DEFAULTS)
            elapsed = time.perf_counter() - began
        arm.pictures += output.images
        arm.seconds += [elapsed / len(prompts)] * len(prompts)
        arm.evaluations += output.trace.evaluations
        arm.traces.append(output.trace)
    return arm


def _judge(arm: Arm, captions: Sequence[Any], rewards: dict[str, Any]) -> None:
    """Score the pictures by every reward, and see whether each shows what its caption says."""
    import numpy as np
    import torch

    from dymo.miniature import load_judge
    from dymo.miniature.judge import satisfied

    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in arm.pictures])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    texts = [caption.text for caption in captions]
    with torch.no_grad():
        for name, reward in rewards.items():
            arm.scores[name] = [float(score) for score in reward.score(images, texts)]
        seen = load_judge().read(images)
    arm.correct = [bool(satisfied(caption, things).correct) for caption, things in zip(captions, seen, strict=True)]


def _write(
    outdir: Path, pipe: Any, texts: Sequence[str], seeds: Sequence[int], unguided: Arm, aligned: Arm, table: Table
) -> tuple[Path, Path]:
    """Pictures, traces, plots, sheet, report.md and report.html. Returns the paths of the sheet and the HTML."""
    from ..report.plot import plot_trace
    from ..report.png import Parameters, png_bytes
    from ..report.sheet import Row, contact_sheet

    stems = file_stems(texts)
    sampler = models.sampler_name(pipe.scheduler)
    steps, scale = MINIATURE_DEFAULTS["num_inference_steps"], MINIATURE_DEFAULTS["guidance_scale"]
    for n, trace in enumerate(aligned.traces, start=1):
        write_text(outdir / "traces" / f"batch-{n}.json", trace.to_json())
    entries = []
    for i, (text, seed, stem) in enumerate(zip(texts, seeds, stems, strict=True)):
        pictures = []
        for arm, preset in ((unguided, None), (aligned, DEMO_PRESET)):
            picture = arm.pictures[i]
            parameters = Parameters(
                text, "", steps, sampler, scale, seed, picture.width, picture.height, MINIATURE_NAME, preset
            )
            scores = {name: round(values[i], 4) for name, values in arm.scores.items()}
            record = {
                "prompt": text, "seed": seed, "model": MINIATURE_NAME, "call": MINIATURE_DEFAULTS, "preset": preset,
                "reward": GUIDE if preset else None, "evaluations": arm.evaluations[i], "scores": scores,
                "correct": arm.correct[i],
            }  # fmt: skip
            path = f"pictures/{stem}-{seed:04d}-{arm.name}.png"
            png = png_bytes(picture, parameters, record)
            write_bytes(outdir / path, png)
            note = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
            pictures.append(Picture(arm.name, png, path, note, arm.correct[i], small=True))
        plot = plot_trace(aligned.traces[i // DEMO_BATCH], i % DEMO_BATCH, title=text)
        plot_path = f"traces/{stem}-{seed:04d}.png"
        write_bytes(outdir / plot_path, plot)
        entries.append(Entry(text, pictures, Picture("how it was steered", plot, plot_path)))

    arms = (unguided, aligned)
    rows = [
        Row(text, [arm.pictures[i] for arm in arms], f"seed {seeds[i]}", [arm.correct[i] for arm in arms])
        for i, text in enumerate(texts)
    ]
    drawn = contact_sheet([arm.name for arm in arms], rows, panels=2 if len(rows) > 4 else 1)
    sheet = write_bytes(outdir / "sheet.png", png_bytes(drawn))
    page = _page(entries, table, unguided, aligned)
    write_text(outdir / "report.md", page.to_markdown())
    return sheet, write_text(outdir / "report.html", page.to_html())


def _page(entries: Sequence[Entry], table: Table, unguided: Arm, aligned: Arm) -> Page:
    n = len(entries)
    lead = (
        f"Of {n} pictures of two objects, {sum(unguided.correct)} show both objects in their colours when the pipeline "
        f"paints alone, and {sum(aligned.correct)} when DyMO steers it: same model, same seeds, no training."
    )
    notes = (
        f"{GUIDE} steers; {HELD_OUT} and the judge are never shown to the method. The judge reads from the pixels "
        "which objects are there and in which colours; a picture is right (✓) if both are as told, wherever they are.",
        "An evaluation is one pass of the denoiser (with its unconditional half); a steered one also goes backwards. "
        "Below the difference: its paired bootstrap 95 % interval over the prompts.",
    )
    facts = [("model", MINIATURE_NAME), ("reward", GUIDE), ("preset", DEMO_PRESET)]
    facts += [(name.replace("_", " "), f"{value:g}") for name, value in MINIATURE_DEFAULTS.items()]
    return Page("DyMO on its miniature: unguided and aligned", lead, table, notes, entries, facts, sheet="sheet.png")


def _busy(console: Console, what: str) -> Any:
    """A spinner on a terminal; else one line, so that a log shows how far it came."""
    if console.is_terminal:
        return console.status(what)
    console.print(what, markup=False, highlight=False)
    return nullcontext()
