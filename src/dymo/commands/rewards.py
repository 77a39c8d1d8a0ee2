"""`dymo rewards`: what there is, and whether one does what it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer
from rich.console import Console

from ..errors import ConfigError, RewardError
from ..parts import Option
from ..report.table import Cell, Column, Table
from . import models
from .images import read_image
from .schema import RewardsCheck, RewardsList
from .screen import busy, say, show_table
from .sources import check_reward, check_source, source_is

if TYPE_CHECKING:
    from torch import Tensor

    from ..rewards import Reward, Spec

PROMPT = "a red apple"
"""Of the supplied images; the miniature's judge can read it too."""
SIDE = 256
BATCH_TOLERANCE = 1e-3
"""Of a score's own size: what half precision leaves between a batch and its images one by one."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    result: Literal["yes", "NO", "skipped"]
    detail: str


def show_list(settings: RewardsList, console: Console, notes: Console) -> None:
    """Print the rewards that have a name."""
    table = listing()
    if settings.json:
        rows = [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]
        say(console, json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show_table(table, console)


def listing() -> Table:
    """One row a reward that has a name."""
    from ..rewards import SPECS

    titles = ("name", "measures", "typical", "M parameters", "reads t", "guides", "licence", "from")
    columns = [Column(title, 1 if title == "M parameters" else None) for title in titles]
    rows: list[list[Cell]] = []
    for name in SPECS:
        try:
            spec = SPECS[name]
            measures = "; ".join(filter(None, (spec.measures, spec.about)))
            reads, source = "yes" if spec.reads_timestep else "no", spec.source or "installed"
            rows.append([name, measures, _usual(spec), spec.millions, reads, spec.guides, spec.licence, source])
        except RewardError as error:  # of another package: it does not hinder the others
            rows.append([name, str(error), "", None, "", "no", "", "installed"])
    return Table(columns, rows)


def run_check(settings: RewardsCheck, console: Console, notes: Console) -> None:
    """`check`; raises Exit with code 1 where something does not hold."""
    if not check(settings.name, settings.source, settings.images, settings.device, settings.dtype, console):
        raise typer.Exit(1)


def check(
    name: str, source: str | None, images: Path | None, device: str | None, dtype: str | None, console: Console
) -> bool:
    """Load a reward, try it on two images and on published ones, print what was found; whether nothing failed.

    images: a folder with the published ones. Raises DyMOError where it cannot be loaded.
    """
    from ..rewards import spec_of

    spec = spec_of(name)
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images}: no such folder")
    models.check_choices(None, dtype)
    if source is None:
        check_reward("", name, ("give its file or folder with ", Option("source", "PATH")))
    else:
        check_source(Option("source", source), source, what="reward")
    where = models.choose_device(device)

    import torch

    from ..rewards import load_reward

    models.quiet_libraries()
    with busy(console, f"Loading {name} …"), source_is(Option("source", "PATH")):
        reward = load_reward(spec, source, where, None if dtype is None else getattr(torch, dtype))
    findings = [*try_out(reward, where, spec), *compare_with_published(reward, images, where)]
    columns = [Column("check"), Column("holds"), Column("found")]
    say(console, Table(columns, findings).to_text())
    return all(finding.result != "NO" for finding in findings)


def try_out(reward: Reward, device: str, spec: Spec | None = None) -> list[Finding]:
    """Two supplied images, a red circle and noise: finite scores, a gradient, a batch like its images one by one."""
    import torch

    from ..rewards import is_differentiable

    images, prompts = torch.stack(supplied()).to(device), [PROMPT, PROMPT]
    with torch.no_grad():
        scores = reward.score(images, prompts).float()
        alone = torch.cat([reward.score(images[i : i + 1], [PROMPT]).float() for i in range(2)])
    circle, noise = scores.tolist()
    finite = bool(torch.isfinite(scores).all())
    apart = (scores - alone).abs().max().item()
    close = apart <= BATCH_TOLERANCE * max(1e-6, scores.abs().max().item())
    usual = f"; ordinary images lie in {_usual(spec)}" if spec is not None and spec.typical is not None else ""
    said = f"a red circle as {PROMPT!r}: {circle:.4f}; noise: {noise:.4f}{usual}"
    findings = [
        Finding("scores are finite", _said(finite), said),
        Finding("a batch scores as its images one by one", _said(close), f"differs by {apart:.1e}"),
    ]
    what = "there is a gradient to the image"
    if not is_differentiable(reward):
        return [*findings, Finding(what, "skipped", "declared to have none")]
    leaf = images[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward.score(leaf, [PROMPT]).sum(), leaf)
    size = gradient.float().norm().item()
    holds = bool(torch.isfinite(gradient).all()) and size > 0
    return [*findings, Finding(what, _said(holds), f"its norm is {size:.3g}")]


def compare_with_published(reward: Reward, images: Path | None, device: str) -> list[Finding]:
    """The authors' own scores of their images, where both are known and at hand."""
    import torch

    from ..rewards.golden import GOLDEN

    known = [golden for golden in GOLDEN if golden.reward == reward.name]
    if not known:
        return [Finding("published score", "skipped", "none is known for this reward")]
    findings = []
    for golden in known:
        what = f"published score of {golden.image}"
        if images is None or not (path := images / golden.image).is_file():
            place = "give --images FOLDER" if images is None else f"it is not in {images}"
            findings.append(Finding(what, "skipped", f"{place}; the image is in {golden.found_in}"))
            continue
        with torch.no_grad():
            made = reward.score(read_image(path)[None].to(device), [golden.prompt]).item()
        close = abs(made - golden.score) <= golden.tolerance
        findings.append(Finding(what, _said(close), f"{made:.4f}, published {golden.score:.4f} ± {golden.tolerance:g}"))
    return findings


def supplied() -> Sequence[Tensor]:
    """A red circle on white, and noise: (3, 256, 256) in [0, 1] each."""
    import torch

    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    inside = ((axis[:, None] ** 2 + axis**2).sqrt() < SIDE / 3).float()
    circle = torch.stack([1 - 0.15 * inside, 1 - 0.9 * inside, 1 - 0.9 * inside])
    return circle, torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def _usual(spec: Spec) -> str:
    return "" if spec.typical is None else f"{spec.typical[0]:g} to {spec.typical[1]:g}"


def _said(holds: bool) -> Literal["yes", "NO"]:
    return "yes" if holds else "NO"
