"""The front door: a pipeline the user already has, run once, steered."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .config import Config
from .config import preset as preset_config
from .errors import PromptError
from .guidance.guide import Guide
from .guidance.recurrence import Budget, Purse
from .pipelines.attach import Attachment, lock_of
from .pipelines.attention import AttentionTaps
from .pipelines.checks import check_offload, check_pipeline
from .pipelines.decode import decoder
from .pipelines.denoiser import DenoiserSeam
from .pipelines.families import map_layers
from .prompt import load_parser
from .prompt.graph import SemanticGraph
from .prompt.tokens import TokenPairs, token_pairs
from .rewards import Reward, load_reward
from .trace import Step, Trace

Parser = Callable[[str], SemanticGraph]
GraphLike = SemanticGraph | dict | str


class TracedTuple(tuple):
    """What a pipeline returns under `return_dict=False`, with the trace."""

    trace: Trace


class DyMO:
    """Aligns the pictures of a diffusers text-to-image pipeline with their prompts, at test time.

    reward: a name, a folder, a `Reward`, a function f(images, prompts) -> (B,), or None for no preference objective.
    preset: "paper", "official-sd15", "official-sdxl" or "fast"; `overrides` replace single values of `Config`.
    parser: prompt -> SemanticGraph, or "spacy" (the default), "llm" or "transformers" for one with the usual settings.
    preview_vae: an AutoencoderTiny (or another VAE of the same latent space) that decodes the predictions in place of
    the pipeline's own.

    Reusable, and it keeps no state between calls. Raises ConfigError and RewardError on settings that cannot be used.

        aligner = DyMO(reward="pickscore", preset="fast")
        output = aligner(pipe, "a red apple and a green car", num_inference_steps=50)
        output.images[0], output.trace
    """

    def __init__(
        self,
        reward: str | Reward | Callable[..., Tensor] | None = "pickscore",
        preset: str = "paper",
        parser: Parser | str | None = None,
        *,
        preview_vae: torch.nn.Module | None = None,
        **overrides: Any,
    ):
        self.config: Config = preset_config(preset, **overrides)
        wanted = reward is not None and self.config.preference_weight > 0
        self.reward = load_reward(reward) if wanted and reward is not None else None
        self.parser: Parser = load_parser(parser) if isinstance(parser, str) else parser or _parse
        self.preview_vae = preview_vae

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
        Returns the pipeline's own output with a `trace`. The pipeline is as before afterwards, also after an
        exception. Raises PromptError, PipelineError, ConfigError or RewardError, before any denoising where possible.
        """
        check_pipeline(pipe, self.config)
        check_offload(pipe, self.config, self.reward is not None, self.preview_vae is not None)
        began = time.perf_counter()
        if prompt is not None:
            pipeline_kwargs["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        repeats = pipeline_kwargs.get("num_images_per_prompt") or 1
        graphs, pairs = self._words(pipe, pipeline_kwargs, graph)
        prompts = self._prompts(pipeline_kwargs, graphs)
        samples = [i for i in range(len(prompts)) for _ in range(repeats)]
        trace = Trace(
            prompts=[prompts[i] or "" for i in samples],
            graphs=[_plain(graphs[i]) for i in samples],
            config=dataclasses.asdict(self.config),
            truncated=[list(pairs[i].truncated) for i in samples],
        )
        with lock_of(pipe), torch.enable_grad():
            output = self._run(
                pipe, trace, [pairs[i] for i in samples], Purse(budget or Budget()), on_step, pipeline_kwargs
            )
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
        if reward is not None:
            reward.to(pipe._execution_device)
        guide = Guide(
            config, pairs, [dict(p.words) for p in pairs],
            decode=decoder(self.preview_vae if self.preview_vae is not None else pipe.vae),
            score=None if reward is None else lambda images, rows, t: reward.score(images, [trace.prompts[i] for i in rows], t),
            cosine_scale=getattr(reward, "cosine_scale", None),
            prediction_type=pipe.scheduler.config.prediction_type,
            trace=trace, purse=purse, on_step=on_step,
        )  # fmt: skip
        taps = None
        if guide.semantic:
            side = (
                kwargs.get("height") or pipe.unet.config.sample_size * pipe.vae_scale_factor
            ) // pipe.vae_scale_factor
            layers, _ = map_layers(pipe.unet, side, config.map_size)
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


def _plain(graph: SemanticGraph | None) -> dict | None:
    return None if graph is None else json.loads(graph.to_json())


def _parse(prompt: str) -> SemanticGraph:
    from .prompt import parse

    return parse(prompt)


def _graph(given: GraphLike) -> SemanticGraph:
    return given if isinstance(given, SemanticGraph) else SemanticGraph.from_json(given)
