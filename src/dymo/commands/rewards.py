"""`dymo rewards`: what there is, and whether one does what it should."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from ..errors import ConfigError
from ..report.table import Column, Table
from . import models
from .pictures import read_picture

if TYPE_CHECKING:
    from torch import Tensor

    from ..rewards import Reward

CIRCLE = "a red circle on a white background"
SIDE = 256
BATCH_TOLERANCE = 1e-3
"""Of a score's own size: what half precision leaves between a batch and its pictures one by one."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    result: Literal["yes", "NO", "skipped"]
    detail: str


def listing() -> Table:
    """One row a reward that has a name."""
    from ..rewards import SPECS

    columns = [
        Column("name"), Column("measures"), Column("typical"), Column("M parameters", 1), Column("reads t"),
        Column("guides"), Column("licence"), Column("from"),
    ]  # fmt: skip
    rows = [
        [
            spec.name, spec.measures + (f"; {spec.about}" if spec.about else ""), f"{spec.typical[0]:g} to {spec.typical[1]:g}",
            spec.millions, "yes" if spec.reads_timestep else "no", spec.guides, spec.licence, spec.source or "the package",
        ]
        for spec in SPECS.values()
    ]  # fmt: skip
    return Table(columns, rows)


def check(
    name: str, source: str | None, pictures: Path | None, device: str | None, dtype: str | None, console: Console
) -> bool:
    """Load a reward, try it on two pictures and on published ones, print what was found; whether nothing failed.

    pictures: a folder with the published ones. Raises DyMOError where it cannot be loaded.
    """
    from ..rewards import SPECS

    if name not in SPECS and not Path(name).is_dir():
        raise ConfigError(f"{name!r}: choose from {', '.join(SPECS)}, or give the folder of a CLIPModel")
    if pictures is not None and not pictures.is_dir():
        raise ConfigError(f"--pictures {pictures}: no such folder")
    models.check_choices(None, dtype)
    where = models.choose_device(device)

    import torch

    from ..rewards import load_reward

    models.quiet_libraries()
    with console.status(f"Loading {name} …") if console.is_terminal else nullcontext():
        reward = load_reward(name, source, where, None if dtype is None else getattr(torch, dtype))
    findings = [*try_out(reward, where), *compare_with_published(reward, pictures, where)]
    columns = [Column("check"), Column("holds"), Column("found")]
    table = Table(columns, [[finding.what, finding.result, finding.detail] for finding in findings])
    console.print(table.to_text(), markup=False, highlight=False, soft_wrap=True)
    return all(finding.result != "NO" for finding in findings)


def try_out(reward: Reward, device: str) -> list[Finding]:
    """Two supplied pictures, a red circle and noise: finite scores, a gradient, a batch like its pictures one by one."""
    import torch

    from ..rewards import SPECS, is_differentiable

    images, prompts = torch.stack(supplied()).to(device), [CIRCLE, CIRCLE]
    with torch.no_grad():
        scores = reward.score(images, prompts).float()
        alone = torch.cat([reward.score(images[i : i + 1], [CIRCLE]).float() for i in range(2)])
    circle, noise = scores.tolist()
    finite = bool(torch.isfinite(scores).all())
    apart = (scores - alone).abs().max().item()
    close = apart <= BATCH_TOLERANCE * max(1e-6, scores.abs().max().item())
    spec = SPECS.get(reward.name)
    usual = f"; ordinary pictures lie in {spec.typical[0]:g} to {spec.typical[1]:g}" if spec is not None else ""
    findings = [
        Finding("scores are finite", _said(finite), f"{CIRCLE}: {circle:.4f}; noise: {noise:.4f}{usual}"),
        Finding("a batch scores as its pictures one by one", _said(close), f"differs by {apart:.1e}"),
    ]
    if is_differentiable(reward):
        leaf = images[:1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(reward.score(leaf, [CIRCLE]).sum(), leaf)
        size = gradient.float().norm().item()
        holds = bool(torch.isfinite(gradient).all()) and size > 0
        findings.append(Finding("there is a gradient to the picture", _said(holds), f"its norm is {size:.3g}"))
    else:
        findings.append(Finding("there is a gradient to the picture", "skipped", "declared a black box"))
    return findings


def compare_with_published(reward: Reward, pictures: Path | None, device: str) -> list[Finding]:
    """The authors' own scores of their pictures, where both are known and at hand."""
    import torch

    from ..rewards.golden import GOLDEN

    known = [golden for golden in GOLDEN if golden.reward == reward.name]
    if not known:
        return [Finding("published score", "skipped", "none is known for this reward")]
    findings = []
    for golden in known:
        what = f"published score of {golden.picture}"
        path = None if pictures is None else pictures / golden.picture
        if path is None or not path.is_file():
            place = "give --pictures FOLDER" if pictures is None else f"it is not in {pictures}"
            findings.append(Finding(what, "skipped", f"{place}; the picture is in {golden.found_in}"))
            continue
        with torch.no_grad():
            made = reward.score(read_picture(path)[None].to(device), [golden.prompt]).item()
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


def _said(holds: bool) -> Literal["yes", "NO"]:
    return "yes" if holds else "NO"
