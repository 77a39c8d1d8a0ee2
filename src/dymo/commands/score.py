"""`dymo score`: the scores of images that are there already."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import ConfigError, DyMOError
from ..parts import Option
from ..report.atomic import write_text
from ..report.outdir import check_outdir
from ..report.table import Cell, Column, Table
from . import models
from .images import ends_apart, find_images, listed_prompts, prompt_of, read_image
from .names import check_free
from .schema import Score
from .screen import busy, say, show_table
from .sources import check_reward, check_source, source_is

if TYPE_CHECKING:
    from ..rewards import Reward

logger = logging.getLogger(__name__)

OUTPUTS = (".csv", ".json", ".md")
AT_ONCE = 8
"""Images scored together, where they are of one size."""
SHOWN = 48
"""Characters of a prompt in the printed table."""


@dataclass(frozen=True)
class Scores:
    """One row an image; `values`: metric -> a score an image."""

    images: list[Path]
    prompts: list[str]
    values: dict[str, list[float]]

    def means(self) -> dict[str, float]:
        """The mean of each metric over the images, in its own points."""
        return {metric: sum(column) / len(column) for metric, column in self.values.items()}

    def table(self, shown: int | None = SHOWN) -> Table:
        """Images by what tells their paths apart, their prompts cut to `shown` characters, the scores, and the means in the last row."""
        columns = [Column("image"), Column("prompt"), *(Column(metric, 4) for metric in self.values)]
        names = ends_apart(self.images)
        prompts = (_shortened(prompt, shown) for prompt in self.prompts)
        rows: list[Sequence[Cell]] = list(zip(names, prompts, *self.values.values(), strict=True))
        return Table(columns, [*rows, [f"mean of {len(rows)}", "", *self.means().values()]])

    def to_csv(self) -> str:
        """Whole paths and prompts, and every digit of the scores; no means."""
        rows = zip(map(str, self.images), self.prompts, *self.values.values(), strict=True)
        columns = [Column(title) for title in ("image", "prompt", *self.values)]
        return Table(columns, list(rows)).to_csv()

    def to_json(self) -> str:
        """{"rows": [one object an image], "means": {metric: mean}}; a score that is not finite raises ValueError."""
        titles = ("image", "prompt", *self.values)
        cells = zip(map(str, self.images), self.prompts, *self.values.values(), strict=True)
        rows = [dict(zip(titles, row, strict=True)) for row in cells]
        return json.dumps({"rows": rows, "means": self.means()}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def score(settings: Score, console: Console, notes: Console) -> Scores:
    """Score, print the table, and write it where asked. Raises DyMOError before any model is loaded where possible."""
    if settings.out is not None and settings.out.suffix.lower() not in OUTPUTS:
        raise ConfigError(f"--out {settings.out}: its ending says the form; use one of {', '.join(OUTPUTS)}")
    check_free("--out", settings.out, settings.overwrite)
    if settings.out is not None:
        check_outdir(settings.out.parent, "--out")
    models.check_choices(None, settings.dtype)
    images = find_images(settings.images)
    listed = listed_prompts(images, settings.prompts) if settings.prompts is not None else {}
    prompts = [prompt_of(path, settings.prompt, listed.get(path)) for path in images]
    metrics, sources = read_metrics(settings.metrics, settings.sources)
    device = models.choose_device(settings.device)

    import torch

    from ..rewards import load_reward

    models.quiet_libraries()
    dtype = None if settings.dtype is None else getattr(torch, settings.dtype)
    values = {}
    for metric in metrics:
        with busy(notes, f"Scoring with {metric} …"):
            # One after the other: together they may not fit into memory.
            with source_is(Option("source", f"{metric}=PATH")):
                reward = load_reward(metric, sources.get(metric), device, dtype)
            values[metric] = measure(reward, images, prompts, device)
        logger.info("%s: %d images", metric, len(images))
    found = Scores(images, prompts, values)
    if settings.json:
        console.file.write(found.to_json())
    else:
        show_table(found.table(), console)
    if settings.out is not None:
        forms = {".csv": found.to_csv, ".json": found.to_json, ".md": lambda: found.table(None).to_markdown() + "\n"}
        written = write_text(settings.out, forms[settings.out.suffix.lower()]())
        say(notes, f"Table: {written}")
    return found


def read_metrics(text: str, sources: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """ "pickscore,hpsv2" and ["pickscore=/path", ...]. Raises ConfigError on a name that is none."""
    from ..rewards import spec_of

    metrics = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not metrics:
        raise ConfigError(f"--metrics {text!r}: name at least one reward of `dymo rewards list`")
    try:
        specs = {metric: spec_of(metric) for metric in metrics}
    except DyMOError as error:
        raise ConfigError("--metrics: ", error) from error
    found = {}
    for source in sources:
        metric, equals, path = source.partition("=")
        if not equals or not path or metric not in metrics:
            raise ConfigError(
                f"--source {source!r}: give METRIC=PATH with one of the metrics, as pickscore=/models/pick"
            )
        found[metric] = path
    for metric, spec in specs.items():
        if metric in found:
            check_source(Option("source", f"{metric}: {found[metric]}"), found[metric], what="reward")
        elif spec.source:
            check_reward(Option("metrics"), metric, ("give its file or folder with ", Option("source", f"{metric}=PATH")))
    return metrics, found


def measure(reward: Reward, images: Sequence[Path], prompts: Sequence[str], device: str) -> list[float]:
    """A score an image, in order; only images of one size share a batch."""
    import torch

    from ..errors import RewardError

    found: list[float] = []
    for _, group in groupby(map(read_image, images), lambda image: image.shape):
        while batch := list(islice(group, AT_ONCE)):
            of = slice(len(found), len(found) + len(batch))
            with torch.no_grad():
                scores = reward.score(torch.stack(batch).to(device), prompts[of])
            if not torch.isfinite(scores).all():
                path, value = next((p, v) for p, v in zip(images[of], scores.tolist(), strict=True) if not math.isfinite(v))
                remedy = "leave out this image or the metric, or try --dtype float32"
                raise RewardError(f"{reward.name}: its score of {path} is {value}, of which there is no mean; {remedy}")
            found += scores.float().tolist()
    return found


def _shortened(text: str, longest: int | None) -> str:
    line = " ".join(text.split())
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"
