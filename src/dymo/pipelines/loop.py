"""A diffusers pipeline's own denoising loop, as a loop that waits.

The pipeline runs beside the algorithm (`Waiting`). It hands over where its loop comes to a timestep and where it calls `scheduler.step`, and
goes on when the algorithm has said what it needs, or with which latents. A sampler that evaluates the denoiser several times a step (Heun) is
given all of them before the algorithm is asked again. Everything that is patched is patched here, on instances, and put back on exit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, PipelineError
from ..guidance.loop import PREDICTION, Need, Rows, Seen, Timestep, pick, put
from ..trace import Cost
from . import attention
from .calls import call_with_loop, knowing
from .compiled import compiled, repeated
from .decode import decoder
from .encoding import Encoding, Words
from .evaluation import Evaluator
from .families import arguments, family_of
from .fused import fused
from .hold import assign, is_compiled, patched, put_back
from .images import with_images
from .inside import STOP, Go, Inside
from .latents import Change, Latents
from .momentum import Momentum
from .schedulers import kind_of, noise_like, prediction_of, shrink
from .schedulers.history import read
from .settings import PLAIN, USUAL_MAPS, Execution, MapChoice
from .steps import Call, Steps
from .waiting import Waiting


class PipelineLoop:
    """A `dymo.guidance.loop.Loop` over `pipe(**kwargs)`; use it as a context, and take `result` at the end.

    decode: z0' -> images; cost: where the work is counted. start: the initial standard normal noise (B, c, h, w) -> what
    to start from; words: (i, the i-th kind of the conditional token embeddings, samples first) -> what to condition on.
    whole: keep the graph over the whole trajectory and the final decode, each step's denoiser checkpointed. choice: which
    attention maps are read. free_encoders: the text encoders leave the accelerator once they have read the prompt.
    cancel: ends the run early, with the image as it is then.
    """

    def __init__(
        self, pipe: Any, kwargs: dict[str, Any], *, decode: Callable[[Tensor], Tensor], cost: Cost, start: Change | None = None,
        words: Words | None = None, whole: bool = False, free_encoders: bool = False, cancel: threading.Event | None = None,
        choice: MapChoice = USUAL_MAPS, execution: Execution = PLAIN,
    ):  # fmt: skip
        family = family_of(pipe)
        self.pipe, self.kwargs, self.decode, self.whole, self.cancel = pipe, dict(kwargs), decode, whole, cancel
        self.scheduler, self.denoiser = pipe.scheduler, family.denoiser(pipe)
        self.generator = kwargs.get("generator")
        self.result: Any = None
        self.evaluations: list[int] = []
        """Of the denoiser, by sample."""
        self._stack, self._family = ExitStack(), family
        # What the user has compiled is of the denoiser as it is, and a mode of ours would run it uncompiled.
        self._execution = replace(execution, lean=execution.lean and not is_compiled(self.denoiser))
        given = arguments(pipe, kwargs)
        self._latents = Latents(pipe, family, given, start, whole)
        self._encoding = Encoding(pipe, family, words, free_encoders, self._stack)
        self._evaluator = Evaluator(pipe, family, self._latents, given, cost, self._stack, whole, choice, self._execution)
        self._momentum = Momentum(family, pipe, given)
        self._stack.callback(self._momentum.end)
        scheduler = self.scheduler
        self._steps = Steps(scheduler, kind_of(scheduler), scheduler.step, lambda fields: assign(scheduler, fields), self.generator)
        self._inside = Inside(pipe, kwargs, self.denoiser, self._latents, self._evaluator, self._steps, self._momentum, whole)
        self._arrived: Timestep | None = None
        self._call: Call
        """Of the scheduler's step, which waits."""
        self._evaluated = False
        """Whether the pipeline has evaluated at this level."""
        self._back: set[int] = set()
        """Samples that came back to this level by noise drawn anew."""
        self._unmoved: Tensor | None = None
        """The sampler's own z_{t-1} of all samples."""
        self._carry: Tensor | None = None
        """What rounding the latents took away."""

    @property
    def samples(self) -> int:
        """Images of this run."""
        return self._latents.samples

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of the latents (samples, c, h, w), with their precision."""
        return (*self._latents.shape, self._latents.dtype)

    @property
    def timesteps(self) -> list[Timestep]:
        """All of the run; none before the pipeline has come to its loop."""
        return self._inside.timesteps

    @property
    def interrupted(self) -> bool:
        """Whether the pipeline has been told to stop, and has not yet."""
        return self._inside.interrupted

    @property
    def cancelled(self) -> bool:
        """Whether the run was ended early."""
        return self._inside.cancelled

    # What the algorithm asks for.

    def __iter__(self) -> Iterator[Timestep]:
        """See `Loop.__iter__`. Raises PipelineError where a level is not left by `accept`."""
        while self._arrived is not None:
            if self.interrupted or (self.cancel is not None and self.cancel.is_set()):
                self._go(STOP)
            else:
                now = self._arrived
                yield now
                if self._arrived is now:
                    raise PipelineError(f"step {now.index} was not left: each is left by loop.accept(z), and comes again until then")

    def predict(self, z: Tensor | None = None, rows: Rows | None = None, need: Need = PREDICTION) -> Seen:
        """See `Loop.predict`. Raises ConfigError on a `need` that is no Need, PipelineError where the pipeline ends in the middle of a step."""
        if not isinstance(need, Need):
            raise ConfigError(f"need={need!r}: give dymo.guidance.loop.Need(maps=True, through='maps') or another")
        rows = rows or list(range(self.samples))
        if z is not None:
            self._back |= set(rows) & set(self._steps.taken)
            sample = self._inside.sample
            z = put(sample.detach(), rows, self._latents.packed(z).to(sample.dtype))
        elif self._evaluated:
            z = self._inside.sample.detach()
        self._evaluate(Go(z, rows, need, again=True, leaf=True))
        self._evaluated = True
        if self._inside.blank:
            self._evaluate(Go(self._inside.sample.detach(), rows, need, again=True, leaf=True))
        assert self._arrived is not None
        return self._evaluator.seen(self._arrived, self._call.sample, self._call.output, rows, need, self.decode)

    def layers(self, seen: Seen) -> dict[str, Tensor]:
        """The maps of each attention layer by itself, (n, pixels, tokens), of what was seen last, with maps."""
        return self._evaluator.layers(len(seen.rows))

    def sampler_step(self, seen: Seen, noise: Tensor | None = None) -> Tensor:
        """See `Loop.sampler_step`. noise (n, c, h, w): the scheduler's own (DDIM's `variance_noise`) in place of a draw."""
        now = seen.timestep
        while self._inside.at + 1 < now.calls:
            z = self._steps.take(self._call, seen.rows, now, self._inside.at, self._back, None, self.whole)
            self._evaluate(Go(put(self._call.sample if self.whole else self._call.sample.detach(), seen.rows, z), seen.rows))
        noise = None if noise is None else self._latents.packed(noise)
        found = self._steps.take(self._call, seen.rows, now, self._inside.at, self._back, noise, self.whole)
        if not self.whole:
            self._momentum.take(seen.rows)
        found = self._latents.spatial(found).float()
        if self._carry is not None:
            factor = shrink(now.here, now.there, prediction_of(self.scheduler))
            found = found + factor * pick(self._carry, seen.rows)
        self._unmoved = found if len(seen.rows) == self.samples and self._carry is None else None
        return found

    def accept(self, z: Tensor, origin: Rows | None = None) -> None:
        """See `Loop.accept`. What rounding to the pipeline's precision takes away is added to the next step."""
        now = self._arrived
        assert now is not None
        goes_on = self._steps.accept(self._latents.packed(z), now, origin, z is not self._unmoved)
        if not self.whole:
            self._momentum.accept(origin)
        rounded = z.to(self._inside.sample.dtype)
        self._carry = (z - rounded.float()).detach() if goes_on and rounded.dtype != torch.float32 else None
        self._go(Go(self._latents.packed(rounded), leaf=now.index + 1 < now.steps, over=True))

    def noise(self, rows: Rows) -> Tensor:
        """See `Loop.noise`; drawn from the user's generators."""
        return self._latents.spatial(noise_like(self._inside.sample, rows, self.generator)).float()

    def seconds_to_decode(self) -> float:
        """How long the pipeline's own decode of the final latents takes, measured on one of its images."""
        vae, began = self.pipe.vae, time.perf_counter()
        with torch.no_grad():
            decoder(vae, self._family.form)(torch.zeros((1, *self._latents.shape[1:]), device=self.pipe._execution_device)).sum().item()
        return (time.perf_counter() - began) * self.samples

    # Between the two sides.

    def _go(self, answer: Any) -> None:
        """Let the pipeline go on to where it hands over next: a timestep, the call of its scheduler's step, or its result."""
        if answer is STOP or answer is None or answer.over:
            self._arrived, self._evaluated, self._back = None, False, set()
        found = self._side.go(answer)
        if self._inside.exchanged:
            self._carry = None
        if self._side.ended:
            self.result, self._arrived = with_images(found), None
        elif isinstance(found, Timestep):
            self._arrived = found
        else:
            self._call = found

    def _evaluate(self, go: Go) -> None:
        self._go(go)
        if self._side.ended:
            raise PipelineError(f"{type(self.pipe).__name__} ended in the middle of a step")
        self.evaluations = self.evaluations or [0] * self.samples
        for i in () if self._inside.blank else go.rows or ():
            self.evaluations[i] += 1

    # What is opened, and closed again.

    def __enter__(self) -> PipelineLoop:
        try:
            self._state = read(self.scheduler, list(vars(self.scheduler)))
            self._patch()
            self._side = Waiting(self._run)
            self._go(None)
            if self._execution.backend is not None and self._arrived is not None:
                self._stack.enter_context(self._compiled(self._execution.backend))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        try:
            if hasattr(self, "_side"):
                self._side.close()
        finally:
            self._stack.close()
            if hasattr(self, "_state") and (any(exc) or not exc or self.result is None):  # the run did not come to its end
                put_back(self.scheduler, self._state)

    def _run(self) -> Any:
        call = call_with_loop(self.pipe)
        names, given = self._latents.drawn(call, self.kwargs)
        kwargs = {**self.kwargs, **self._inside.callbacks, **given}
        return self._inside.run(self._side, lambda: knowing(call, {"enumerate": self._inside.enumerate, **names})(self.pipe, **kwargs))

    def _patch(self) -> None:
        enter, pipe, scheduler = self._stack.enter_context, self.pipe, self.scheduler
        owners: dict[str, tuple[Any, Callable]] = {
            **self._inside.replaced, "set_timesteps": (scheduler, self._set_timesteps(scheduler.set_timesteps)),
        }  # fmt: skip
        if hasattr(pipe, "prepare_latents"):
            owners["prepare_latents"] = (pipe, self._prepare_latents)
        if self._encoding.words is not None:
            owners["encode_prompt"] = (pipe, self._encoding.encode)
        for name, (owner, value) in owners.items():
            enter(patched(owner, name, value))
        for owner, name, value in self._family.patches(pipe):
            enter(patched(owner, name, value))
        # Perturbed attention guidance puts its own processors in, and takes them out only where its loop ends well.
        own = dict(self.denoiser.attn_processors) if hasattr(self.denoiser, "attn_processors") else {}
        self._stack.callback(self._restore_processors, own)
        if self._execution.lean and own:
            # What is kept of the words is looked up in a way that cannot be compiled or captured.
            join = attention.joins(pipe._execution_device)
            self.denoiser.set_attn_processor(attention.lean_processors(self.denoiser, join, not self._execution.fixed))
        if self.whole and getattr(pipe, "safety_checker", None) is not None:  # it leaves the graph
            enter(patched(pipe, "run_safety_checker", lambda image, *_: (image, None)))

    def _prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        self._encoding.done()  # pipelines make their latents when the prompt is read
        return self._latents.prepare(*args, **kwargs)

    def _set_timesteps(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def set_timesteps(*args: Any, **kwargs: Any) -> Any:
            self._inside.guard()
            if not hasattr(self.pipe, "prepare_latents"):
                self._encoding.done()
            return plain(*args, **kwargs)

        return set_timesteps

    def _restore_processors(self, own: dict[str, Any]) -> None:
        now = getattr(self.denoiser, "attn_processors", {})
        if any(now[name] is not processor for name, processor in own.items()):
            self.denoiser.set_attn_processor(dict(own))

    def _compiled(self, backend: str) -> AbstractContextManager[int]:
        if self._execution.graphs is None:
            return compiled(repeated(self.denoiser, self._evaluator.read(self._latents.shape[-2:])), backend)
        return nullcontext(0) if is_compiled(self.denoiser) else fused(self.denoiser, backend)
