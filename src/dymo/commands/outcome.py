"""What a run of `dymo generate` gave: its images and their files, and what is said of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Told
from ..pipelines.sampler_names import sampler_name
from ..report.atomic import write_bytes, write_text
from . import models
from .job import Job
from .names import numbered
from .schema import Generate
from .words import words_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..trace import Trace

logger = logging.getLogger(__name__)

ENDINGS = (".png", "-unguided.png", "-trace.json", "-trace.png")


@dataclass
class Result:
    """One prompt and seed."""

    prompt: str
    seed: int
    aligned: Image
    trace: Trace
    unguided: Image | None = None
    rewards: tuple[float, float] | None = None
    """The guiding reward of the unguided and of the aligned image."""
    files: list[Path] = field(default_factory=list)


def write(job: Job, pipe: Any, result: Result, stem: Path) -> None:
    """The images of one run, its trace and its plot, under a name that is free."""
    from ..report.plot import plot_trace
    from ..report.png import Parameters, save_png

    stem = numbered(stem, ENDINGS, job.settings.overwrite)

    scale, steps = (
        job.call.get(name, models.call_default(pipe, name)) for name in ("guidance_scale", "num_inference_steps")
    )

    def save(image: Image, ending: str, preset: str | None) -> None:
        parameters = Parameters(
            result.prompt, job.call.get("negative_prompt", ""), steps, sampler_name(pipe.scheduler), scale,
            result.seed, image.width, image.height, job.model_name, preset,
        )  # fmt: skip
        path = stem.with_name(stem.name + ending)
        result.files.append(save_png(image, path, parameters, _record(job, result, preset)))

    save(result.aligned, ".png", job.settings.preset)
    if result.unguided is not None:
        save(result.unguided, "-unguided.png", None)
    result.files.append(write_text(stem.with_name(f"{stem.name}-trace.json"), result.trace.to_json()))
    result.files.append(write_bytes(stem.with_name(f"{stem.name}-trace.png"), plot_trace(result.trace)))
    logger.info("written: %s", ", ".join(path.name for path in result.files))


def _record(job: Job, result: Result, preset: str | None) -> dict[str, Any]:
    """What is needed to generate this image again."""
    settings = job.settings
    record: dict[str, Any] = {
        "prompt": result.prompt, "seed": result.seed, "model": job.model_name, "config": settings.config,
        "variant": settings.variant, "revision": settings.revision,
        "scheduler": settings.scheduler, "lora": [list(one) for one in job.loras], "unet": settings.unet, "transformer": settings.transformer,
        "call": job.call, "aligned": preset is not None,
    }  # fmt: skip
    if preset is not None:
        record |= {
            "preset": preset, "overrides": job.overrides, "reward": job.reward_name, "watch": list(settings.watch),
            "on_hacking": settings.on_hacking, "preview_vae": settings.preview_vae,
            "compile": job.compile,
            "graph": result.trace.graphs[0],
            "budget": {"evaluations": settings.budget_evaluations, "seconds": settings.budget_seconds},
            "evaluations": result.trace.evaluations[0], "seconds": round(result.trace.cost.seconds, 3),
        }  # fmt: skip
    return record


def outcome(result: Result) -> str:
    """ "reward 0.41 unguided, 0.62 aligned (+0.21) · 61 evaluations · 12.3 s".

    Where no unguided image is there to compare with, the reward of the prediction at the first and last guided step.
    """
    trace = result.trace
    course = [step.reward[0] for step in trace.steps if step.reward and step.reward[0] is not None]
    parts = [f"{trace.evaluations[0]} evaluations", f"{trace.cost.seconds:.1f} s"]
    if result.rewards is not None:
        before, after = result.rewards
        parts.insert(0, f"reward {before:.3f} unguided, {after:.3f} aligned ({after - before:+.3f})")
    elif course:
        parts.insert(0, f"reward of the prediction {course[0]:.3f} → {course[-1]:.3f} (first to last guided step)")
    return " · ".join(parts)


def one_seed(trace: Trace) -> list[str]:
    """Why the best of several seeds was not looked for, where the preset does; [] where it was."""
    why = trace.one_seed
    return [] if why is None else [f"  no further seeds were begun: {why.in_words(words_of(Generate)) if isinstance(why, Told) else why}"]


def held_out(trace: Trace) -> list[str]:
    """What the watched rewards said of the image: which end was returned, or their course; [] where none watched."""
    if trace.returned:
        scores = (
            f"{name} aligned {ends['aligned'][0]:.3f}, unguided {ends['unguided'][0]:.3f}"
            for name, ends in trace.ends.items()
        )
        return [f"  returned the {trace.returned[0]} image: {'; '.join(scores)}"]
    seen = [(name, values[0]) for step in trace.steps for name, values in step.watched.items() if values[0] is not None]
    if not seen:
        return []
    first, last = dict(reversed(seen)), dict(seen)
    said = [f"{name} {first[name]:.3f} → {value:.3f}" for name, value in last.items()]
    alarm = f" · reward hacking from step {trace.hacked[0] + 1} on" if 0 in trace.hacked else ""
    return [f"  held out, of the prediction: {'; '.join(said)}{alarm}"]
