"""The front door: a pipeline the user already has, run once, steered."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from numbers import Integral
from typing import Any, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .budget import Allotment, Budget
from .config import PRESETS, Config, Gradient, OnHacking
from .config import preset as preset_config
from .errors import ConfigError, PromptError, PromptWarning, RewardError
from .events import Cancelled, Compiled, Event, Failed, Finished, Listener, Started
from .guidance.loop import Timestep
from .guidance.objectives import Objective, Preference, SemanticAlignment
from .guidance.schedule import stage
from .guidance.watch import Watch
from .methods.dymo import dymo, rehearse
from .methods.few_steps import MOST, few_steps
from .methods.unguided import unguided
from .pipelines.calibration import Layer, calibrate
from .pipelines.checks import check_arguments, check_offload, check_pipeline
from .pipelines.compiled import compiled, with_compiled
from .pipelines.decode import decoder, decoding_vae
from .pipelines.families import Encoder, arguments, family_of
from .pipelines.families.transformer import Transformer
from .pipelines.hold import checkpointed, frozen, held
from .pipelines.images import Noise, exchange, images_of
from .pipelines.loop import PipelineLoop
from .pipelines.weights import check_weights, keeps_weights, quantised
from .prompt import load_parser
from .prompt.encoders import joint_pairs
from .prompt.graph import SemanticGraph
from .prompt.reading import read
from .prompt.tokens import TokenPairs
from .recorder import Recorder
from .rewards import (
    BlackBoxReward,
    CombinedReward,
    FunctionReward,
    Reward,
    RewardLike,
    is_differentiable,
    layers_of,
    load_reward,
    placed,
    prompt_readers,
    scale_of,
)
from .scouts import choose
from .trace import Trace
from .wording import Wording, word

log = logging.getLogger(__name__)

Parser = Callable[[str], SemanticGraph]
GraphLike = SemanticGraph | dict | str

# The commonest arguments of pipelines, for the message to somebody who gives them to the constructor.
_OF_PIPELINES = (
    "prompt_embeds", "negative_prompt", "num_inference_steps", "guidance_scale", "generator", "latents", "height", "width",
    "num_images_per_prompt", "output_type", "return_dict", "callback_on_step_end",
)  # fmt: skip
_NO_WORDS = TokenPairs((), ())


_REHEARSED: WeakKeyDictionary[torch.nn.Module, set[Any]] = WeakKeyDictionary()
"""Denoiser -> the kinds of runs of it that were compiled in this process."""


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
    do not, and torch keeps what it compiled on disk. In a batch all images then take part in every evaluation.

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
        _check_place(overrides)
        self.config: Config = preset_config(preset, **overrides)
        self.preset = preset
        wanted = reward is not None and self.config.preference_weight > 0
        checkpointing = self.config.checkpointing
        self.reward = load_reward(reward, checkpointing=checkpointing) if wanted and reward is not None else None
        if self.reward is not None and not is_differentiable(self.reward):
            raise RewardError(
                f"{self.reward.name} is a black box: without a gradient to the images it cannot guide. Watch it "
                "(watch=[...]), measure with it (dymo score), or choose among images by it; to guide, give a "
                "differentiable reward"
            )
        self.watched = _watched(watch, self.reward, on_hacking)
        self.on_hacking: OnHacking = on_hacking
        self.parser: Parser = load_parser(parser) if isinstance(parser, str) else parser or _parse
        self.objectives = list(objectives)
        self.preview_vae = preview_vae
        if not isinstance(compile, (bool, str)) or compile == "":
            raise ConfigError(f"compile={compile!r}: give True, False, or the name of a backend of torch.compile")
        self.compile: str | None = "inductor" if compile is True else compile or None

    def __repr__(self) -> str:
        base = PRESETS[self.preset]
        shown: dict[str, Any] = {"reward": None if self.reward is None else self.reward.name, "preset": self.preset}
        shown |= {k: v for k, v in dataclasses.asdict(self.config).items() if v != getattr(base, k)}
        if self.watched:
            shown |= {"watch": list(self.watched), "on_hacking": self.on_hacking}
        if self.preview_vae is not None:
            shown["preview_vae"] = type(self.preview_vae).__name__
        if self.compile is not None:
            shown["compile"] = self.compile == "inductor" or self.compile
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
        if budget is not None and not isinstance(budget, Budget):
            raise ConfigError(f"budget={budget!r}: give Budget(evaluations=100) or Budget(seconds=20)")
        semantic = self.config.semantic_weight > 0
        check_pipeline(pipe, self.config, semantic)
        config = self._config_for(pipe)
        check_weights(
            family_of(pipe).denoiser(pipe), semantic, config.gradient if self.reward is not None else "straight-through"
        )
        check_offload(pipe, config, self.reward is not None, self.preview_vae is not None)
        check_arguments(pipe, pipeline_kwargs, _of_the_call())
        if prompt is not None:
            pipeline_kwargs["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        repeats = _repeats(pipeline_kwargs.get("num_images_per_prompt"))
        said = word(pipe, pipeline_kwargs, self.config.truncation, self.config.markup)
        graphs, pairs = self._words(pipe, said, graph)
        prompts, texts = self._prompts(said, graphs)
        samples = [i for i in range(said.count) for _ in range(repeats)]
        trace = Trace(
            prompts=[prompts[i] for i in samples],
            texts=[texts[i] for i in samples],
            graphs=[_plain(graphs[i]) for i in samples],
            config=dataclasses.asdict(config),
            truncated=[list(pairs[i].truncated) for i in samples],
        )
        listeners = list(listeners)

        def emit(event: Event) -> None:
            for listener in listeners:
                listener(event)

        allotment = Allotment(budget or Budget(), began=began)
        try:
            with held(pipe, (family_of(pipe).denoiser(pipe), pipe.scheduler)):
                output = self._generate(
                    pipe, trace, [pairs[i] for i in samples], allotment, listeners, cancel, said.call(pipe)
                )
        except BaseException as error:
            emit(Failed(error))
            raise
        trace.cost.seconds = time.perf_counter() - began
        log.info("%d images in %.1f s, evaluations %s", len(samples), trace.cost.seconds, trace.evaluations)
        if isinstance(output, tuple) and not hasattr(output, "images"):
            output = TracedTuple(output)
        output.trace = trace
        if trace.cancelled:
            emit(Cancelled(trace.steps[-1].index if trace.steps else -1))
        emit(Finished(trace))
        return output

    def layers(
        self, pipe: Any, prompt: str | Sequence[str], *, graph: GraphLike | Sequence[GraphLike] | None = None, seed: int = 0,
        **pipeline_kwargs: Any,
    ) -> list[Layer]:
        """How well each attention layer shows, while the layout is decided, where the prompt's things will be.

        For `map_layers=`: see `dymo.pipelines.calibration`. The pipeline runs unguided, once for each size of its maps, with noise
        of `seed`, and is as before afterwards. Raises PromptError without a word that has maps, PipelineError, ConfigError.
        """
        check_pipeline(pipe, self.config, True)
        check_arguments(pipe, pipeline_kwargs, _of_the_call())
        if "generator" in pipeline_kwargs:
            raise ConfigError("generator=: the runs are compared, so all start from the noise of seed=; give that")
        pipeline_kwargs |= {"prompt": prompt if isinstance(prompt, str) else list(prompt), "output_type": "latent"}
        said = word(pipe, pipeline_kwargs, self.config.truncation, self.config.markup)
        _, pairs = self._words(pipe, said, graph)
        repeats = _repeats(pipeline_kwargs.get("num_images_per_prompt"))
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
        if self.config.gradient != "auto":
            return self.config
        family = family_of(pipe)
        found: Gradient = "straight-through" if quantised(family.denoiser(pipe)) else family.gradient
        return dataclasses.replace(self.config, gradient=found)

    def _generate(
        self, pipe: Any, trace: Trace, pairs: list[TokenPairs], allotment: Allotment, listeners: list[Listener],
        cancel: threading.Event | None, kwargs: dict,
    ) -> Any:  # fmt: skip
        """The aligned images, or with on_hacking="best" of each the better one; the trace is filled in."""
        config, device = self._config_for(pipe), pipe._execution_device
        vae = decoding_vae(self.preview_vae if self.preview_vae is not None else pipe.vae)
        plain_decode = decoder(vae)

        guided_decode = plain_decode
        if self.compile is not None:
            guided_decode = with_compiled(plain_decode, getattr(vae, "decoder", None), self.compile)

        def decode(z0: Tensor) -> Tensor:
            trace.cost.decodes += len(z0)
            return guided_decode(z0)

        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
        rewards = [r for r in (self.reward, *self.watched.values()) if r is not None]
        modules = [m for m in (*pipe.components.values(), vae) if isinstance(m, torch.nn.Module)]
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(placed(rewards, device, lean=self.compile is None))
            plain = None
            if config.scouts:
                kwargs = self._scouted(pipe, trace, pairs, kwargs, allotment, decode, modules)
            if self.on_hacking == "best":
                if kwargs.get("output_type") == "latent" and isinstance(family_of(pipe), Transformer):
                    raise ConfigError(
                        f"on_hacking='best' compares images, and {type(pipe).__name__} gives latents in a form of its own: ask for "
                        "another output_type"
                    )
                noise = Noise(kwargs.get("generator"))
                own = {k: v for k, v in kwargs.items() if not k.startswith("callback_on_step_end")}
                with PipelineLoop(pipe, own, decode=decode, cost=trace.cost) as loop:
                    unguided(loop)
                plain = loop.result
                noise.rewind()
                _spent(trace, allotment, loop.evaluations, "the unguided image")
            objectives, resting = self._objectives(trace, pairs, kwargs)
            if objectives:  # else the pipeline is left as it is: the flag alone changes a convolution's last bits
                stack.enter_context(frozen(modules))
            denoiser = family_of(pipe).denoiser(pipe)
            if objectives and config.checkpointing:
                stack.enter_context(checkpointed((denoiser, vae)))
            elif objectives and keeps_weights(denoiser):
                stack.enter_context(checkpointed((denoiser,)))
            watch = self._watch(trace)
            recorder = Recorder(
                trace, listeners, [p.words for p in pairs], config.record_maps, plain_decode, watch, resting
            )
            with PipelineLoop(
                pipe, kwargs, decode=decode, cost=trace.cost, map_size=config.map_size, map_layers=config.map_layers,
                all_rows=config.map_rows == "all", free_encoders=config.free_text_encoders, cancel=cancel,
                lean=bool(objectives) and not config.checkpointing and allotment.budget.bytes is None,
                compile=self.compile if objectives else None,
            ) as loop:  # fmt: skip
                if objectives and self.compile is not None:
                    stack.enter_context(compiled(layers_of(rewards[:1] if self.reward is not None else []), self.compile))
                    if loop.timesteps and not _few(config, pipe, kwargs, loop.timesteps):
                        self._rehearse(loop, trace, pairs, kwargs, config, recorder)
                if loop.timesteps:
                    allotment.open(len(loop.timesteps), sum(now.calls for now in loop.timesteps))
                    if allotment.budget.seconds is not None:
                        allotment.reserve = loop.seconds_to_decode()
                    few = bool(objectives) and _few(config, pipe, kwargs, loop.timesteps)
                    if not few:
                        _check_stages(config, objectives, loop.timesteps)
                    recorder.emit(Started(len(loop.timesteps), loop.samples, trace.prompts))
                    (few_steps if few else dymo)(loop, objectives, config, allotment, recorder)
                    recorder.finish()
            trace.cancelled = loop.cancelled
            _spent(trace, allotment, loop.evaluations, "this run")
            output = loop.result
            if plain is not None:
                output = self._better(pipe, output, plain, trace)
        if device.type == "cuda":
            now = torch.cuda.max_memory_allocated(device)
            trace.cost.peak_bytes = now if now > peak else None
        return output

    def _scouted(
        self, pipe: Any, trace: Trace, pairs: list[TokenPairs], kwargs: dict, allotment: Allotment,
        decode: Callable[[Tensor], Tensor], modules: Sequence[torch.nn.Module],
    ) -> dict:  # fmt: skip
        """The call's arguments with the generators of the seeds that go on. Raises ConfigError where there is no choice."""
        config, images = self._config_for(pipe), len(trace.prompts)
        if self.reward is None:
            raise ConfigError(f"scouts={config.scouts}: they are compared by the reward, and there is none: give reward=, or scouts=0")
        if kwargs.get("latents") is not None:
            raise ConfigError(f"scouts={config.scouts}: latents= says where the image begins, so no other seed can: leave out one")
        each = [pair for pair in pairs for _ in range(1 + config.scouts)]
        words = config.semantic_weight > 0 and any(p.positive or p.negative for p in pairs)
        score = _scorer(self.reward, trace, guides=True)

        def check(timesteps: Sequence[Timestep]) -> None:
            if _few(config, pipe, kwargs, timesteps):
                raise ConfigError(f"scouts={config.scouts}: a run of few steps improves its noise itself: set few_steps='never', or scouts=0")

        def summed(images: Tensor, samples: list[int], t: float) -> Tensor:
            found = score(images, samples, t)
            return found.sum(0) if found.ndim == 2 else found

        def open_loop(call: dict[str, Any]) -> PipelineLoop:
            return PipelineLoop(
                pipe, call, decode=decode, cost=trace.cost, map_size=config.map_size, map_layers=config.map_layers,
                all_rows=config.map_rows == "all", lean=words and not config.checkpointing,
            )  # fmt: skip

        with frozen(modules):
            chosen = choose(
                pipe, kwargs, images, _repeats(kwargs.get("num_images_per_prompt")), config, [SemanticAlignment(each)] if words else [],
                summed, open_loop, check,
            )  # fmt: skip
        trace.scouts = chosen.scores
        _spent(trace, allotment, chosen.evaluations, "its seeds that were begun")
        one = images == 1 and not isinstance(kwargs.get("generator"), list)
        return {**kwargs, "generator": chosen.generators[0] if one else chosen.generators}

    def _rehearse(
        self, loop: PipelineLoop, trace: Trace, pairs: list[TokenPairs], kwargs: dict, config: Config, recorder: Recorder
    ) -> None:
        """Compile what the run will need, where it is the first of its kind. What that costs is not the run's."""
        guided = family_of(loop.pipe).guided(loop.pipe, arguments(loop.pipe, kwargs))
        kind = (self.compile, config, loop.shape, guided, tuple(map(id, (self.reward, self.preview_vae, *self.objectives))))
        done = _REHEARSED.setdefault(loop.denoiser, set())
        if kind in done:
            return
        began, spent, graphs = time.perf_counter(), dataclasses.asdict(trace.cost), _graphs()
        objectives, _ = self._objectives(trace, pairs, kwargs)
        log.info("compiling: the first image of a size waits for it")
        try:
            rehearse(loop, objectives, config, loop.timesteps)
        except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            if not isinstance(error, torch._dynamo.exc.TorchDynamoException) and "nductor" not in type(error).__name__:
                raise
            reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            raise ConfigError(
                f"torch cannot compile here ({reason.strip()}); it needs a C++ compiler, and Triton on a GPU. Install them, or leave out "
                "compile=True"
            ) from error
        done.add(kind)
        vars(trace.cost).update(spent)
        loop.evaluations = [0] * len(loop.evaluations)
        if _graphs() > graphs:
            trace.cost.compile_seconds = time.perf_counter() - began
            recorder.emit(Compiled(trace.cost.compile_seconds))
            log.info("compiled in %.0f s", trace.cost.compile_seconds)

    def _objectives(self, trace: Trace, pairs: list[TokenPairs], kwargs: dict) -> tuple[list[Objective], set[int]]:
        """What this run lowers, and the set of samples that the reward rests on, empty at first."""
        config, resting = self.config, set[int]()
        objectives: list[Objective] = []
        if config.semantic_weight > 0 and any(p.positive or p.negative for p in pairs):
            objectives.append(SemanticAlignment(pairs))
        if self.reward is not None:
            generator = kwargs.get("generator")
            first = generator[0] if isinstance(generator, list) else generator
            objectives.append(
                Preference(
                    _scorer(self.reward, trace, guides=True), config.preference_form, config.tau, getattr(self.reward, "cosine_scale", None),
                    config.views, config.fresh_views, first.initial_seed() % 2**31 if config.fresh_views and first else 0,
                    config.clamp, resting,
                )
            )  # fmt: skip
        return [*objectives, *self.objectives], resting

    def _watch(self, trace: Trace) -> Watch | None:
        if not self.watched or self.reward is None:
            return None
        return Watch(
            {name: _scorer(reward, trace, guides=False) for name, reward in self.watched.items()},
            {name: scale_of(reward) for name, reward in self.watched.items()},
            scale_of(self.reward),
            self.on_hacking,
        )

    def _better(self, pipe: Any, aligned: Any, plain: Any, trace: Trace) -> Any:
        """Of each pair of images the one that the watched rewards put higher; the aligned one where they are even."""
        watch = self._watch(trace)
        assert watch is not None
        samples = list(range(len(trace.prompts)))
        decode = decoder(decoding_vae(pipe.vae))
        means = []
        with torch.no_grad():
            for name, end in (("aligned", aligned), ("unguided", plain)):
                images = images_of(end, decode).clamp(0, 1).to(pipe._execution_device)
                scores = watch.score(images, samples, None)
                means.append(watch.mean(scores))
                for reward, values in scores.items():
                    trace.ends.setdefault(reward, {})[name] = values
        take = [theirs > own for own, theirs in zip(*means, strict=True)]
        trace.returned = ["unguided" if other else "aligned" for other in take]
        return exchange(aligned, plain, take)

    def _words(
        self, pipe: Any, said: Wording, given: GraphLike | Sequence[GraphLike] | None
    ) -> tuple[list[SemanticGraph | None], list[TokenPairs]]:
        """One graph and its token pairs for each prompt of the call.

        In a batch, a prompt that cannot be read leaves its own image without the semantic objective, with a warning.
        """
        every: list[Any] = [None] * said.count
        several: Sequence[Any] = (
            [given] * said.count if isinstance(given, (SemanticGraph, dict, str)) else given or every
        )
        if len(several) != said.count:
            raise PromptError(f"{len(several)} graphs for {said.count} prompts: give one a prompt")
        graphs: list[SemanticGraph | None] = []
        pairs: list[TokenPairs] = []
        encoders: Sequence[Encoder] = ()
        if self.config.semantic_weight > 0:
            encoders = family_of(pipe).encoders(pipe, arguments(pipe, said.kwargs))
        for i, one in enumerate(several):
            try:
                graph, found = self._read(pipe, said, i, one, encoders)
            except PromptError as error:
                if said.count == 1 or one is not None:
                    raise
                warnings.warn(
                    f"{error}; this image is generated without the semantic objective", PromptWarning, stacklevel=4
                )
                graph, found = None, _NO_WORDS
            graphs.append(graph)
            pairs.append(found)
        return graphs, pairs

    def _read(
        self, pipe: Any, said: Wording, i: int, given: GraphLike | None, encoders: Sequence[Encoder]
    ) -> tuple[SemanticGraph | None, TokenPairs]:
        """The graph and token pairs of prompt i. Raises PromptError."""
        reading = said.readings[i] if said.readings else None
        if reading is not None and not reading.text.strip():
            raise PromptError(f"the prompt is empty: {reading.prompt!r}; say what the image is to show")
        if given is not None:
            graph = given if isinstance(given, SemanticGraph) else SemanticGraph.from_json(given)
            if reading is not None:
                graph = reading.outside(reading.inside(graph))
        elif self.config.semantic_weight == 0:
            return None, _NO_WORDS
        elif reading is None:
            raise PromptError(
                "prompt_embeds cannot be parsed: give prompt= with the words that they embed, or graph= (its prompt says at "
                "which tokens the words are), or set semantic_weight=0"
            )
        else:
            graph = reading.outside(self.parser(reading.text))
        if self.config.semantic_weight == 0:
            return graph, _NO_WORDS
        settings: dict[str, Any] = dict(pieces=self.config.pieces, wholes_and_parts=self.config.wholes_and_parts)
        if encoders:
            other = [_text_of(said.kwargs, encoder.text_name, i) for encoder in encoders]
            pairs = joint_pairs(graph, encoders, other, **settings)
            window = max(encoder.window or encoder.tokenizer.model_max_length for encoder in encoders)
        else:
            tokenizer = family_of(pipe).tokenizer(pipe)
            pairs, window = said.pairs(i, graph, tokenizer, **settings), tokenizer.model_max_length
        if pairs.truncated and self.config.truncation != "report":
            chunk = (
                ""
                if encoders or self.config.truncation == "chunk"
                else ", or set truncation='chunk' to encode the whole of it"
            )
            raise PromptError(
                f"the prompt is longer than the tokenizer's window of {window} tokens: "
                f"{', '.join(map(repr, pairs.truncated))} would be cut off. Shorten it, or set truncation='report' to go on "
                f"without{chunk}"
            )
        return graph, pairs

    def _prompts(self, said: Wording, graphs: list[SemanticGraph | None]) -> tuple[list[str], list[str]]:
        """Each prompt, or that of the graph beside prompt_embeds, as written, and as the rewards read it."""
        if said.readings:
            return [reading.prompt for reading in said.readings], [reading.text for reading in said.readings]
        prompts = ["" if graph is None else graph.prompt for graph in graphs]
        rewards = [reward for reward in (self.reward, *self.watched.values()) if reward is not None]
        readers = [leaf for reward in rewards for leaf in prompt_readers(reward)]
        if readers and "" in prompts:
            # A function may heed the images alone, which nobody can tell.
            if not all(isinstance(reader, (FunctionReward, BlackBoxReward)) for reader in readers):
                raise PromptError("the reward needs the prompt's words: give prompt= or graph= beside prompt_embeds=")
            warnings.warn(
                f"{readers[0].name} is given '' for the prompt: prompt_embeds say no words. Give prompt= or graph= beside them if "
                "it reads the prompt", PromptWarning, stacklevel=3,
            )  # fmt: skip
        return prompts, [read(prompt).text for prompt in prompts]


def _text_of(kwargs: dict, name: str, index: int) -> str | None:
    """The text that an encoder reads in place of the prompt, of one prompt of the call; None: the prompt itself."""
    found = None if name == "prompt" else kwargs.get(name)
    return found[index] if isinstance(found, (list, tuple)) else found


def _of_the_call() -> list[str]:
    """The arguments of `DyMO.__call__` that have a name of their own."""
    parameters = inspect.signature(DyMO.__call__).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD]


def _check_place(overrides: Iterable[str]) -> None:
    """Raises ConfigError on an argument of the call, or of the pipeline, that was given to the constructor."""
    for name in overrides:
        if name in _of_the_call() or name in _OF_PIPELINES:
            more = "" if name in ("pipe", "prompt") else f", {name}=..."
            raise ConfigError(
                f"{name}= is an argument of the call, not of DyMO(...): aligner = DyMO(...), then aligner(pipe, prompt{more})"
            )


def _repeats(number: Any) -> int:
    """Images a prompt; None is 1, as diffusers takes it. Raises ConfigError."""
    if number is None:
        return 1
    if not isinstance(number, Integral) or number < 1:
        raise ConfigError(f"num_images_per_prompt={number!r}: give a whole number above 0")
    return int(number)


def _scorer(reward: Reward, trace: Trace, guides: bool) -> Callable[[Tensor, list[int], float | None], Tensor]:
    """The reward of images with their samples' prompts: (n,), or (K, n) where its summands go separate ways."""
    score = reward.scores if isinstance(reward, CombinedReward) and reward.conflicts == "project" else reward.score

    def scored(images: Tensor, samples: list[int], t: float | None) -> Tensor:
        trace.cost.reward_calls += len(samples) * guides
        return score(images, [trace.texts[i] for i in samples], t)

    return scored


def _watched(watch: RewardLike | Sequence[RewardLike], guide: Reward | None, on_hacking: str) -> dict[str, Reward]:
    """name -> held-out reward. Raises ConfigError where there is nothing to compare with what."""
    if on_hacking not in get_args(OnHacking):
        raise ConfigError(f"on_hacking={on_hacking!r}: choose one of {', '.join(map(repr, get_args(OnHacking)))}")
    several: Sequence[Any] = watch if isinstance(watch, (list, tuple)) else [watch]
    rewards = [load_reward(one) for one in several]
    if not rewards and on_hacking != "warn":
        raise ConfigError(
            f"on_hacking={on_hacking!r} needs held-out rewards to go by: give watch=['hpsv2.1'] or another"
        )
    if rewards and guide is None:
        raise ConfigError(
            "watch= compares held-out rewards with the guide, and there is none: give reward=, or leave it out"
        )
    names = [reward.name for reward in rewards]
    for name in names:
        if names.count(name) > 1 or (guide is not None and name == guide.name):
            raise ConfigError(f"watch={name!r} is the guide, or watched twice: watch rewards that nothing follows")
    return dict(zip(names, rewards, strict=True))


def _few(config: Config, pipe: Any, kwargs: dict, timesteps: Sequence[Timestep]) -> bool:
    """Whether the run is steered as one of few steps. Raises ConfigError where it is to be and the sampler does not fit."""
    single = all(now.calls == 1 for now in timesteps)
    if config.few_steps == "always" and not single:
        raise ConfigError(
            f"few_steps='always': {type(pipe.scheduler).__name__} evaluates the denoiser twice a step; use LCMScheduler, "
            "TCDScheduler or EulerDiscreteScheduler, or leave few_steps='auto'"
        )
    if config.few_steps != "auto":
        return config.few_steps == "always"
    few = single and len(timesteps) <= MOST and not family_of(pipe).guided(pipe, arguments(pipe, kwargs))
    if few and len(timesteps) == 1:
        log.info("one step: the initial noise is optimised, as ReNO does (arXiv 2406.04312)")
    return few


def _check_stages(config: Config, objectives: Sequence[Objective], timesteps: Sequence[Timestep]) -> None:
    """Warns where the reward acts at no step of the run: at one or two steps, all may lie in the semantic stage."""
    stages = [stage(config, now) for now in timesteps]
    if any(o.needs == "image" for o in objectives) and not {"mixed", "preference"} & set(stages):
        t = ", ".join(f"{now.t:g}" for now in timesteps[:4])
        warnings.warn(
            f"the reward is used at none of the {len(stages)} steps (t = {t}): they lie in the stage of the words. Give more steps, "
            f"lower borders={config.borders}, or use the method 'reno' for models of one step", RuntimeWarning, stacklevel=4,
        )  # fmt: skip


def _spent(trace: Trace, allotment: Allotment, evaluations: Sequence[int], on: str) -> None:
    """Book evaluations, one number an image."""
    before = trace.evaluations or [0] * len(trace.prompts)
    trace.evaluations = [a + b for a, b in zip(evaluations, before, strict=True)]
    allotment.before, allotment.before_on = max(trace.evaluations, default=0), on


def _graphs() -> int:
    """How many pieces of code torch has compiled in this process."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _plain(graph: SemanticGraph | None) -> dict | None:
    return None if graph is None else json.loads(graph.to_json())


def _parse(prompt: str) -> SemanticGraph:
    from .prompt import parse

    return parse(prompt)
