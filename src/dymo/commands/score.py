"""`dymo score`: what rewards make of pictures that are there already."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import ConfigError
from ..report.atomic import write_text
from ..report.table import Cell, Column, Table
from . import models
from .pictures import find_pictures, prompt_of, read_picture, read_prompts_file

if TYPE_CHECKING:
    from ..rewards import Reward

OUTPUTS = (".csv", ".json", ".md")
AT_ONCE = 8
"""Pictures scored together, where they are of one size."""
SHOWN = 48
"""Characters of a prompt in the printed table."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for, as it was written."""

    images: Sequence[Path]
    metrics: str
    prompt: str | None = None
    prompts: Path | None = None
    sources: Sequence[str] = ()
    out: Path | None = None
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Scores:
    """One row a picture; `values`: metric -> a score a picture."""

    pictures: list[Path]
    prompts: list[str]
    values: dict[str, list[float]]

    def means(self) -> dict[str, float]:
        return {metric: sum(column) / len(column) for metric, column in self.values.items()}

    def table(self, shown: int | None = SHOWN) -> Table:
        """Pictures, their prompts cut to `shown` characters, the scores, and the means in the last row."""
        columns = [Column("picture"), Column("prompt"), *(Column(metric, 4) for metric in self.values)]
        rows: list[list[Cell]] = [
            [path.name, _shortened(prompt, shown), *(column[i] for column in self.values.values())]
            for i, (path, prompt) in enumerate(zip(self.pictures, self.prompts, strict=True))
        ]
        return Table(columns, [*rows, [f"mean of {len(rows)}", "", *self.means().values()]])

    def to_csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["picture", "prompt", *self.values])
        for i, (path, prompt) in enumerate(zip(self.pictures, self.prompts, strict=True)):
            writer.writerow([path, prompt, *(repr(column[i]) for column in self.values.values())])
        return buffer.getvalue()

    def to_json(self) -> str:
        rows = [
            {"picture": str(path), "prompt": prompt, **{metric: column[i] for metric, column in self.values.items()}}
            for i, (path, prompt) in enumerate(zip(self.pictures, self.prompts, strict=True))
        ]
        return json.dumps({"rows": rows, "means": self.means()}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def score(request: Request, console: Console) -> Scores:
    """Score, print the table, and write it where asked. Raises DyMOError before any model is loaded where possible."""
    metrics, sources = read_metrics(request.metrics, request.sources)
    if request.out is not None and request.out.suffix.lower() not in OUTPUTS:
        raise ConfigError(f"--out {request.out}: its ending says the form; use one of {', '.join(OUTPUTS)}")
    models.check_choices(None, request.dtype)
    pictures = find_pictures(request.images)
    table = read_prompts_file(request.prompts) if request.prompts is not None else {}
    prompts = [prompt_of(path, request.prompt, table) for path in pictures]
    device = models.choose_device(request.device)

    import torch

    from ..rewards import load_reward

    models.quiet_libraries()
    dtype = None if request.dtype is None else getattr(torch, request.dtype)
    values = {}
    for metric in metrics:
        with console.status(f"Scoring with {metric} …") if console.is_terminal else nullcontext():
            # One after the other: together they may not fit into memory.
            reward = load_reward(metric, sources.get(metric), device, dtype)
            values[metric] = measure(reward, pictures, prompts, device)
    found = Scores(pictures, prompts, values)
    console.print(found.table().to_text(), markup=False, highlight=False, soft_wrap=True)
    if request.out is not None:
        forms = {".csv": found.to_csv, ".json": found.to_json, ".md": lambda: found.table(None).to_markdown() + "\n"}
        written = write_text(request.out, forms[request.out.suffix.lower()]())
        console.print(f"\nTable: {written}", markup=False, highlight=False, soft_wrap=True)
    return found


def read_metrics(text: str, sources: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """ "pickscore,hpsv2" and ["pickscore=/path", ...]. Raises ConfigError on a name that is none."""
    from ..rewards import SPECS

    metrics = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = ", ".join(SPECS)
    for metric in metrics:
        if metric not in SPECS and not Path(metric).is_dir():
            raise ConfigError(f"--metrics {metric!r}: choose from {known}, or give the folder of a CLIPModel")
    if not metrics:
        raise ConfigError(f"--metrics {text!r}: name at least one of {known}")
    found = {}
    for source in sources:
        metric, equals, path = source.partition("=")
        if not equals or not path or metric not in metrics:
            raise ConfigError(
                f"--source {source!r}: give METRIC=PATH with one of the metrics, as pickscore=/models/pick"
            )
        found[metric] = path
    return metrics, found


def measure(reward: Reward, pictures: Sequence[Path], prompts: Sequence[str], device: str) -> list[float]:
    """A score a picture, in order; only pictures of one size share a batch."""
    import torch

    from ..errors import RewardError

    found: list[float] = []
    with torch.no_grad():
        start = 0
        while start < len(pictures):
            batch = [read_picture(pictures[start])]
            for path in pictures[start + 1 : start + AT_ONCE]:
                following = read_picture(path)
                if following.shape != batch[0].shape:
                    break
                batch.append(following)
            end = start + len(batch)
            scores = reward.score(torch.stack(batch).to(device), prompts[start:end])
            if not torch.isfinite(scores).all():
                raise RewardError(f"{reward.name}: {scores.tolist()} for {pictures[start]} and the next: not finite")
            found += scores.float().tolist()
            start = end
    return found


def _shortened(text: str, longest: int | None) -> str:
    line = " ".join(text.split())
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"
