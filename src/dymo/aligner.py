"""The front door: a pipeline the user already has, run once, steered."""

from __future__ import annotations

import dataclasses
import inspect
import json
import time
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, get_args

import torch
from torch import Tensor

from .config import PRESETS, Config, OnHacking
from .config import preset as preset_config
from .errors import ConfigError, PromptError, RewardError
from .guidance.guide import Guide
from .guidance.recurrence import Budget, Purse
from .guidance.watch import Watch
from .pipelines.attach import Attachment, lock_of
from .pipelines.attention import AttentionTaps
from .pipelines.checks import check_arguments, check_offload, check_pipeline
from .pipelines.decode import decoder
from .pipelines.denoiser import DenoiserSeam
from .pipelines.ends import Noise, exchange, pictures_of
from .pipelines.families import latent_side, map_layers
from .prompt import load_parser
from .prompt.graph import SemanticGraph
from .prompt.tokens import TokenPairs, token_pairs
from .rewards import CombinedReward, Reward, RewardLike, is_differentiable, load_reward, scale_of
from .trace import Step, Trace

Parser = Callable[[str], SemanticGraph]
GraphLike = SemanticGraph | dict | str


# The commonest arguments of pipelines, for the message to somebody who gives them to the constructor.
_OF_PIPELINES = (
    "prompt_embeds", "negative_prompt", "num_inference_steps", "guidance_scale", "generator", "latents", "height", "width",
    "num_images_per_prompt", "output_type", "return_dict", "callback_on_step_end",
)  # fmt: skip


class TracedTuple(tuple):
    """What a pipeline returns under `return_dict=False`, with the trace."""

    trace: Trace


class DyMO:
    """Aligns the pictures of a diffusers text-to-image pipeline with their prompts, at test time.

    reward: a name, a folder, a `Reward`, a function f(images, prompts) -> (B,), a table of them with their weights, or
    None for no preference objective.
    preset: "paper", "official-sd15", "official-sdxl", "fast" or "thorough"; `overrides` replace single values of `Config`.
    parser: prompt -> SemanticGraph, or "spacy" (the default), "llm" or "transformers" for one with the usual settings.
    preview_vae: an AutoencoderTiny (or another VAE of the same latent space) that decodes the predictions in place of
    the pipeline's own.
    watch: held-out rewards, in the same forms, that are scored on every accepted prediction the guide was scored on, and
    never followed. on_hacking: what happens when the guide rises while they fall: "warn"; "stop" guiding that picture by
    the reward; or "best": the unguided picture is painted as well, and of the two the one returned that the watched
    rewards put higher (in the mean of their units), alarm or not.

    Reusable, and it keeps no state between calls. Raises ConfigError and RewardError on settings that cannot be used.

        aligner = DyMO(reward="pickscore", preset="fast")
        output = aligner(pipe, "a red apple and a green car", num_inference_steps=50)
        output.images[0], output.trace
    """

    def __init__(
        self,
        reward: RewardLike | None = "pickscore",
        preset: str = "paper",
        parser: Parser | str | None = None,
        *,
        preview_vae: torch.nn.Module | None = None,
        watch: RewardLike | Sequence[RewardLike] = (),
        on_hacking: OnHacking = "warn",
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
                f"{self.reward.name} is a black box: without a gradient to the pictures it cannot guide. Watch it "
                "(watch=[...]), measure with it (dymo score), or choose among pictures by it; to guide, give a "
                "differentiable reward"
            )
        self.watched = _watched(watch, self.reward, on_hacking)
        self.on_hacking: OnHacking = on_hacking
        self.parser: Parser = load_parser(parser) if isinstance(parser, str) else parser or _parse
        self.preview_vae = preview_vae

    def __repr__(self) -> str:
        base = PRESETS[self.preset]
        shown: dict[str, Any] = {"reward": None if self.reward is None else self.reward.name, "preset": self.preset}
        shown |= {k: v for k, v in dataclasses.asdict(self.config).items() if v != getattr(base, k)}
        if self.watched:
            shown |= {"watch": list(self.watched), "on_hacking": self.on_hacking}
        if self.preview_vae is not None:
            shown["preview_vae"] = type(self.preview_vae).__name__
        return f"DyMO({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __call__(
        self,
        pipe: Any,
        prompt: str | Sequence[str] | None = None,
        *,
        graph: GraphLike | Sequence[GraphLike] | None = None,
        budget: Budget | None = None,
        on_step: Callable[[Step], None] | None = None,
        **pipeline_kwargs: Any,
    ) -> Any:
        """Run `pipe` once, steered; everything in `pipeline_kwargs` reaches it untouched.

        graph: what the prompt says, if not to be parsed: a SemanticGraph, its JSON, or one a prompt.
        budget: what a picture may spend; on_step: called with the record of each accepted step.
        Returns the pipeline's own output with a `trace`; with `return_dict=False` the pipeline's own tuple, which then
        has the `trace` as its attribute. The pipeline is as before afterwards, also after an exception. Raises
        PromptError, PipelineError, ConfigError or RewardError, before any denoising where possible.
        """
        check_pipeline(pipe, self.config)
        check_offload(pipe, self.config, self.reward is not None, self.preview_vae is not None)
        check_arguments(pipe, pipeline_kwargs, _of_the_call())
        began = time.perf_counter()
        if prompt is not None:
            pipeline_kwargs["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        repeats = _repeats(pipeline_kwargs.get("num_images_per_prompt"))
        graphs, pairs = self._words(pipe, pipeline_kwargs, graph)
        prompts = self._prompts(pipeline_kwargs, graphs)
        samples = [i for i in range(len(prompts)) for _ in range(repeats)]
        trace = Trace(
            prompts=[prompts[i] or "" for i in samples],
            graphs=[_plain(graphs[i]) for i in samples],
            config=dataclasses.asdict(self.config),
            truncated=[list(pairs[i].truncated) for i in samples],
        )
        if budget is not None and not isinstance(budget, Budget):
            raise ConfigError(f"budget={budget!r}: give Budget(evaluations=100) or Budget(seconds=20)")
        purse = Purse(budget or Budget())
        with lock_of(pipe), torch.enable_grad():
            plain = self._unguided(pipe, trace, purse, pipeline_kwargs) if self.on_hacking == "best" else None
            spent = [0] * len(samples) if plain is None else trace.evaluations
            trace.evaluations = []
            output = self._run(pipe, trace, [pairs[i] for i in samples], purse, on_step, pipeline_kwargs)
            trace.evaluations = [a + b for a, b in zip(trace.evaluations, spent, strict=True)]
            if plain is not None:
                output = self._better(pipe, output, plain, trace)
        trace.cost.seconds = time.perf_counter() - began
        if isinstance(output, tuple) and not hasattr(output, "images"):
            output = TracedTuple(output)
        output.trace = trace
        return output

    def _run(
        self,
        pipe: Any,
        trace: Trace,
        pairs: list[TokenPairs],
        purse: Purse,
        on_step: Callable[[Step], None] | None,
        kwargs: dict,
    ) -> Any:
        config, reward = self.config, self.reward
        for used in (reward, *self.watched.values()):
            if used is not None:
                used.to(pipe._execution_device)
        guide = Guide(
            config, pairs, [dict(p.words) for p in pairs],
            decode=decoder(self.preview_vae if self.preview_vae is not None else pipe.vae),
            score=None if reward is None else _scorer(reward, trace),
            cosine_scale=getattr(reward, "cosine_scale", None),
            prediction_type=pipe.scheduler.config.prediction_type,
            trace=trace, purse=purse, on_step=on_step, watch=self._watch(trace),
        )  # fmt: skip
        taps = None
        if guide.semantic:
            layers, _ = map_layers(pipe.unet, latent_side(pipe, kwargs.get("height")), config.map_size)
            taps = AttentionTaps(layers)
        if not guide.active:
            config = dataclasses.replace(config, recurrences=0)
            guide.config = config
        seam = DenoiserSeam(
            pipe.unet,
            taps,
            config.gradient,
            lambda: pipe.do_classifier_free_guidance,
            lambda: pipe.guidance_scale,
            trace.cost,
        )
        cuda = pipe._execution_device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(pipe._execution_device)
        with Attachment(pipe, guide, seam, kwargs.get("generator")) as attachment:
            users = kwargs.pop("callback_on_step_end", None)
            if users is not None:
                inputs = kwargs.pop("callback_on_step_end_tensor_inputs", ["latents"])
                hook, names = attachment.step_end(users, inputs)
                kwargs |= {"callback_on_step_end": hook, "callback_on_step_end_tensor_inputs": names}
            # The undecorated call: without diffusers' own no_grad.
            output = vars(type(pipe).__call__)["__wrapped__"](pipe, **kwargs)
        if cuda:
            trace.cost.peak_bytes = torch.cuda.max_memory_allocated(pipe._execution_device)
        return output

    def _watch(self, trace: Trace) -> Watch | None:
        if not self.watched or self.reward is None:
            return None
        return Watch(
            {name: _scorer(reward, trace) for name, reward in self.watched.items()},
            {name: scale_of(reward) for name, reward in self.watched.items()},
            scale_of(self.reward),
            self.on_hacking,
        )

    def _unguided(self, pipe: Any, trace: Trace, purse: Purse, kwargs: dict) -> Any:
        """What the pipeline paints by itself from the same noise, which is there again afterwards; its cost is booked."""
        noise = Noise(kwargs.get("generator"))
        calls = [0]

        def count(module: torch.nn.Module, args: tuple, output: Any) -> None:
            calls[0] += 1
            trace.cost.denoiser_calls += 1
            trace.cost.denoiser_rows += args[0].shape[0]

        handle = pipe.unet.register_forward_hook(count)
        try:
            plain = pipe(
                **{name: value for name, value in kwargs.items() if not name.startswith("callback_on_step_end")}
            )
        finally:
            handle.remove()
        noise.rewind()
        trace.evaluations = calls * len(trace.prompts)
        purse.advance(calls[0])
        return plain

    def _better(self, pipe: Any, aligned: Any, plain: Any, trace: Trace) -> Any:
        """Of each pair of pictures the one that the watched rewards put higher; the aligned one where they are even."""
        watch = self._watch(trace)
        assert watch is not None
        samples = list(range(len(trace.prompts)))
        decode = decoder(pipe.vae)
        means = []
        with torch.no_grad():
            for name, end in (("aligned", aligned), ("unguided", plain)):
                pictures = pictures_of(end, decode).to(pipe._execution_device)
                scores = watch.score(pictures, samples, None)
                means.append(watch.mean(scores))
                for reward, values in scores.items():
                    trace.ends.setdefault(reward, {})[name] = values
        take = [theirs > own for own, theirs in zip(*means, strict=True)]
        trace.returned = ["unguided" if other else "aligned" for other in take]
        return exchange(aligned, plain, take)

    def _words(
        self, pipe: Any, kwargs: dict, given: GraphLike | Sequence[GraphLike] | None
    ) -> tuple[list[SemanticGraph | None], list[TokenPairs]]:
        """One graph and its token pairs for each prompt of the call."""
        texts = kwargs.get("prompt")
        texts = [texts] if isinstance(texts, str) else texts
        for text in texts or []:
            if not isinstance(text, str) or not text.strip():
                raise PromptError(f"the prompt is empty: {text!r}; say what the picture is to show")
        count = len(texts) if texts else len(kwargs["prompt_embeds"]) if kwargs.get("prompt_embeds") is not None else 0
        if not count:
            raise PromptError("no prompt: give prompt= or prompt_embeds= with graph=")
        nothing = TokenPairs((), ())
        if self.config.semantic_weight == 0:
            return [None] * count, [nothing] * count
        if given is None:
            if not texts:
                raise PromptError(
                    "prompt_embeds cannot be parsed: give graph= (its prompt says at which tokens the words are), or set semantic_weight=0"
                )
            graphs = [self.parser(text) for text in texts]
        else:
            several = [given] * count if isinstance(given, (SemanticGraph, dict, str)) else given
            graphs = [_graph(one) for one in several]
            if len(graphs) != count:
                raise PromptError(f"{len(graphs)} graphs for {count} prompts: give one a prompt")
            for text, graph in zip(texts or [], graphs, strict=False):
                if graph.prompt != text:
                    raise PromptError(
                        f"the graph is of the prompt {graph.prompt!r}, not of {text!r}: give the graph of this prompt"
                    )
        pairs = [token_pairs(graph, pipe.tokenizer) for graph in graphs]
        for found in pairs:
            if found.truncated and self.config.truncation == "error":
                raise PromptError(
                    f"the prompt is longer than the tokenizer's window of {pipe.tokenizer.model_max_length} tokens: "
                    f"{', '.join(map(repr, found.truncated))} would be cut off. Shorten it, or set truncation='report' to go on without"
                )
        return list(graphs), pairs

    def _prompts(self, kwargs: dict, graphs: list[SemanticGraph | None]) -> list[str | None]:
        """What the reward compares the pictures with: the prompt, or that of the graph beside prompt_embeds."""
        texts = kwargs.get("prompt")
        if texts is not None:
            return [texts] if isinstance(texts, str) else list(texts)
        prompts = [None if graph is None else graph.prompt for graph in graphs]
        if self.reward is not None and None in prompts:
            raise PromptError("the reward needs the prompt's words: give graph= beside prompt_embeds=")
        return prompts


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
    """Pictures a prompt; None is 1, as diffusers takes it. Raises ConfigError."""
    if number is None:
        return 1
    if not isinstance(number, Integral) or number < 1:
        raise ConfigError(f"num_images_per_prompt={number!r}: give a whole number above 0")
    return int(number)


def _scorer(reward: Reward, trace: Trace) -> Callable[[Tensor, list[int], float | None], Tensor]:
    """The reward of pictures with their samples' prompts: (n,), or (K, n) where its summands go separate ways."""
    score = reward.scores if isinstance(reward, CombinedReward) and reward.conflicts == "project" else reward.score
    return lambda images, samples, t: score(images, [trace.prompts[i] for i in samples], t)


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


def _plain(graph: SemanticGraph | None) -> dict | None:
    return None if graph is None else json.loads(graph.to_json())


def _parse(prompt: str) -> SemanticGraph:
    from .prompt import parse

    return parse(prompt)


def _graph(given: GraphLike) -> SemanticGraph:
    return given if isinstance(given, SemanticGraph) else SemanticGraph.from_json(given)
