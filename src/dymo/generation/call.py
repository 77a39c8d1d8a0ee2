"""One call of an aligner on one pipeline: what is opened around the loop, and what is chosen before and after it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..budget import Allotment
from ..config import Config, Gradient
from ..errors import ConfigError, PipelineError, RunWarning, Told
from ..events import Compiled, Listener, Started, tell
from ..guidance.loop import Timestep
from ..guidance.objectives import Objective
from ..methods.dymo import dymo
from ..methods.few_steps import MOST, few_steps
from ..methods.unguided import unguided
from ..parts import Argument, Name, Set, Setting
from ..pipelines.checks import check_offload
from ..pipelines.compiled import compiled, explained, with_compiled
from ..pipelines.decode import channels_differ, decoder, decoding_vae
from ..pipelines.families import arguments, family_of
from ..pipelines.families.transformer import Transformer
from ..pipelines.hold import checkpointed, frozen, recomputed
from ..pipelines.images import Noise, exchange, images_of
from ..pipelines.loop import PipelineLoop
from ..pipelines.settings import PLAIN, Execution, MapChoice
from ..pipelines.weights import check_weights, keeps_weights, quantised
from ..prompt.tokens import TokenPairs
from ..rewards import layers_of, placed
from ..trace import Trace
from .aims import Aims
from .beginning import chosen_seeds
from .effect import check_moved, check_stages
from .recorder import Recorder
from .rehearsal import rehearsed
from .scouts import NoChoice

if TYPE_CHECKING:
    from ..aligner import DyMO

log = logging.getLogger(__name__)


@dataclass
class Generation:
    """The aligned images of one call, or with on_hacking="best" of each the better one; `trace` is filled in.

    config: the aligner's, with what is left to the pipeline's family filled in. pairs: one an image. kwargs: the pipeline's
    arguments.
    """

    aligner: DyMO
    config: Config
    pipe: Any
    trace: Trace
    pairs: list[TokenPairs]
    kwargs: dict[str, Any]
    allotment: Allotment
    listeners: list[Listener]
    cancel: threading.Event | None

    def __post_init__(self) -> None:
        own = self.aligner.preview_vae
        if own is not None and (other := channels_differ(own, self.pipe)):
            raise ConfigError(Setting("preview_vae"), f": {other}")
        self.vae = decoding_vae(own if own is not None else self.pipe.vae, self.pipe._execution_device)
        form = family_of(self.pipe).form
        self.plain_decode = self.guided_decode = decoder(self.vae, form)
        self.backend = self.aligner.compiling.backend
        self.graphs = self.aligner.compiling.graphs_for(self.pipe, self.aligner.reward)
        if self.graphs is not None:
            self.guided_decode = decoder(self.vae, form, channels_last=self.vae.dtype != torch.float32)
        if self.backend is not None:
            self.guided_decode = with_compiled(self.guided_decode, getattr(self.vae, "decoder", None), self.backend)
        if self.graphs is not None:
            self.guided_decode = self.graphs.of_one("decoder", self.guided_decode)
        self.aims = Aims(self.aligner, self.config, self.trace, self.pairs, self.graphs)

    def run(self) -> Any:
        """The pipeline's output, of its own class."""
        aligner, device = self.aligner, self.pipe._execution_device
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
        rewards = [r for r in (aligner.reward, *aligner.watched.values()) if r is not None]
        modules = [m for m in (*self.pipe.components.values(), self.vae) if isinstance(m, torch.nn.Module)]
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if self.backend is not None:
                stack.enter_context(explained(aligner.compiling.remedy))
            stack.enter_context(placed(rewards, device, compiled=self.backend is not None))
            plain = self._unguided() if aligner.on_hacking == "best" else None
            if self.trace.cancelled:
                return plain
            if self.graphs is not None:  # what the seeds' loops capture is replayed later
                stack.enter_context(self._compiled_reward())
            if self.config.scouts:
                with frozen(modules):
                    self._begin_several_seeds()
            objectives = self.objectives()
            if objectives:  # else the pipeline is left as it is: the flag alone changes a convolution's last bits
                stack.enter_context(frozen(modules))
            family = family_of(self.pipe)
            denoiser = family.denoiser(self.pipe)
            if objectives and (self.config.checkpointing or keeps_weights(denoiser)):
                blocks = family.recomputed(self.pipe)
                stack.enter_context(recomputed(blocks) if blocks else checkpointed((denoiser,)))
            if objectives and self.config.checkpointing:
                stack.enter_context(checkpointed((self.vae,)))
            if self.graphs is None:
                stack.enter_context(self._compiled_reward())
            output = self._steered(objectives)
            if plain is not None:
                output = self._better(output, plain)
        if device.type == "cuda":
            now = torch.cuda.max_memory_allocated(device)
            self.trace.cost.peak_bytes = now if now > peak else None
        return output

    def _compiled_reward(self) -> AbstractContextManager[int]:
        if self.backend is None or self.aligner.reward is None:
            return nullcontext(0)
        return compiled(layers_of([self.aligner.reward]), self.backend)

    def decode(self, z0: Tensor) -> Tensor:
        """Predictions (n, C, h, w) as images in [0, 1], counted."""
        self.trace.cost.decodes += len(z0)
        return self.guided_decode(z0)

    def _steered(self, objectives: list[Objective]) -> Any:
        config, trace, allotment = self.config, self.trace, self.allotment
        words = [p.words for p in self.pairs]
        recorder = Recorder(trace, self.listeners, words, config.record_maps, self.plain_decode, self.aims.watch())
        execution = self.execution() if objectives else PLAIN
        with self.loop(self.kwargs, free_encoders=config.free_text_encoders, execution=execution) as loop:
            if loop.timesteps:
                few = bool(objectives) and self.few(loop.timesteps)
                if few:
                    config = self._of_few_steps()
                if objectives and self.backend is not None and not few:
                    self.rehearse(loop)
                to_decode = 0.0 if allotment.budget.seconds is None else loop.seconds_to_decode()
                allotment.open(len(loop.timesteps), sum(now.calls for now in loop.timesteps), to_decode)
                if not few:
                    check_stages(config, objectives, loop.timesteps)
                recorder.emit(Started(len(loop.timesteps), loop.samples, trace.prompts))
                if few:
                    few_steps(loop, objectives, config, allotment, recorder, fresh=self.kwargs.get("latents") is None)
                else:
                    dymo(loop, objectives, config, allotment, recorder)
                recorder.finish()
                if self.aligner.reward is not None:
                    check_moved(config, trace, self.aligner.reward)
            elif objectives:
                warnings.warn(RunWarning(
                    f"{type(self.pipe).__name__} has taken no step, so nothing was steered: raise ", Name(Argument("num_inference_steps")),
                    ", denoising_end or strength",
                ), stacklevel=4)  # fmt: skip
        trace.cancelled = loop.cancelled
        self._spent(loop.evaluations, "this run")
        return loop.result

    def _unguided(self) -> Any:
        """The images as they would be without the aligner, from the same noise."""
        if self.kwargs.get("output_type") == "latent" and isinstance(family_of(self.pipe), Transformer):
            raise ConfigError(
                Setting("on_hacking", "best"),
                f" compares images, and {type(self.pipe).__name__} gives latents in a form of its own: ask for another output_type",
            )
        noise = Noise(self.kwargs.get("generator"))
        own = {k: v for k, v in self.kwargs.items() if not k.startswith("callback_on_step_end")}
        with PipelineLoop(self.pipe, own, decode=self.decode, cost=self.trace.cost, cancel=self.cancel) as loop:
            unguided(loop)
        noise.rewind()
        if loop.cancelled:
            self.trace.cancelled, self.trace.returned = True, ["unguided"] * len(self.trace.prompts)
        self._spent(loop.evaluations, "the unguided image")
        return loop.result

    def _begin_several_seeds(self) -> None:
        """Give the call the generators of the seeds that go on.

        Where there is no choice, the reason is in the trace; raises NoChoice where the user asked for `scouts` himself.
        """
        noise = Noise(self.kwargs.get("generator"))
        try:
            chosen = chosen_seeds(self)
        except NoChoice as reason:
            noise.rewind()
            if "scouts" in self.aligner.asked:
                raise
            self.trace.one_seed = Told(str(reason), reason.parts)
            log.info("one seed: %s", reason)
            return
        if chosen is None:  # cancelled: a pipeline's own interrupt would be forgotten by its next call
            noise.rewind()
            self.cancel = threading.Event()
            self.cancel.set()
            return
        self.trace.scouts = chosen.scores
        self._spent(chosen.evaluations, "its seeds that were begun")
        one = len(chosen.generators) == 1 and not isinstance(self.kwargs.get("generator"), list)
        self.kwargs = {**self.kwargs, "generator": chosen.generators[0] if one else chosen.generators}

    def rehearse(self, loop: PipelineLoop) -> None:
        """Compile what the run will need, where it is the first of its kind. What that costs is not the run's."""
        aligner, before = self.aligner, vars(self.trace.cost).copy()
        guided = family_of(self.pipe).guided(self.pipe, arguments(self.pipe, self.kwargs))
        parts = (aligner.reward, aligner.preview_vae, *aligner.objectives)
        kind = (aligner.compiling, self.config, loop.shape, guided, tuple(map(id, parts)))
        seconds = rehearsed(loop, self.objectives(), self.config, kind)
        vars(self.trace.cost).update(before)
        loop.evaluations = [0] * len(loop.evaluations)
        if seconds:
            self.trace.cost.compile_seconds = seconds
            tell(self.listeners, Compiled(seconds))
            log.info("compiled in %.0f s", seconds)

    def loop(self, call: dict[str, Any], **settings: Any) -> PipelineLoop:
        """The pipeline's loop of a call, counted in the trace's cost. settings: of `PipelineLoop`, beside those that the run decides."""
        config = self.config
        return PipelineLoop(
            self.pipe, call, decode=self.decode, cost=self.trace.cost, cancel=self.cancel,
            choice=MapChoice(config.map_size, config.map_layers, config.map_rows == "all"), **settings,
        )  # fmt: skip

    def execution(self) -> Execution:
        """How the denoiser is run where a gradient passes."""
        spares_bytes = self.config.checkpointing or self.allotment.budget.bytes is not None
        return Execution(lean=not spares_bytes, backend=self.backend, graphs=self.graphs)

    def objectives(self) -> list[Objective]:
        """What this run lowers."""
        return self.aims.objectives(self.kwargs.get("generator"))

    def _better(self, aligned: Any, plain: Any) -> Any:
        """Of each pair of images the one that the watched rewards put higher; the aligned one where they are even."""
        watch, trace = self.aims.watch(), self.trace
        assert watch is not None
        samples = list(range(len(trace.prompts)))
        decode = decoder(decoding_vae(self.pipe.vae, self.pipe._execution_device), family_of(self.pipe).form)
        channels = getattr(self.pipe.vae.config, "out_channels", 3)
        means = []
        with torch.no_grad():
            for name, end in (("aligned", aligned), ("unguided", plain)):
                images = images_of(end, decode, channels).clamp(0, 1).to(self.pipe._execution_device)
                scores = watch.score(images, samples, None)
                means.append(watch.mean(scores))
                for reward, values in scores.items():
                    trace.ends.setdefault(reward, {})[name] = values
        take = [theirs > own for own, theirs in zip(*means, strict=True)]
        trace.returned = ["unguided" if other else "aligned" for other in take]
        return exchange(aligned, plain, take)

    def few(self, timesteps: Sequence[Timestep]) -> bool:
        """Whether the run is steered as one of few steps. Raises ConfigError where it is to be and the sampler does not fit."""
        wanted, single = self.config.few_steps, all(now.calls == 1 for now in timesteps)
        if wanted == "always" and not single:
            raise ConfigError(
                Setting("few_steps", "always"),
                f": {type(self.pipe.scheduler).__name__} evaluates the denoiser twice a step; use LCMScheduler, TCDScheduler or "
                "EulerDiscreteScheduler, or leave ", Setting("few_steps", "auto"),
            )
        if wanted != "auto":
            return wanted == "always"
        guided = family_of(self.pipe).guided(self.pipe, arguments(self.pipe, self.kwargs))
        few = single and len(timesteps) <= MOST and not guided
        if few and len(timesteps) == 1:
            log.info("one step: the initial noise is optimised, as ReNO does (arXiv 2406.04312)")
        return few

    def _of_few_steps(self) -> Config:
        """The settings of a run that its timesteps show to be one of few steps; its gradient goes into the trace.

        Raises PipelineError where that cannot pass.
        """
        if "gradient" in self.aligner.asked:
            return self.config
        # A preset's straight-through gradient passes by the denoiser, which at pure noise is all that there is.
        config = replace(self.config, gradient=gradient_of(self.pipe))
        check_gradient(self.aligner, self.pipe, config)
        self.trace.config["gradient"] = config.gradient
        return config

    def _spent(self, evaluations: Sequence[int], on: str) -> None:
        """Book evaluations, one number an image; none at all where the run ended before its first."""
        before = self.trace.evaluations or [0] * len(self.trace.prompts)
        self.trace.evaluations = [a + b for a, b in zip(evaluations or [0] * len(before), before, strict=True)]
        self.allotment.book(max(self.trace.evaluations, default=0), on)


def gradient_of(pipe: Any) -> Gradient:
    """What gradient="auto" is for this pipeline: its family's, but for quantised weights."""
    family = family_of(pipe)
    return "straight-through" if quantised(family.denoiser(pipe)) else family.gradient


def check_gradient(aligner: DyMO, pipe: Any, config: Config) -> None:
    """Raises PipelineError where the gradient that `config` names cannot pass: its weights let none, or an offload moves them away."""
    semantic, preference = config.semantic_weight > 0, aligner.reward is not None
    check_weights(family_of(pipe).denoiser(pipe), semantic, config.gradient if preference else "straight-through")
    check_offload(pipe, config, preference, aligner.preview_vae is not None)


def check_share(aligner: DyMO, pipe: Any, config: Config, call: dict[str, Any]) -> None:
    """Raises PipelineError where gradient="conditional" has to tell the prompt's share of the guidance of this call, and cannot."""
    on_images = aligner.reward is not None or any(objective.needs == "image" for objective in aligner.objectives)
    if config.gradient == "conditional" and on_images and (reason := family_of(pipe).unshared(pipe, arguments(pipe, call))):
        raise PipelineError(
            Setting("gradient", "conditional"), f" cannot tell the prompt's share of the guidance: {reason}; ", Set(Setting("gradient", "full")),
            " or 'straight-through'",
        )
