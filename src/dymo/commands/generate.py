"""`dymo generate`: the user's prompts, aligned and, for comparison, as the pipeline generates them by itself."""

from __future__ import annotations

import logging
import math
import traceback
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..config import Config
from ..errors import ConfigError, DyMOError, PipelineError, PromptError, PromptWarning
from ..miniature import MINIATURE_DEFAULTS
from ..pipelines.sampler_names import sampler_name
from ..pipelines.size import whole_size
from ..pixels import from_pil
from ..report.atomic import write_bytes, write_text
from ..report.outdir import check_outdir
from . import models, options
from .names import file_stems, numbered
from .schema import RECORDED, Generate
from .screen import TimeLeft, busy, say, watched
from .sources import (
    check_lora,
    check_model,
    check_parser,
    check_reward,
    check_source,
    check_unet,
    load_parser,
    text_width,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..prompt.graph import SemanticGraph
    from ..trace import Trace

logger = logging.getLogger(__name__)

OWN_OPTIONS = (*options.OF_THE_RUN, *models.OPTIONS)
ENDINGS = (".png", "-unguided.png", "-trace.json", "-trace.png")


@dataclass(frozen=True)
class Job:
    """Settings that were found sound, and what was read from them."""

    settings: Generate
    prompts: list[str]
    seeds: list[int]
    config: Config
    overrides: dict[str, Any]
    call: dict[str, Any]
    """Keyword arguments of the pipeline, without prompt and generator."""
    loras: list[tuple[str, float]]
    graph: SemanticGraph | None

    @property
    def model_name(self) -> str:
        return self.settings.model or RECORDED

    @property
    def reward_name(self) -> str:
        return self.settings.reward or ("pickscore" if self.settings.model else "mini-pickscore")

    @property
    def scores(self) -> bool:
        """Whether a reward is loaded: one guides, or was asked for."""
        return self.config.preference_weight > 0 or self.settings.reward is not None


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


def check(settings: Generate) -> Job:
    """Everything that can be wrong before a model is loaded. Raises DyMOError; writes nothing."""
    from ..prompt.reading import read

    prompts = list(dict.fromkeys(options.read_prompts("dymo generate", settings.prompts, settings.file)))
    truncation = [f"truncation={settings.truncation}"] if settings.truncation else []
    config, overrides = options.read_config(settings.preset, [*settings.set, *truncation])
    seeds = options.read_seeds(settings.seeds)
    models.check_choices(settings.scheduler, settings.dtype, auto=True)
    options.check_positive(
        steps=settings.steps, budget_evaluations=settings.budget_evaluations, budget_seconds=settings.budget_seconds
    )
    options.check_finite(guidance_scale=settings.guidance_scale)
    options.check_size(height=settings.height, width=settings.width)
    call = options.read_pipeline_kwargs(settings.pipeline_kwargs, OWN_OPTIONS)
    if settings.graph is not None and (settings.parser != "spacy" or settings.parser_model or settings.base_url):
        raise ConfigError(f"--graph {settings.graph} says what the prompt means: leave out --parser and its options")
    check_parser(settings)
    graph = None
    if settings.graph is not None:
        said = f"--graph {settings.graph}: it"
        if len(prompts) != 1:
            raise ConfigError(f"{said} describes one prompt, but {len(prompts)} are given; run them one by one")
        graph = options.read_graph(settings.graph)
        if graph.prompt not in (prompts[0], read(prompts[0], config.markup).text):
            raise PromptError(f"{said} is for the prompt {graph.prompt!r}, not {prompts[0]!r}; change one")
    if settings.on_hacking != "warn" and not settings.watch:
        raise ConfigError(
            f"--on-hacking {settings.on_hacking} goes by held-out rewards: add --watch hpsv2.1, or another"
        )
    loras = options.read_loras(settings.loras)
    readings = [read(text, config.markup) for text in [*prompts, settings.negative_prompt or ""]]
    for reading in readings:
        reading.check()
    steps = settings.steps or (MINIATURE_DEFAULTS["num_inference_steps"] if settings.model is None else None)
    if settings.budget_evaluations is not None and steps is not None and settings.budget_evaluations < steps:
        raise ConfigError(
            f"--budget-evaluations {settings.budget_evaluations} is less than the {steps} steps of the trajectory, which is never cut short: "
            "raise it, or lower --steps"
        )
    check_outdir(settings.outdir)
    if settings.model is None:
        call = {**MINIATURE_DEFAULTS, **call}
        options.check_no_files(settings.config, settings.variant, settings.revision)
        for reading in readings:
            options.check_miniature_words(reading.text)
    else:
        check_model(settings.model, settings.config, settings.variant, settings.revision)
    if loras:
        width = text_width(settings.model, settings.config)
        for source, _ in loras:
            check_lora(source, settings.model, width=width)
    if settings.unet is not None:
        check_unet(settings.unet)
    if settings.preview_vae is not None:
        check_source("--preview-vae", settings.preview_vae, ["config.json"], "AutoencoderTiny")
    models.check_offload(settings.offload, settings.device or "")
    if settings.graphs and settings.offload != "none":
        raise ConfigError(f"--graphs needs the denoiser's weights where they are, and --offload {settings.offload} moves them: leave out one")
    straight = config.preference_weight == 0 or config.gradient == "straight-through"
    if settings.offload == "model" and settings.preview_vae is None and not straight:
        raise ConfigError(
            "--offload model would move the denoiser away while its gradient is needed: add --preview-vae (an "
            "AutoencoderTiny, as madebyollin/taesd), or take --offload sequential, or --set gradient=straight-through"
        )
    given = {name: getattr(settings, name) for name in models.OPTIONS}
    given["num_inference_steps"] = settings.steps
    call |= {name: value for name, value in given.items() if value is not None}
    job = Job(settings, prompts, seeds, config, overrides, call, loras, graph)
    # Last, since the names of rewards from packages are known after an import that takes seconds.
    if job.scores:
        check_reward("--reward", job.reward_name, guides=config.preference_weight > 0)
    for name in settings.watch:
        check_reward("--watch", name)
    return job


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
            revision=settings.revision, loras=job.loras, unet=settings.unet, offload=settings.offload, steered=True, call=job.call,
            withheld=OWN_OPTIONS,
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
            extra["compile"] = _compile(settings)
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
            _write(job, pipe, result, settings.outdir / f"{stems[prompt]}-{seed:04d}")
            results.append(result)
            say(console, f"{result.files[0]}  {_outcome(result)}", *_held_out(result.trace))
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
    try:
        unguided = with_images(pipe(generator=generator(), **_plain_call(job, pipe, prompt))).images[0] if settings.compare else None
        with watched(notes, label, steps) as watcher:
            output = aligner(
                pipe, prompt, graph=job.graph, budget=budget, generator=generator(), listeners=[watcher], **job.call
            )
    except DyMOError:
        raise
    except (ValueError, TypeError) as error:
        if not _refused_by_diffusers(error):
            raise
        raise PipelineError(f"{type(pipe).__name__} refuses this: {error}") from error
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


def _refused_by_diffusers(error: Exception) -> bool:
    """Whether diffusers itself raised this (its checks of the inputs), or the call did not fit its signature."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    raised_in = frame.f_globals.get("__name__", "")
    return raised_in.partition(".")[0] == "diffusers" or "unexpected keyword argument" in str(error)


def _write(job: Job, pipe: Any, result: Result, stem: Path) -> None:
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
        "scheduler": settings.scheduler, "lora": [list(one) for one in job.loras], "unet": settings.unet,
        "call": job.call, "aligned": preset is not None,
    }  # fmt: skip
    if preset is not None:
        record |= {
            "preset": preset, "overrides": job.overrides, "reward": job.reward_name, "watch": list(settings.watch),
            "on_hacking": settings.on_hacking, "preview_vae": settings.preview_vae,
            "compile": _compile(settings),
            "graph": result.trace.graphs[0],
            "budget": {"evaluations": settings.budget_evaluations, "seconds": settings.budget_seconds},
            "evaluations": result.trace.evaluations[0], "seconds": round(result.trace.cost.seconds, 3),
        }  # fmt: skip
    return record


def _compile(settings: Generate) -> bool | str:
    """DyMO's `compile=`."""
    from ..compiling import Compiling

    return Compiling("inductor" if settings.compile else None, settings.graphs).said


def _outcome(result: Result) -> str:
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


def _held_out(trace: Trace) -> list[str]:
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
