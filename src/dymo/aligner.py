"""The front door: a pipeline the user already has, run once, steered."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from .arguments import check_call, check_place, listed, watched_by_name
from .budget import Allotment, Budget
from .compiling import Compiling
from .config import PRESETS, Config, OnHacking
from .config import preset as preset_config
from .errors import ConfigError, PromptError, RewardError
from .events import Cancelled, Failed, Finished, Listener, tell
from .generation.call import Generation, check_gradient, check_share, gradient_of
from .guidance.objectives import Objective
from .guidance.schedule import stage
from .parts import Argument, Code, Setting
from .pipelines.calibration import Layer, calibrate
from .pipelines.calls import handed_on, hands_on, reached
from .pipelines.checks import check_arguments, check_generator, check_pipeline, check_steps, images_per_prompt
from .pipelines.families import family_of
from .pipelines.hold import held
from .prompt import load_parser
from .prompt.graph import SemanticGraph
from .rewards import RewardLike, is_differentiable, load_reward
from .trace import Trace
from .understanding import GraphLike, Parser, texts, understand
from .wording import wording_of

log = logging.getLogger(__name__)


class TracedTuple(tuple):
    """What a pipeline returns under `return_dict=False`, with the trace."""

    trace: Trace


class DyMO:
    """Aligns the images of a diffusers text-to-image pipeline with their prompts, at test time (arXiv 2412.00759).

    reward: a name, a folder, a `Reward`, a function f(images, prompts) -> (B,), a table of them with their weights, or
    None for no preference objective.
    preset: one of `dymo.PRESETS`; `overrides` replace single values of `Config`.
    parser: prompt -> SemanticGraph, or "spacy" (the default), "llm" or "transformers" for one with the usual settings.
    objectives: more to lower, each a `dymo.guidance.objectives.Objective`.
    preview_vae: an AutoencoderTiny (or another VAE of the same latent space) that decodes the predictions in place of
    the pipeline's own.
    watch: held-out rewards, in the same forms, that are scored on every accepted prediction the guide was scored on, and
    never followed. on_hacking: what happens when the guide rises while they fall: "warn"; "stop" guiding that image by
    the reward; or "best": the unguided image is generated as well, and of the two the one returned that the watched
    rewards put higher (in the mean of their units).

    compile: run the denoiser, the decoder and the reward through torch.compile, block by block; True, or the name of one of its
    backends. The first image of a size waits for it, a minute or more (`trace.cost.compile_seconds`); later ones of the process
    do not, and torch keeps what it compiled on disk. "graphs", on CUDA: the denoiser's forward and backward, the decoder and the
    reward are captured as CUDA graphs at their first evaluation in a run, and replayed. In a batch all images then take part in every
    evaluation. "graphs+inductor" (or another backend): likewise, and what is captured is compiled first: the decoder, the reward's
    layers, and a UNet's group normalisations and gated activations.

    Reusable, and it keeps no state between calls. Raises ConfigError and RewardError on settings that cannot be used.

        aligner = DyMO(reward="pickscore", preset="fast")
        output = aligner(pipe, "a red apple and a green car", num_inference_steps=50)
        output.images[0], output.trace
    """

    def __init__(
        self,
        reward: RewardLike | None = "pickscore",
        preset: str = "default",
        parser: Parser | str | None = None,
        *,
        objectives: Sequence[Objective] = (),
        preview_vae: torch.nn.Module | None = None,
        watch: RewardLike | Sequence[RewardLike] = (),
        on_hacking: OnHacking = "warn",
        compile: bool | str = False,
        **overrides: Any,
    ):
        check_place(overrides, _of_the_call())
        self.config: Config = preset_config(preset, **overrides)
        self.preset, self.asked = preset, frozenset(overrides)
        wanted = reward is not None and self.config.preference_weight > 0
        checkpointing = self.config.checkpointing
        self.reward = load_reward(reward, checkpointing=checkpointing) if wanted and reward is not None else None
        if self.reward is not None and not is_differentiable(self.reward):
            raise RewardError(
                f"{self.reward.name} is a black box: without a gradient to the images it cannot guide. Watch it (",
                Setting("watch", self.reward.name),
                "), measure with it (dymo score), or choose among images by it; to guide, give a differentiable reward",
            )
        if parser is not None and not isinstance(parser, str) and not callable(parser):
            raise ConfigError(Setting("parser", parser), ": give a function, or one of spacy, llm, transformers")
        self.watched = watched_by_name(watch, self.reward, on_hacking)
        self.on_hacking: OnHacking = on_hacking
        self.parser: Parser = load_parser(parser) if isinstance(parser, str) else parser or _parse
        self.objectives = list(objectives)
        for objective in self.objectives:
            if not hasattr(objective, "needs"):
                raise ConfigError(
                    Setting("objectives", Code(f"[{objective!r}]")),
                    ": give objects like dymo.guidance.objectives.Objective, with name, needs, loss(seen)",
                )
        if preview_vae is not None and not isinstance(preview_vae, torch.nn.Module):
            raise ConfigError(
                Setting("preview_vae", Code(f"{preview_vae!r}")), f": give the loaded VAE, as AutoencoderTiny.from_pretrained({str(preview_vae)!r})",
            )
        self.preview_vae = preview_vae
        self.compiling = Compiling.read(compile)

    def __repr__(self) -> str:
        base = PRESETS[self.preset]
        shown: dict[str, Any] = {"reward": None if self.reward is None else self.reward.name, "preset": self.preset}
        shown |= {k: v for k, v in dataclasses.asdict(self.config).items() if v != getattr(base, k)}
        if self.watched:
            shown |= {"watch": list(self.watched), "on_hacking": self.on_hacking}
        if self.preview_vae is not None:
            shown["preview_vae"] = type(self.preview_vae).__name__
        if self.compiling.said:
            shown["compile"] = self.compiling.said
        return f"DyMO({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __call__(
        self,
        pipe: Any,
        prompt: str | Sequence[str] | None = None,
        *,
        graph: GraphLike | Sequence[GraphLike] | None = None,
        budget: Budget | None = None,
        listeners: Iterable[Listener] = (),
        cancel: threading.Event | None = None,
        **pipeline_kwargs: Any,
    ) -> Any:
        """Run `pipe` once, steered; everything in `pipeline_kwargs` reaches it untouched.

        prompt: as people write it: of any length, with weights as "(red:1.3)" (`dymo.prompt.reading`). Beside
        `prompt_embeds=` it says in words what these embed, and the pipeline is given the embeddings alone.
        graph: what the prompt says, if not to be parsed: a SemanticGraph, its JSON, or one a prompt.
        budget: what an image may spend. listeners: called with each event (`dymo.events`). cancel: when set, also from
        another thread, the run ends after the present step, with the images as they are then; so does `pipe._interrupt`.
        Returns the pipeline's own output with a `trace`; with `return_dict=False` the pipeline's own tuple, which then
        has the `trace` as its attribute. The pipeline is as before afterwards, also after an exception. Raises
        PromptError, PipelineError, ConfigError or RewardError, before any denoising where possible.
        """
        began = time.perf_counter()
        check_call(prompt, budget, cancel)
        listeners = listed(listeners)
        if hands_on(pipe):  # what reaches the loop is what is read
            given = pipeline_kwargs if prompt is None else {"prompt": prompt, **pipeline_kwargs}

            def steered(own: dict[str, Any]) -> tuple[Any, Trace]:
                output = self(pipe, graph=graph, budget=budget, listeners=listeners, cancel=cancel, **own)
                return output, output.trace

            return _traced(*handed_on(pipe, given, steered))
        check_pipeline(pipe, self.config, self.config.semantic_weight > 0)
        config = self._config_for(pipe)
        check_gradient(self, pipe, config)
        check_arguments(type(pipe), pipeline_kwargs, _of_the_call())
        check_generator(pipeline_kwargs.get("generator"))
        check_steps(pipe.scheduler, pipeline_kwargs.get("num_inference_steps"))
        if prompt is not None:
            pipeline_kwargs["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        check_share(self, pipe, config, pipeline_kwargs)
        repeats = images_per_prompt(pipeline_kwargs.get("num_images_per_prompt"))
        said = wording_of(pipe, pipeline_kwargs, self.config.truncation, self.config.markup)
        graphs, pairs = understand(pipe, said, graph, config, self.parser)
        prompts, read = texts(said, graphs, [r for r in (self.reward, *self.watched.values()) if r is not None])
        samples = [i for i in range(said.count) for _ in range(repeats)]
        trace = Trace(
            prompts=[prompts[i] for i in samples],
            texts=[read[i] for i in samples],
            graphs=[_plain(graphs[i]) for i in samples],
            config=dataclasses.asdict(config),
            truncated=[list(pairs[i].truncated) for i in samples],
        )
        allotment = Allotment(budget or Budget(), began=began)
        try:
            with held(pipe, (family_of(pipe).denoiser(pipe), pipe.scheduler)):
                output = Generation(
                    self, config, pipe, trace, [pairs[i] for i in samples], said.call(pipe), allotment, listeners, cancel
                ).run()
        except BaseException as error:
            tell(listeners, Failed(error))
            raise
        trace.cost.seconds = time.perf_counter() - began
        log.info("%d images in %.1f s, evaluations %s", len(samples), trace.cost.seconds, trace.evaluations)
        output = _traced(output, trace)
        if trace.cancelled:
            tell(listeners, Cancelled(trace.steps[-1].index if trace.steps else -1))
        tell(listeners, Finished(trace))
        return output

    def layers(
        self, pipe: Any, prompt: str | Sequence[str], *, graph: GraphLike | Sequence[GraphLike] | None = None, seed: int = 0,
        **pipeline_kwargs: Any,
    ) -> list[Layer]:
        """How well each attention layer shows, while the layout is decided, where the prompt's things will be.

        For `map_layers=`: see `dymo.pipelines.calibration`. The pipeline runs unguided, once for each size of its maps, with noise
        of `seed`, and is as before afterwards. Raises PromptError without a word that has maps, PipelineError, ConfigError.
        """
        if hands_on(pipe):

            def compared(own: dict[str, Any]) -> list[Layer]:
                texts = own.pop("prompt", None)
                return self.layers(pipe, prompt if texts is None else texts, graph=graph, seed=seed, **own)

            return reached(pipe, {"prompt": prompt, **pipeline_kwargs}, compared)
        check_pipeline(pipe, self.config, True)
        check_arguments(type(pipe), pipeline_kwargs, _of_the_call())
        check_steps(pipe.scheduler, pipeline_kwargs.get("num_inference_steps"))
        if "generator" in pipeline_kwargs:
            raise ConfigError(Argument("generator"), ": the runs are compared, so all start from the noise of ", Setting("seed"), "; give that")
        pipeline_kwargs |= {"prompt": prompt if isinstance(prompt, str) else list(prompt), "output_type": "latent"}
        said = wording_of(pipe, pipeline_kwargs, self.config.truncation, self.config.markup)
        _, pairs = understand(pipe, said, graph, self.config, self.parser)
        repeats = images_per_prompt(pipeline_kwargs.get("num_images_per_prompt"))
        words = [pairs[i].words for i in range(said.count) for _ in range(repeats)]
        if not any(words):
            raise PromptError(f"{prompt!r} names nothing whose maps could be compared")
        denoiser = family_of(pipe).denoiser(pipe)
        with held(pipe, (denoiser, pipe.scheduler)), torch.no_grad():
            return calibrate(
                pipe, words, lambda now: stage(self.config, now) in ("semantic", "mixed"), seed, **said.call(pipe)
            )

    def _config_for(self, pipe: Any) -> Config:
        """The settings with what is left to the pipeline's family filled in."""
        return self.config if self.config.gradient != "auto" else dataclasses.replace(self.config, gradient=gradient_of(pipe))


def _of_the_call() -> list[str]:
    """The arguments of `DyMO.__call__` that have a name of their own."""
    parameters = inspect.signature(DyMO.__call__).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD]


def _traced(output: Any, trace: Trace) -> Any:
    """What a pipeline returned, with the trace; what takes no attribute, as a list that a class's own call returns, as it is."""
    if isinstance(output, tuple) and not hasattr(output, "images"):
        output = TracedTuple(output)
    if hasattr(output, "__dict__"):
        output.trace = trace
    return output


def _plain(graph: SemanticGraph | None) -> dict | None:
    return None if graph is None else json.loads(graph.to_json())


def _parse(prompt: str) -> SemanticGraph:
    from .prompt import parse

    return parse(prompt)
