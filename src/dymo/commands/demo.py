"""`dymo demo`: the embedded miniature, unguided and aligned with the same seeds, and by how much that helped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS
from ..report.atomic import write_bytes, write_text
from ..report.interval import paired_bootstrap
from ..report.outdir import check_outdir
from ..report.page import Entry, Page, Picture
from ..report.table import Column, Table
from . import models
from .names import file_stems, numbered
from .progress import TimeLeft, busy, watched
from .schema import MINIATURE, PRESET, Demo
from .tables import show_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..trace import Trace

GUIDE, HELD_OUT = "mini-pickscore", "mini-hps"
MOST_PROMPTS = 256
BATCH = 8
"""Images generated at once."""


@dataclass
class Condition:
    """One way to generate the images of all prompts. Lists hold one value a prompt."""

    name: str
    images: list[Image] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    correct: list[bool] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    """One a batch."""


def words(console: Console) -> None:
    """Print what the miniature's prompts are made of."""
    from ..miniature.world import captions, vocabulary

    for kind, known in vocabulary().items():
        console.print(f"{kind}: {', '.join(known)}", markup=False, highlight=False)
    console.print(f'as in: dymo generate "{captions("test", 1)[0].text}"', markup=False, highlight=False)


def demo(settings: Demo, console: Console, notes: Console) -> tuple[Condition, Condition]:
    """Generate held-out captions twice, judge, write the report, and print the table. Raises DyMOError.

    Returns the unguided and the aligned images with their scores.
    """
    if settings.words:
        words(console)
        return Condition("unguided"), Condition("aligned")
    prompts, seed = settings.prompts, settings.seed
    if not 1 <= prompts <= MOST_PROMPTS:
        raise ConfigError(f"--prompts {prompts}: give a whole number from 1 to {MOST_PROMPTS}")
    if not 0 <= seed < 2**62:
        raise ConfigError(f"--seed {seed}: give a whole number from 0 to 2**62")
    outdir = settings.outdir
    if (outdir / "report.html").exists():
        outdir = numbered(outdir, overwrite=settings.overwrite)
    check_outdir(outdir)

    import dymo
    from dymo.miniature.world import captions as held_out_captions

    models.quiet_libraries()
    with busy(notes, "Loading the miniature …", in_logs=True):
        pipe = models.load_pipeline(None)
        guide = dymo.load_reward(GUIDE)
        aligner = dymo.DyMO(GUIDE, preset=PRESET)
    captions = held_out_captions("test", prompts, seed)
    texts = [caption.text for caption in captions]
    seeds = [seed + i for i in range(prompts)]
    with busy(notes, f"Generating {prompts} unguided images …", in_logs=True):
        unguided = _unguided(pipe, texts, seeds)
    aligned = _aligned(pipe, aligner, texts, seeds, notes)
    with busy(notes, "Judging …", in_logs=True):
        for condition in (unguided, aligned):
            _judge(condition, captions, {GUIDE: guide, HELD_OUT: dymo.load_reward(HELD_OUT)})
    table = comparison(unguided, aligned)
    with busy(notes, "Writing the report …", in_logs=True):
        sheet, report = _write(outdir, pipe, texts, seeds, unguided, aligned, table)
    show_table(table, console)
    said = f"\nContact sheet: {sheet}\nReport:        {report}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    return unguided, aligned


def comparison(unguided: Condition, aligned: Condition) -> Table:
    """Unguided, aligned, and their difference with its paired bootstrap 95 % interval: a row a measure.

    The seconds have none: they are measured by batch, and its images' equal shares are no independent pairs.
    """
    measures: list[tuple[str, int, Callable[[Condition], Sequence[float]]]] = [
        (f"{GUIDE} (guide)", 3, lambda of: of.scores[GUIDE]),
        (f"{HELD_OUT} (held out)", 3, lambda of: of.scores[HELD_OUT]),
        ("judge accuracy, %", 1, lambda of: [100.0 * right for right in of.correct]),
        ("evaluations (NFE)", 1, lambda of: of.evaluations),
        ("seconds an image", 2, lambda of: of.seconds),
    ]
    rows = []
    for name, digits, measure in measures:
        before, after = measure(unguided), measure(aligned)
        gain = paired_bootstrap(after, before)
        interval = f"{gain.low:+.{digits}f} to {gain.high:+.{digits}f}"
        rows.append(
            [
                name, f"{sum(before) / len(before):.{digits}f}", f"{sum(after) / len(after):.{digits}f}",
                f"{gain.mean:+.{digits}f}", None if before is unguided.seconds else interval,
            ]
        )  # fmt: skip
    # Text under numeric columns is set to the right: each row has its own decimals.
    titles = (unguided.name, aligned.name, "difference", "95 % interval")
    return Table([Column("mean"), *(Column(title, 3) for title in titles)], rows)


def _batches(texts: Sequence[str], seeds: Sequence[int]) -> list[tuple[list[str], list[Any]]]:
    """Prompts with one generator each, BATCH at a time."""
    import torch

    return [
        (list(texts[i : i + BATCH]), [torch.Generator("cpu").manual_seed(seed) for seed in seeds[i : i + BATCH]])
        for i in range(0, len(texts), BATCH)
    ]


def _unguided(pipe: Any, texts: Sequence[str], seeds: Sequence[int]) -> Condition:
    made = Condition("unguided")
    for prompts, generators in _batches(texts, seeds):
        began = time.perf_counter()
        made.images += pipe(prompts, generator=generators, **MINIATURE_DEFAULTS).images
        made.seconds += [(time.perf_counter() - began) / len(prompts)] * len(prompts)
        made.evaluations += [MINIATURE_DEFAULTS["num_inference_steps"]] * len(prompts)
    return made


def _aligned(pipe: Any, aligner: Any, texts: Sequence[str], seeds: Sequence[int], notes: Console) -> Condition:
    made = Condition("aligned")
    batches = _batches(texts, seeds)
    left = TimeLeft(len(batches), "batch", "batches")
    for n, (prompts, generators) in enumerate(batches, start=1):
        label = f"Aligning, batch {n} of {len(batches)}"
        with watched(notes, label, MINIATURE_DEFAULTS["num_inference_steps"]) as watcher:
            began = time.perf_counter()
            output = aligner(pipe, prompts, generator=generators, listeners=[watcher], **MINIATURE_DEFAULTS)
            elapsed = time.perf_counter() - began
        made.images += output.images
        made.seconds += [elapsed / len(prompts)] * len(prompts)
        made.evaluations += output.trace.evaluations
        made.traces.append(output.trace)
        notes.print(f"{label}: {left() or 'done'}", markup=False, highlight=False)
    return made


def _judge(condition: Condition, captions: Sequence[Any], rewards: dict[str, Any]) -> None:
    """Score the images by every reward, and see whether each shows what its caption says."""
    import torch

    from dymo.miniature import load_judge
    from dymo.miniature.judge import satisfied

    from .images import pixels

    images = torch.stack([pixels(image) for image in condition.images])
    texts = [caption.text for caption in captions]
    with torch.no_grad():
        for name, reward in rewards.items():
            condition.scores[name] = [float(score) for score in reward.score(images, texts)]
        seen = load_judge().read(images)
    condition.correct = [
        bool(satisfied(caption, things).correct) for caption, things in zip(captions, seen, strict=True)
    ]


def _write(
    outdir: Path,
    pipe: Any,
    texts: Sequence[str],
    seeds: Sequence[int],
    unguided: Condition,
    aligned: Condition,
    table: Table,
) -> tuple[Path, Path]:
    """Images, traces, plots, sheet, report.md and report.html. Returns the paths of the sheet and the HTML."""
    from ..report.plot import plot_trace
    from ..report.png import Parameters, png_bytes
    from ..report.sheet import Row, contact_sheet

    stems = file_stems(texts)
    sampler = models.sampler_name(pipe.scheduler)
    steps, scale = MINIATURE_DEFAULTS["num_inference_steps"], MINIATURE_DEFAULTS["guidance_scale"]
    conditions = (unguided, aligned)
    for n, trace in enumerate(aligned.traces, start=1):
        write_text(outdir / "traces" / f"batch-{n}.json", trace.to_json())
    entries = []
    for i, (text, seed, stem) in enumerate(zip(texts, seeds, stems, strict=True)):
        shown = []
        for condition, preset in ((unguided, None), (aligned, PRESET)):
            image = condition.images[i]
            parameters = Parameters(text, "", steps, sampler, scale, seed, image.width, image.height, MINIATURE, preset)
            scores = {name: round(values[i], 4) for name, values in condition.scores.items()}
            record = {
                "prompt": text, "seed": seed, "model": MINIATURE, "call": MINIATURE_DEFAULTS, "preset": preset,
                "reward": GUIDE if preset else None, "evaluations": condition.evaluations[i], "scores": scores,
                "correct": condition.correct[i],
            }  # fmt: skip
            path = f"images/{stem}-{seed:04d}-{condition.name}.png"
            png = png_bytes(image, parameters, record)
            write_bytes(outdir / path, png)
            note = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
            shown.append(Picture(condition.name, png, path, note, condition.correct[i], small=True))
        plot = plot_trace(aligned.traces[i // BATCH], i % BATCH, title=text)
        plot_path = f"traces/{stem}-{seed:04d}.png"
        write_bytes(outdir / plot_path, plot)
        entries.append(Entry(text, shown, Picture("trace of the guidance", plot, plot_path)))
    rows = [
        Row(text, [of.images[i] for of in conditions], f"seed {seeds[i]}", [of.correct[i] for of in conditions])
        for i, text in enumerate(texts)
    ]
    drawn = contact_sheet([of.name for of in conditions], rows, panels=2 if len(rows) > 4 else 1)
    sheet = write_bytes(outdir / "sheet.png", png_bytes(drawn))
    page = _page(entries, table, unguided, aligned)
    write_text(outdir / "report.md", page.to_markdown())
    return sheet, write_text(outdir / "report.html", page.to_html())


def _page(entries: Sequence[Entry], table: Table, unguided: Condition, aligned: Condition) -> Page:
    lead = (
        f"Of {len(entries)} images of two objects, {sum(unguided.correct)} show both objects in their colours when the "
        f"pipeline runs unguided, and {sum(aligned.correct)} when DyMO guides it: same model, same seeds, no training."
    )
    notes = (
        f"{GUIDE} guides; {HELD_OUT} and the judge are never shown to the method. The judge reads from the pixels which "
        "objects are there and in which colours; an image is correct (✓) if both are as the prompt says, wherever they "
        "are.",
        "An evaluation (NFE) is one forward pass of the denoiser, with its unconditional half; a guided one also has a "
        "backward pass. The interval is the paired bootstrap's over the prompts.",
    )
    facts = [("model", MINIATURE), ("reward", GUIDE), ("preset", PRESET)]
    facts += [(name.replace("_", " "), f"{value:g}") for name, value in MINIATURE_DEFAULTS.items()]
    return Page("DyMO on its miniature: unguided and aligned", lead, table, notes, entries, facts, sheet="sheet.png")
