"""What can be steered: the tables of docs/models.md, found out on tiny random pipelines.

    python -m tools.models [--check]

Runs every scheduler that diffusers has: those that take a UNet in a tiny Stable Diffusion pipeline, those of flow
matching on a denoiser known in closed form. Then every pipeline with a transformer that is steered. Without --check
the tables are written to docs/models.md, each between its marks; with it, the exit status is 1 where they differ from
what stands there.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from dymo.guidance.levels import renoise
from dymo.guidance.loop import Loop, Need
from dymo.pipelines.images import with_images
from dymo.pipelines.loop import PipelineLoop
from dymo.pipelines.schedulers import SCHEDULERS
from dymo.pipelines.schedulers.table import REFUSED
from dymo.pipelines.settings import MapChoice
from dymo.report.atomic import write_text
from dymo.report.table import Column, Table
from dymo.trace import Cost

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "models.md"
sys.path.insert(0, str(ROOT / "tests"))

import bare  # noqa: E402
import flow_maps  # noqa: E402
import flows  # noqa: E402
import tiny  # noqa: E402

STEPS = 3
# What a scheduler needs besides its defaults.
CONFIGS: dict[str, dict[str, Any]] = {"PNDMScheduler": {"skip_prk_steps": True}}


@dataclass(frozen=True)
class Found:
    """What a run of one pipeline showed."""

    calls: list[int]
    """Evaluations of each step."""
    same: bool
    """Untouched, the images are those of a plain call, bit for bit."""
    gradient: bool
    """At each step, and where it is taken again, a finite gradient with respect to the latents that is not zero."""
    restored: bool
    """After an exception the scheduler is as before, and a plain call gives the same bits."""


class Stop(Exception):
    """Raised in the middle of a run."""


def push(loop: Loop, fail: bool = False) -> bool:
    """Each step twice, displaced along a gradient; whether all gradients can be used. fail: raise Stop at the second."""
    usable = True
    for now in loop:
        z = None
        for again in (False, True):
            seen = loop.predict(z, need=Need(through="full"))
            g = seen.pull(seen.z0.square().flatten(1).mean(1), False)
            usable &= bool(g.isfinite().all() and g.abs().max() > 0)
            if fail and again and now.index == 1:
                raise Stop
            z_next = loop.sampler_step(seen) - 0.1 * now.there.radius * g / g.norm().clamp_min(1e-30)
            z = renoise(z_next, now.there, now.here, loop.noise(seen.rows))
        loop.accept(z_next)
    return usable


def probe(pipe: Any, call: Callable[[], dict[str, Any]]) -> Found:
    """Runs `pipe` plainly, untouched, pushed, broken off, and plainly again. call: the same arguments each time."""

    def steered(algorithm: Callable[[Loop], Any]) -> tuple[PipelineLoop, Any]:
        with PipelineLoop(pipe, call(), decode=lambda z0: z0, cost=Cost()) as loop:
            return loop, algorithm(loop)

    def untouched(loop: Loop) -> None:
        for _ in loop:
            loop.accept(loop.sampler_step(loop.predict()))

    plain = with_images(pipe(**call())).images
    loop, _ = steered(untouched)
    _, usable = steered(push)
    before = {name: repr(value) for name, value in vars(pipe.scheduler).items()}
    try:
        steered(lambda loop: push(loop, fail=True))
        restored = False
    except Stop:
        restored = {name: repr(value) for name, value in vars(pipe.scheduler).items()} == before
    restored &= torch.equal(with_images(pipe(**call())).images, plain)
    same = torch.equal(loop.result.images, plain) and bool(plain.isfinite().all())
    return Found([now.calls for now in loop.timesteps], same, usable, restored)


@functools.cache
def stable_diffusion() -> Any:
    """As small as the class allows: one level of a UNet."""
    level = dict(
        block_out_channels=(8,), down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",)
    )
    return tiny.sd(unet=tiny.unet(**level))


def _nearly_gaussian(z: torch.Tensor, a: float, s: float) -> torch.Tensor:
    """At pure noise the exact prediction is the same whatever the noise, and a network's is not."""
    return bare.gaussian()(z, a, s) + 0.1 * z.tanh()


def sampler(name: str) -> Found:
    """What a run with this scheduler shows."""
    kind, config = getattr(diffusers, name), CONFIGS.get(name, {})
    seed = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    if "beta_start" not in inspect.signature(kind).parameters:
        scheduler = kind(**config)
        takes = "generator" in inspect.signature(scheduler.step).parameters
        latents = torch.randn(1, 2, 4, 4, generator=seed())

        def call() -> dict[str, Any]:
            own = seed()
            given = {"generator": own} if takes else {}
            return dict(latents=latents, num_inference_steps=STEPS, generator=own, extra=given)

        return probe(bare.Bare(scheduler, _nearly_gaussian), call)
    pipe = stable_diffusion()
    pipe.register_modules(scheduler=tiny.scheduler(kind, **config))
    return probe(
        pipe,
        lambda: dict(
            prompt=tiny.PROMPT, num_inference_steps=STEPS, height=16, width=16, output_type="latent", generator=seed()
        ),
    )


def samplers() -> Table:
    """One row a scheduler of diffusers: what was seen of it, or why it is refused."""
    names = sorted(name for name in dir(diffusers.schedulers) if name.endswith("Scheduler"))
    columns = [
        Column("scheduler"), Column(f"evaluations in {STEPS} steps"), Column("untouched: the same bits"), Column("gradient at each step"),
        Column("restored after an exception"), Column("refused, because"),
    ]  # fmt: skip
    rows = []
    for name in sorted(names, key=lambda name: (name in REFUSED, name)):
        if name in SCHEDULERS:
            found = sampler(name)
            seen = ["yes" if ok else "NO" for ok in (found.same, found.gradient, found.restored)]
            rows.append([name, " + ".join(map(str, found.calls)), *seen, ""])
        else:
            refusal = REFUSED.get(name)
            reason = "NOT KNOWN" if refusal is None else refusal.reason
            instead = f"; use {refusal.instead}" if refusal and refusal.instead else ""
            rows.append([name, "", "", "", "", reason + instead])
    return Table(columns, rows)


def maps_error(name: str) -> float:
    """The largest difference of a family's maps from its attention's own probabilities, at the second step."""
    pipe = flows.FAMILIES[name].make()
    with PipelineLoop(
        pipe, _call(name), decode=lambda z0: z0, cost=Cost(), choice=MapChoice(layers=flow_maps.REFERENCE[name].layers)
    ) as loop:
        steps = iter(loop)
        next(steps)
        loop.accept(loop.sampler_step(loop.predict()))
        next(steps)
        with flow_maps.REFERENCE[name].reading(loop.pipe) as wanted:
            maps = loop.predict(need=Need(maps=True)).maps
            assert maps is not None
            return float((maps - wanted()).abs().max())


def _call(name: str) -> dict[str, Any]:
    torch.manual_seed(0)  # SD3's ControlNet pipeline draws from it, whatever the generator
    case = {**flows.FAMILIES, **flows.FORMS}[name]
    return {**case.kwargs, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0)}


def transformers() -> Table:
    """One row a pipeline with a transformer: what was seen of it."""
    columns = [
        Column("pipeline"), Column("as"), Column(f"evaluations in {STEPS} steps"), Column("untouched: the same bits"),
        Column("gradient at each step"), Column("restored after an exception"), Column("maps: largest error"),
    ]  # fmt: skip
    rows = []
    for name, case in {**flows.FAMILIES, **flows.FORMS}.items():
        pipe = case.make()
        found = probe(pipe, functools.partial(_call, name))
        seen = ["yes" if ok else "NO" for ok in (found.same, found.gradient, found.restored)]
        error = "" if name not in flow_maps.REFERENCE else "below 1e-5" if maps_error(name) < 1e-5 else "TOO LARGE"
        rows.append([type(pipe).__name__, name, " + ".join(map(str, found.calls)), *seen, error])
    return Table(columns, rows)


TABLES: dict[str, Callable[[], Table]] = {"samplers": samplers, "transformers": transformers}
"""The tables of the page by the names in their marks."""


def page(text: str) -> str:
    """The page with its tables made anew."""
    for name, table in TABLES.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not marks.search(text):
            raise SystemExit(f"{PAGE} has no marks <!-- {name} --> and <!-- end of {name} -->")
        made = table().to_markdown()
        text = marks.sub(lambda match, made=made: f"{match[1]}\n{made}\n\n{match[2]}", text)
    return text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.models", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    text = PAGE.read_text(encoding="utf-8")
    found = page(text)
    if args.check:
        print("the same" if found == text else f"{PAGE} differs: run python -m tools.models")
        return int(found != text)
    write_text(PAGE, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
