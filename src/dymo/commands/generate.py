"""`dymo generate`: the user's prompts, aligned and, for comparison, as the pipeline paints them by itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..config import Config
from ..errors import ConfigError, DyMOError, PipelineError, PromptError
from ..miniature import MINIATURE_DEFAULTS
from ..report.atomic import write_bytes, write_text
from ..report.outdir import check_outdir
from . import models, options
from .defaults import MINIATURE_NAME
from .names import file_stems
from .parsers import ParserChoice
from .progress import shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..prompt import Parser
    from ..prompt.graph import SemanticGraph
    from ..trace import Trace

OWN_OPTIONS = (
    "prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "height", "width", "generator",
    "num_images_per_prompt", "output_type", "return_dict",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What the command line asked for, as it was written."""

    prompts: Sequence[str]
    model: str | None = None
    """None is the embedded miniature."""
    reward: str | None = None
    watch: Sequence[str] = ()
    on_hacking: str = "warn"
    preset: str = "paper"
    settings: Sequence[str] = ()
    seeds: str = "0"
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    scheduler: str | None = None
    height: int | None = None
    width: int | None = None
    dtype: str | None = None
    device: str | None = None
    lora: str | None = None
    unet: str | None = None
    graph: Path | None = None
    parser: ParserChoice = field(default_factory=ParserChoice)
    budget_evaluations: int | None = None
    budget_seconds: float | None = None
    pipeline_kwargs: str | None = None
    preview_vae: str | None = None
    compare: bool = False
    outdir: Path = Path("outputs")


@dataclass(frozen=True)
class Plan:
    """A request that was found sound."""

    request: Request
    prompts: list[str]
    seeds: list[int]
    config: Config
    overrides: dict[str, Any]
    call: dict[str, Any]
    """Keyword arguments of the pipeline, without prompt and generator."""
    graph: SemanticGraph | None

    @property
    def model_name(self) -> str:
        return self.request.model or MINIATURE_NAME

    @property
    def reward_name(self) -> str:
        return self.request.reward or ("pickscore" if self.request.model else "mini-pickscore")


@dataclass
class Result:
    """One prompt and seed."""

    prompt: str
    seed: int
    aligned: Image
    trace: Trace
    unguided: Image | None = None
    files: list[Path] = field(default_factory=list)


def check(request: Request) -> Plan:
    """Everything that can be wrong before a model is loaded. Raises DyMOError; writes nothing."""
    prompts = options.read_prompts(request.prompts)
    config, overrides = options.read_config(request.preset, request.settings)
    seeds = options.read_seeds(request.seeds)
    models.check_choices(request.scheduler, request.dtype)
    options.check_positive(
        steps=request.steps, budget_evaluations=request.budget_evaluations, budget_seconds=request.budget_seconds
    )
    options.check_size(height=request.height, width=request.width)
    call = options.read_pipeline_kwargs(request.pipeline_kwargs, OWN_OPTIONS)
    if request.graph is not None and request.parser != ParserChoice():
        raise ConfigError(
            f"--graph {request.graph} says what the prompt means: leave out --parser and what belongs to it"
        )
    request.parser.check()
    graph = _read_graph(request.graph, prompts)
    options.check_watch(request.watch, request.on_hacking)
    check_outdir(request.outdir)
    if request.model is None:
        call = {**MINIATURE_DEFAULTS, **call}
    given = {
        "num_inference_steps": request.steps, "guidance_scale": request.guidance_scale, "height": request.height,
        "width": request.width, "negative_prompt": request.negative_prompt,
    }  # fmt: skip
    call |= {name: value for name, value in given.items() if value is not None}
    return Plan(request, prompts, seeds, config, overrides, call, graph)


def generate(request: Request, console: Console) -> list[Result]:
    """Paint, write, and say where. Raises DyMOError; every file that is there is whole."""
    plan = check(request)
    device = models.choose_device(request.device)
    parser = None if request.parser == ParserChoice() else request.parser.load()
    with console.status(f"Loading {plan.model_name} …") if console.is_terminal else nullcontext():
        models.quiet_libraries()
        pipe = models.load_pipeline(request.model, request.scheduler, request.dtype, device, request.lora, request.unet)
        aligner = _aligner(plan, pipe, parser)
    stems = dict(zip(plan.prompts, file_stems(plan.prompts), strict=True))
    results = []
    for prompt in dict.fromkeys(plan.prompts):
        for seed in plan.seeds:
            result = _paint(plan, pipe, aligner, prompt, seed, console)
            _write(plan, pipe, result, request.outdir / f"{stems[prompt]}-{seed:04d}")
            said = "\n".join([f"{result.files[0]}  {_outcome(result.trace)}", *_held_out(result.trace)])
            console.print(said, markup=False, highlight=False, soft_wrap=True)
            results.append(result)
    if request.compare:
        path = write_bytes(request.outdir / "sheet.png", _sheet(results))
        console.print(f"Contact sheet: {path}", markup=False, highlight=False, soft_wrap=True)
    return results


def _read_graph(path: Path | None, prompts: Sequence[str]) -> SemanticGraph | None:
    if path is None:
        return None
    if len(prompts) != 1:
        raise ConfigError(f"--graph {path}: it describes one prompt, but {len(prompts)} are given; run them one by one")
    graph = options.read_graph(path)
    if graph.prompt != prompts[0]:
        raise PromptError(f"--graph {path}: it is for the prompt {graph.prompt!r}, not {prompts[0]!r}; change one")
    return graph


def _aligner(plan: Plan, pipe: Any, parser: Parser | None) -> Any:
    import dymo

    extra = dict(plan.overrides)
    if plan.request.watch:
        extra |= {"watch": list(plan.request.watch), "on_hacking": plan.request.on_hacking}
    if parser is not None:
        extra["parser"] = parser
    if plan.request.preview_vae is not None:
        extra["preview_vae"] = models.load_preview_vae(plan.request.preview_vae, pipe)
    return dymo.DyMO(plan.reward_name, preset=plan.request.preset, **extra)


def _paint(plan: Plan, pipe: Any, aligner: Any, prompt: str, seed: int, console: Console) -> Result:
    """One prompt and seed, aligned and, if asked for, unguided."""
    import torch

    import dymo

    def generator() -> torch.Generator:
        # On the CPU, so that a seed paints the same picture on every device.
        return torch.Generator("cpu").manual_seed(seed)

    request = plan.request
    budget = None
    if request.budget_evaluations is not None or request.budget_seconds is not None:
        budget = dymo.Budget(evaluations=request.budget_evaluations, seconds=request.budget_seconds)
    steps = plan.call.get("num_inference_steps") or models.call_default(pipe, "num_inference_steps")
    label = f"{prompt if len(prompt) <= 40 else prompt[:39] + '…'} · seed {seed}"
    try:
        unguided = pipe(prompt, generator=generator(), **plan.call).images[0] if request.compare else None
        with shown(console, label, steps) as course:
            output = aligner(
                pipe,
                prompt,
                graph=plan.graph,
                budget=budget,
                on_step=course.on_step,
                generator=generator(),
                **plan.call,
            )
    except DyMOError:
        raise
    except (ValueError, TypeError) as error:
        if not refused_by_diffusers(error):
            raise
        raise PipelineError(f"{type(pipe).__name__} refuses this: {error}") from error
    return Result(prompt, seed, output.images[0], output.trace, unguided)


def refused_by_diffusers(error: BaseException) -> bool:
    """Whether diffusers itself raised this (its checks of the inputs), or the call did not fit its signature."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return raised_in.partition(".")[0] == "diffusers" or "unexpected keyword argument" in str(error)


def _write(plan: Plan, pipe: Any, result: Result, stem: Path) -> None:
    """The pictures of one run, its trace and its plot."""
    from ..report.plot import plot_trace
    from ..report.png import Parameters, save_png

    def save(image: Image, path: Path, preset: str | None) -> None:
        scale, steps = (
            plan.call.get(name, models.call_default(pipe, name)) for name in ("guidance_scale", "num_inference_steps")
        )
        negative = plan.call.get("negative_prompt", "")
        parameters = Parameters(
            result.prompt, negative, steps, models.sampler_name(pipe.scheduler), scale, result.seed,
            image.width, image.height, plan.model_name, preset,
        )  # fmt: skip
        result.files.append(save_png(image, path, parameters, _record(plan, result, preset)))

    save(result.aligned, stem.with_name(f"{stem.name}.png"), plan.request.preset)
    if result.unguided is not None:
        save(result.unguided, stem.with_name(f"{stem.name}-unguided.png"), None)
    result.files.append(write_text(stem.with_name(f"{stem.name}-trace.json"), result.trace.to_json()))
    result.files.append(write_bytes(stem.with_name(f"{stem.name}-trace.png"), plot_trace(result.trace)))


def _record(plan: Plan, result: Result, preset: str | None) -> dict[str, Any]:
    """What is needed to paint this picture again."""
    record: dict[str, Any] = {
        "prompt": result.prompt,
        "seed": result.seed,
        "model": plan.model_name,
        "scheduler": plan.request.scheduler,
        "lora": plan.request.lora,
        "unet": plan.request.unet,
        "call": plan.call,
        "aligned": preset is not None,
    }
    if preset is not None:
        record |= {
            "preset": preset,
            "overrides": plan.overrides,
            "reward": plan.reward_name,
            "watch": list(plan.request.watch),
            "on_hacking": plan.request.on_hacking,
            "graph": result.trace.graphs[0] if result.trace.graphs else None,
            "budget": {"evaluations": plan.request.budget_evaluations, "seconds": plan.request.budget_seconds},
            "evaluations": result.trace.evaluations[0] if result.trace.evaluations else None,
            "seconds": round(result.trace.cost.seconds, 3),
        }
    return record


def _outcome(trace: Trace) -> str:
    """ "reward 0.41 → 0.62 · 61 evaluations · 12.3 s"."""
    rewards = [step.reward[0] for step in trace.steps if step.reward and step.reward[0] is not None]
    parts = [f"reward {rewards[0]:.3f} → {rewards[-1]:.3f}"] if rewards else []
    parts += [f"{trace.evaluations[0]} evaluations"] if trace.evaluations else []
    return " · ".join([*parts, f"{trace.cost.seconds:.1f} s"])


def _held_out(trace: Trace) -> list[str]:
    """What the watched rewards said of the one picture: which end was returned, or their course; [] where none watched."""
    if trace.returned:
        scores = (
            f"{name} aligned {ends['aligned'][0]:.3f}, unguided {ends['unguided'][0]:.3f}"
            for name, ends in trace.ends.items()
        )
        return [f"  returned the {trace.returned[0]} picture: {'; '.join(scores)}"]
    courses: dict[str, list[float]] = {}
    for step in trace.steps:
        for name, values in step.watched.items():
            if values[0] is not None:
                courses.setdefault(name, []).append(values[0])
    if not courses:
        return []
    said = [f"{name} {values[0]:.3f} → {values[-1]:.3f}" for name, values in courses.items()]
    alarm = f" · reward hacking from step {trace.hacked[0] + 1} on" if 0 in trace.hacked else ""
    return [f"  watched: {'; '.join(said)}{alarm}"]


def _sheet(results: Sequence[Result]) -> bytes:
    from ..report.png import png_bytes
    from ..report.sheet import Row, contact_sheet

    rows = [
        Row(result.prompt, [result.unguided, result.aligned], note=f"seed {result.seed}")
        for result in results
        if result.unguided is not None
    ]
    return png_bytes(contact_sheet(["unguided", "aligned"], rows))
