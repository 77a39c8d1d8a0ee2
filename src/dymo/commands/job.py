"""What `dymo generate` is asked to do, found sound before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..errors import ConfigError, PromptError
from ..miniature import MINIATURE_DEFAULTS
from ..parts import Option
from ..report.outdir import check_outdir
from . import models, options
from .schema import RECORDED, Generate
from .sources import check_loras, check_model, check_parser, check_preview_vae, check_reward, check_unet
from .transformer import check_transformer

if TYPE_CHECKING:
    from ..prompt.graph import SemanticGraph

OWN_OPTIONS = (*options.OF_THE_RUN, *models.OPTIONS)


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
        """What `--model` names; the word for the embedded miniature where it names nothing."""
        return self.settings.model or RECORDED

    @property
    def reward_name(self) -> str:
        """The reward asked for, else the default: `pickscore`, for the miniature its own."""
        return self.settings.reward or ("pickscore" if self.settings.model else "mini-pickscore")

    @property
    def scores(self) -> bool:
        """Whether a reward is loaded: one guides, or was asked for."""
        return self.config.preference_weight > 0 or self.settings.reward is not None

    @property
    def compile(self) -> bool | str:
        """DyMO's `compile=`."""
        from ..compiling import Compiling

        return Compiling("inductor" if self.settings.compile else None, self.settings.graphs).said


def check(settings: Generate) -> Job:
    """Everything that can be wrong before a model is loaded. Raises DyMOError; writes nothing."""
    prompts = list(dict.fromkeys(options.read_prompts("dymo generate", settings.prompts, settings.file)))
    config, overrides = options.read_config(settings.preset, settings.set, truncation=settings.truncation)
    seeds = options.read_seeds(settings.seeds)
    call = _call_of(settings)
    graph = _graph_of(settings, prompts, config)
    if settings.on_hacking != "warn" and not settings.watch:
        raise ConfigError(
            f"--on-hacking {settings.on_hacking} goes by held-out rewards: add --watch hpsv2.1, or another"
        )
    loras = options.read_loras(settings.loras)
    texts = _texts_of(settings, prompts, config)
    _check_budget(settings)
    check_outdir(settings.outdir)
    _check_weights(settings, texts, loras)
    _check_device(settings, config)
    job = Job(settings, prompts, seeds, config, overrides, call, loras, graph)
    _check_rewards(job)
    return job


def _call_of(settings: Generate) -> dict[str, Any]:
    """The pipeline's arguments. Raises ConfigError on a value out of range."""
    models.check_choices(settings.scheduler, settings.dtype, auto=True)
    options.check_steps(settings.steps)
    options.check_positive(budget_evaluations=settings.budget_evaluations, budget_seconds=settings.budget_seconds)
    options.check_finite(guidance_scale=settings.guidance_scale)
    options.check_size(height=settings.height, width=settings.width)
    call = {} if settings.model else MINIATURE_DEFAULTS
    given = {name: getattr(settings, name) for name in models.OPTIONS}
    given["num_inference_steps"] = settings.steps
    return {
        **call, **options.read_pipeline_kwargs(settings.pipeline_kwargs, OWN_OPTIONS),
        **{name: value for name, value in given.items() if value is not None},
    }  # fmt: skip


def _graph_of(settings: Generate, prompts: Sequence[str], config: Config) -> SemanticGraph | None:
    """The graph of --graph, None without. Raises ConfigError and PromptError where it is another prompt's, or a parser is named too."""
    from ..prompt.reading import read

    if settings.graph is not None and (settings.parser != "spacy" or settings.parser_model or settings.base_url):
        raise ConfigError(f"--graph {settings.graph} says what the prompt means: leave out --parser and its options")
    check_parser(settings)
    if settings.graph is None:
        return None
    said = f"--graph {settings.graph}: it"
    if len(prompts) != 1:
        raise ConfigError(f"{said} describes one prompt, but {len(prompts)} are given; run them one by one")
    graph = options.read_graph(settings.graph)
    if graph.prompt not in (prompts[0], read(prompts[0], config.markup).text):
        raise PromptError(f"{said} is for the prompt {graph.prompt!r}, not {prompts[0]!r}; change one")
    return graph


def _texts_of(settings: Generate, prompts: Sequence[str], config: Config) -> list[str]:
    """The prompts and the negative one without the marks of weights. Raises PromptError on marks that cannot be followed."""
    from ..prompt.reading import read

    readings = [read(text, config.markup) for text in [*prompts, settings.negative_prompt or ""]]
    for reading in readings:
        reading.check()
    return [reading.text for reading in readings]


def _check_budget(settings: Generate) -> None:
    steps = settings.steps or (MINIATURE_DEFAULTS["num_inference_steps"] if settings.model is None else None)
    if settings.budget_evaluations is not None and steps is not None and settings.budget_evaluations < steps:
        raise ConfigError(
            f"--budget-evaluations {settings.budget_evaluations} is less than the {steps} steps of the trajectory, which is never cut short: "
            "raise it, or lower --steps"
        )


def _check_weights(settings: Generate, texts: Sequence[str], loras: Sequence[tuple[str, float]]) -> None:
    """Raises DyMOError where the model, or what is put into it, is not there, or does not fit; or knows no word of the texts."""
    if settings.model is None:
        options.check_no_files(settings.config, settings.variant, settings.revision)
        for text in texts:
            options.check_miniature_words(text)
    else:
        check_model(settings.model, settings.config, settings.variant, settings.revision, settings.transformer)
    check_loras(loras, settings.model, settings.config)
    if settings.unet is not None:
        check_unet(settings.unet)
    if settings.transformer is not None:
        check_transformer(settings.transformer, settings.model)
    check_preview_vae(settings.preview_vae)


def _check_device(settings: Generate, config: Config) -> None:
    """Raises ConfigError where weights would be moved away from where they are needed."""
    models.check_offload(settings.offload, settings.device or "")
    if settings.graphs and settings.offload != "none":
        raise ConfigError(f"--graphs needs the denoiser's weights where they are, and --offload {settings.offload} moves them: leave out one")
    straight = config.preference_weight == 0 or config.gradient == "straight-through"
    if settings.offload == "model" and settings.preview_vae is None and not straight:
        raise ConfigError(
            "--offload model would move the denoiser away while its gradient is needed: add --preview-vae (an "
            "AutoencoderTiny, as madebyollin/taesd), or take --offload sequential, or --set gradient=straight-through"
        )


def _check_rewards(job: Job) -> None:
    """Last, since the names of rewards from packages are known after an import that takes seconds."""
    if job.scores:
        check_reward(Option("reward"), job.reward_name, guides=job.config.preference_weight > 0)
    for name in job.settings.watch:
        check_reward(Option("watch"), name)
