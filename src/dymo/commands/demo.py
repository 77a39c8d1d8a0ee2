"""`dymo demo`: the embedded miniature, unguided and aligned, and by how much that helped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS
from ..pipelines.sampler_names import sampler_name
from ..report.atomic import write_bytes, write_text
from ..report.interval import paired_bootstrap
from ..report.outdir import check_outdir
from ..report.page import Entry, Page, PageImage
from ..report.table import Column, Table
from ..report.verdict import FEWEST
from . import models
from .names import file_stems, numbered
from .schema import PRESET, RECORDED, Demo
from .screen import TimeLeft, busy, say, show_table, watched

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..trace import Trace

GUIDE, HELD_OUT = "mini-pickscore", "mini-hps"
MOST_PROMPTS = 256
TOO_FEW = "(too few to tell)"
BATCH = 8
"""Images generated at once."""
FIRST = 6
"""Pairs of the overview."""


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


def demo(settings: Demo, console: Console, notes: Console) -> None:
    """Generate held-out captions twice, judge, write the report, and print the table. Raises DyMOError."""
    from ..miniature import world

    if settings.words:
        say(console, *(f"{kind}: {', '.join(known)}" for kind, known in world.VOCABULARY.items()))
        say(console, f'as in: dymo generate "{world.captions("test", 1)[0].text}"')
        return
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

    models.quiet_libraries()
    with busy(notes, "Loading the miniature …", in_logs=True):
        pipe = models.load_pipeline(None)
        rewards = {name: dymo.load_reward(name) for name in (GUIDE, HELD_OUT)}
        aligner = dymo.DyMO(rewards[GUIDE], preset=PRESET)
    captions = world.in_turns("test", prompts, seed)
    texts = [caption.text for caption in captions]
    try:
        unguided = _generate("unguided", lambda texts, listeners, **call: pipe(texts, **call), texts, seed, notes)
        aligned = _generate("aligned", partial(aligner, pipe), texts, seed, notes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the images are written together at the end, so nothing is") from None
    with busy(notes, "Judging …", in_logs=True):
        for condition in (unguided, aligned):
            _judge(condition, captions, rewards)
    table = comparison(unguided, aligned)
    with busy(notes, "Writing the report …", in_logs=True):
        overview, report = _write(outdir, sampler_name(pipe.scheduler), texts, seed, unguided, aligned, table)
    show_table(table, console)
    say(console, "", gain(unguided, aligned), "", f"Overview: {overview}", f"Report:   {report}")


def gain(unguided: Condition, aligned: Condition) -> str:
    """By how much the guidance helped, in one line."""
    before, after = ([100.0 * right for right in of.correct] for of in (unguided, aligned))
    more = paired_bootstrap(after, before)
    sure = f"[{more.low:+.0f}, {more.high:+.0f}]" if len(before) >= FEWEST else TOO_FEW
    return (
        f"{sum(before) / len(before):.0f} % of {len(before)} images show all that their prompt says unguided, "
        f"{sum(after) / len(after):.0f} % aligned: {more.mean:+.0f} points {sure}."
    )


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
        interval = f"{gain.low:+.{digits}f} to {gain.high:+.{digits}f}" if len(before) >= FEWEST else TOO_FEW
        means = [f"{sum(values) / len(values):.{digits}f}" for values in (before, after)]
        rows.append([name, *means, f"{gain.mean:+.{digits}f}", None if before is unguided.seconds else interval])
    # Text under numeric columns is set to the right: each row has its own decimals.
    titles = (unguided.name, aligned.name, "difference", "95 % interval")
    return Table([Column("mean"), *(Column(title, 3) for title in titles)], rows)


def _generate(name: str, run: Callable[..., Any], texts: Sequence[str], seed: int, notes: Console) -> Condition:
    """The images of `run(prompts, listeners=, generator=, **call)`, BATCH prompts at a time."""
    import torch

    made, steps = Condition(name), MINIATURE_DEFAULTS["num_inference_steps"]
    starts = range(0, len(texts), BATCH)
    left = TimeLeft(len(starts), "batch", "batches")
    for n, start in enumerate(starts, start=1):
        prompts = list(texts[start : start + BATCH])
        generators = [torch.Generator("cpu").manual_seed(seed + start + i) for i in range(len(prompts))]
        label = f"Generating {name} images, batch {n} of {len(starts)}"
        with watched(notes, label, steps) as watcher:
            began = time.perf_counter()
            output = run(prompts, generator=generators, listeners=[watcher], **MINIATURE_DEFAULTS)
            elapsed = time.perf_counter() - began
        made.images += output.images
        made.seconds += [elapsed / len(prompts)] * len(prompts)
        trace = getattr(output, "trace", None)
        made.evaluations += [steps] * len(prompts) if trace is None else trace.evaluations
        made.traces += [] if trace is None else [trace]
        say(notes, f"{label}: {left() or 'done'}")
    return made


def _judge(condition: Condition, captions: Sequence[Any], rewards: dict[str, Any]) -> None:
    """Score the images by every reward, and see whether each shows what its caption says."""
    import torch

    from dymo.miniature import load_judge
    from dymo.miniature.judge import satisfied

    from ..pixels import from_pil

    images = from_pil(condition.images)
    texts = [caption.text for caption in captions]
    with torch.no_grad():
        condition.scores = {name: reward.score(images, texts).tolist() for name, reward in rewards.items()}
        seen = load_judge().read(images)
    verdicts = [satisfied(*one) for one in zip(captions, seen, strict=True)]
    condition.correct = [v.correct and v.relation is not False for v in verdicts]


def _write(
    outdir: Path, sampler: str, texts: Sequence[str], seed: int, unguided: Condition, aligned: Condition, table: Table
) -> tuple[Path, Path]:
    """Images, traces, plots, sheets, report.md and report.html. Returns the paths of the overview and the HTML."""
    from ..report.overview import beside
    from ..report.plot import plot_trace
    from ..report.png import Parameters, png_bytes
    from ..report.sheet import Row, contact_sheet

    steps, scale = MINIATURE_DEFAULTS["num_inference_steps"], MINIATURE_DEFAULTS["guidance_scale"]
    conditions = (unguided, aligned)
    for n, trace in enumerate(aligned.traces, start=1):
        write_text(outdir / "traces" / f"batch-{n}.json", trace.to_json())
    entries, rows, plots = [], [], []
    for i, (text, stem) in enumerate(zip(texts, file_stems(texts), strict=True)):
        shown, own = [], seed + i
        for condition, preset in ((unguided, None), (aligned, PRESET)):
            image = condition.images[i]
            parameters = Parameters(text, "", steps, sampler, scale, own, image.width, image.height, RECORDED, preset)
            scores = {name: round(values[i], 4) for name, values in condition.scores.items()}
            record = {
                "prompt": text, "seed": own, "model": RECORDED, "call": MINIATURE_DEFAULTS, "preset": preset,
                "reward": GUIDE if preset else None, "evaluations": condition.evaluations[i], "scores": scores,
                "correct": condition.correct[i],
            }  # fmt: skip
            path = f"images/{stem}-{own:04d}-{condition.name}.png"
            png = png_bytes(image, parameters, record)
            write_bytes(outdir / path, png)
            note = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
            shown.append(PageImage(condition.name, png, path, note, condition.correct[i], small=True))
        plot = plot_trace(aligned.traces[i // BATCH], i % BATCH, title=text)
        plot_path = f"traces/{stem}-{own:04d}.png"
        write_bytes(outdir / plot_path, plot)
        plots.append(plot)
        entries.append(Entry(text, shown, PageImage("trace of the guidance", plot, plot_path)))
        correct = [of.correct[i] for of in conditions]
        rows.append(Row(text, [of.images[i] for of in conditions], f"seed {own}", correct))
    names = [of.name for of in conditions]
    write_bytes(outdir / "sheet.png", png_bytes(contact_sheet(names, rows, panels=2 if len(rows) > 4 else 1)))
    first = contact_sheet(names, [row._replace(note="") for row in rows[:FIRST]], panels=2 if len(rows) > 2 else 1)
    said = f"The first {min(FIRST, len(rows))} of {len(rows)} held-out prompts, not the best. Aligned: the seed and three more are begun. "
    drawn = beside(first, plots[0], said + gain(unguided, aligned), "The guidance of the first image:")
    overview = write_bytes(outdir / "overview.png", png_bytes(drawn))
    page = _page(entries, table, unguided, aligned)
    write_text(outdir / "report.md", page.to_markdown())
    return overview, write_text(outdir / "report.html", page.to_html())


def _page(entries: Sequence[Entry], table: Table, unguided: Condition, aligned: Condition) -> Page:
    lead = (
        f"Of {len(entries)} images of two or three things, {sum(unguided.correct)} show all that the prompt says when "
        f"the pipeline runs unguided, {sum(aligned.correct)} when DyMO guides it: same model, no training."
    )
    notes = (
        f"{GUIDE} guides; {HELD_OUT} and the judge are never shown to the method. The judge reads from the pixels which "
        "things are there, in which colours, how many, and where; an image is correct (✓) if all is as the prompt says.",
        "An evaluation (NFE) is one forward pass of the denoiser, with its unconditional half; a guided one also has a "
        "backward pass. The interval is the paired bootstrap's over the prompts.",
        "Unguided images are those of the seed; guided ones begin with it and three more, of which the one goes on that the reward puts "
        "highest before it has steered any.",
    )
    facts = [("model", RECORDED), ("reward", GUIDE), ("preset", PRESET)]
    facts += [(name.replace("_", " "), f"{value:g}") for name, value in MINIATURE_DEFAULTS.items()]
    return Page("DyMO on its miniature: unguided and aligned", lead, table, notes, entries, facts, sheet="sheet.png")
