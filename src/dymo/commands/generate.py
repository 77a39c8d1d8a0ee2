"""`dymo generate`: the user's prompts, aligned and, for comparison, as the pipeline generates them by itself."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

from rich.console import Console

from ..errors import ConfigError, PromptWarning
from ..pipelines.size import whole_size
from ..pixels import from_pil
from ..report.atomic import write_bytes
from . import models
from .job import OWN_OPTIONS, Job, check
from .names import file_stems, numbered
from .outcome import Result, held_out, one_seed, outcome, write
from .refusals import refusals_of
from .schema import Generate
from .screen import TimeLeft, busy, say, watched
from .sources import load_parser


def generate(settings: Generate, console: Console, notes: Console) -> None:
    """Generate, write, and say where on `console`; the estimate and the progress go to `notes`.

    Raises DyMOError; every file that is there is whole.
    """
    job = check(settings)

    import dymo

    from ..pipelines.checks import check_steps
    from ..report.png import png_bytes
    from ..report.sheet import Row, contact_sheet

    device = models.choose_device(settings.device)
    models.check_offload(settings.offload, device)
    if settings.graphs and not device.startswith("cuda"):
        raise ConfigError(f"--graphs needs CUDA, and the device is {device}: leave it out, or take --compile")
    extra = dict(job.overrides)
    models.quiet_libraries()
    if settings.parser != "spacy":
        extra["parser"] = load_parser(settings)
    with busy(notes, f"Loading {job.model_name} …"):
        pipe = models.load_pipeline(
            settings.model, settings.scheduler, settings.dtype, device, config=settings.config, variant=settings.variant,
            revision=settings.revision, loras=job.loras, unet=settings.unet, transformer=settings.transformer,
            offload=settings.offload, steered=True, call=job.call, withheld=OWN_OPTIONS,
        )  # fmt: skip
        check_steps(pipe.scheduler, job.call.get("num_inference_steps"))
        job = replace(job, call=whole_size(pipe, job.call))
        # Loaded here and not by its name in DyMO: --compare scores the final images by it.
        reward = dymo.load_reward(job.reward_name, checkpointing=job.config.checkpointing) if job.scores else None
        if settings.watch:
            extra |= {"watch": list(settings.watch), "on_hacking": settings.on_hacking}
        if settings.preview_vae is not None:
            extra["preview_vae"] = models.load_preview_vae(settings.preview_vae, pipe)
        if settings.compile or settings.graphs:
            extra["compile"] = job.compile
        aligner = dymo.DyMO(reward, preset=settings.preset, **extra)
    stems = dict(zip(job.prompts, file_stems(job.prompts), strict=True))
    runs = [(prompt, seed) for prompt in job.prompts for seed in job.seeds]
    steps = job.call.get("num_inference_steps") or models.call_default(pipe, "num_inference_steps")
    say(notes, _estimate(job, len(runs), steps))
    if settings.compile:
        say(notes, "Compiling: the first image waits for it, a minute or more")
    left, results = TimeLeft(len(runs)), []
    try:
        for prompt, seed in runs:
            result = _generate_one(job, pipe, aligner, reward, prompt, seed, steps, notes)
            write(job, pipe, result, settings.outdir / f"{stems[prompt]}-{seed:04d}")
            results.append(result)
            say(console, f"{result.files[0]}  {outcome(result)}", *one_seed(result.trace), *held_out(result.trace))
            if result.trace.cost.compile_seconds:
                say(notes, f"Compiled in {result.trace.cost.compile_seconds:.0f} s of it; the next image of this size starts at once")
            if remaining := left():
                say(notes, remaining)
    except KeyboardInterrupt:
        # What is finished is kept, with its sheet.
        raise KeyboardInterrupt(f"{len(results)} of {len(runs)} images are written to {settings.outdir}") from None
    finally:
        if settings.compare and results:
            path = numbered(settings.outdir / "sheet", [".png"], settings.overwrite).with_suffix(".png")
            rows = [Row(one.prompt, [one.unguided, one.aligned], f"seed {one.seed}") for one in results if one.unguided]
            sheet = png_bytes(contact_sheet(["unguided", "aligned"], rows))
            say(console, f"Contact sheet: {write_bytes(path, sheet)}")


def _estimate(job: Job, runs: int, steps: int | None) -> str:
    """ "8 images, about 77 to 308 evaluations (NFE) each": one a step, those of the seeds that are begun, and what time travel may add."""
    images = f"{runs} image{'s' * (runs > 1)}"
    if not steps:
        return images
    config, most = job.config, job.settings.budget_evaluations
    begun = _begun(job, steps)
    low, again = steps + begun, config.max_recurrences
    if config.recurrences != "dynamic":
        low, again = low * (1 + config.recurrences), config.recurrences
    high = None if again is None else (steps + begun) * (1 + again)
    if most is not None:
        high = max(low, most if high is None else min(high, most))
    each = f"at least {low}" if high is None else f"{low}" if low == high else f"{low} to {high}"
    unguided = f", and {steps} for the unguided one" if job.settings.compare else ""
    return f"{images}, {'about ' * bool(begun)}{each} evaluations (NFE) each{unguided}"


def _begun(job: Job, steps: int) -> int:
    """Evaluations of all seeds that are begun, were the noise levels t evenly spread over the steps."""
    config, settings = job.config, job.settings
    if not config.scouts or not config.preference_weight or settings.budget_seconds is not None:
        return 0
    begun = (1 + config.scouts) * math.ceil(steps * (1 - config.scout_until / 1000))
    return 0 if settings.budget_evaluations is not None and begun + steps > settings.budget_evaluations else begun


def _generate_one(
    job: Job, pipe: Any, aligner: Any, reward: Any, prompt: str, seed: int, steps: int | None, notes: Console
) -> Result:
    """One prompt and seed, aligned and, if asked for, unguided."""
    import torch

    import dymo

    from ..pipelines.images import with_images

    def generator() -> torch.Generator:
        # On the CPU, so that a seed gives the same image on every device.
        return torch.Generator("cpu").manual_seed(seed)

    settings, budget = job.settings, None
    if settings.budget_evaluations is not None or settings.budget_seconds is not None:
        budget = dymo.Budget(evaluations=settings.budget_evaluations, seconds=settings.budget_seconds)
    label = f"{prompt if len(prompt) <= 40 else prompt[:39] + '…'} · seed {seed}"
    with refusals_of(pipe, of_any_kind=settings.pipeline_kwargs is not None):
        unguided = with_images(pipe(generator=generator(), **_plain_call(job, pipe, prompt))).images[0] if settings.compare else None
        with watched(notes, label, steps) as watcher:
            output = aligner(
                pipe, prompt, graph=job.graph, budget=budget, generator=generator(), listeners=[watcher], **job.call
            )
    result = Result(prompt, seed, output.images[0], output.trace, unguided)
    if unguided is not None and reward is not None:
        from ..prompt.reading import read

        text = read(prompt, job.config.markup).text
        device = getattr(pipe, "_execution_device", "cpu")
        reward.to(device)
        images = from_pil([unguided, result.aligned]).to(device)
        with torch.no_grad():
            result.rewards = tuple(reward.score(images, [text] * 2).float().tolist())
    return result


def _plain_call(job: Job, pipe: Any, prompt: str) -> dict[str, Any]:
    """The pipeline's arguments for the same words as the aligned image's, which tells what there is to tell of them."""
    from ..wording import wording_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        return wording_of(pipe, {"prompt": prompt, **job.call}, job.config.truncation, job.config.markup).call(pipe)
