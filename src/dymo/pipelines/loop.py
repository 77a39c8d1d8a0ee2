"""A diffusers pipeline's own denoising loop, as a loop that waits.

The pipeline runs in a greenlet. It hands over where its loop comes to a timestep and where it calls `scheduler.step`,
and goes on when the algorithm has said what it needs, or with which latents. Its `__call__` is run with an `enumerate` of
ours, which offers a timestep again as often as the algorithm wants: the loop's own counter, callbacks, ControlNets and
adapters see each step once. A sampler that evaluates the denoiser several times a step (Heun) is given all of them
before the algorithm is asked again. Everything that is patched is patched here, on instances, and put back on exit.
"""

from __future__ import annotations

import builtins
import contextvars
import inspect
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor

from ..errors import ConfigError, PipelineError
from ..guidance.loop import PREDICTION, Need, Rows, Seen, Timestep, pick, put
from ..trace import Cost
from . import attention
from .calls import holds_loop, knowing, loop_call, undecorated
from .compiled import compiled, repeated
from .decode import decoder
from .evaluation import Evaluator
from .families import arguments, family_of
from .fused import fused
from .hold import is_compiled, parked, patched
from .images import with_images
from .momentum import Momentum
from .schedulers import at_pixels, initial_scale, kind_of, noise_like, place_of, prediction_of, shrink, timesteps
from .schedulers.history import Fields, read
from .settings import PLAIN, USUAL_MAPS, Execution, MapChoice
from .steps import Call, Steps

Change = Callable[[Tensor], Tensor]
_STOP = object()


class PipelineLoop:
    """A `dymo.guidance.loop.Loop` over `pipe(**kwargs)`; use it as a context, and take `result` at the end.

    decode: z0' -> images; cost: where the work is counted. start: the initial standard normal noise (B, c, h, w) -> what
    to start from; words: the conditional prompt embeddings -> what to condition on. whole: keep the graph over the whole
    trajectory and the final decode, each step's denoiser checkpointed. choice: which attention maps are read.
    free_encoders: the text encoders leave the accelerator once they have read the prompt. cancel: ends the run early, with the image as it is then.
    """

    def __init__(
        self, pipe: Any, kwargs: dict[str, Any], *, decode: Callable[[Tensor], Tensor], cost: Cost, start: Change | None = None,
        words: Change | None = None, whole: bool = False, free_encoders: bool = False, cancel: threading.Event | None = None,
        choice: MapChoice = USUAL_MAPS, execution: Execution = PLAIN,
    ):  # fmt: skip
        family = family_of(pipe)
        self.pipe, self.kwargs, self.decode = pipe, dict(kwargs), decode
        self.start, self.words, self.whole, self.cancel = start, words, whole, cancel
        self._frees = free_encoders
        self.scheduler, self.denoiser = pipe.scheduler, family.denoiser(pipe)
        kind = kind_of(self.scheduler)
        self._stack = ExitStack()
        self._family = family
        # What the user has compiled is of the denoiser as it is, and a mode of ours would run it uncompiled.
        self._execution = replace(execution, lean=execution.lean and not is_compiled(self.denoiser))
        given = arguments(pipe, kwargs)
        self._evaluator = Evaluator(pipe, family, given, cost, self._stack, whole, choice, self._execution)
        self._momentum = Momentum(family, pipe, given)
        self._stack.callback(self._momentum.end)
        self.generator = kwargs.get("generator")
        self._steps = Steps(self.scheduler, kind, self.scheduler.step, self._write, self.generator)
        self.result: Any = None
        self.cancelled = False
        self.evaluations: list[int] = []
        """Of the denoiser, by sample."""
        self.timesteps: list[Timestep] = []
        self._samples: int | None = None
        # What the algorithm asked for, and where the pipeline is.
        self._rows: Rows = []
        self._need = PREDICTION
        self._arrived: Timestep | None = None
        self._again = self._more = self._in_body = self._in_callback = False
        # Which of the step's evaluations the pipeline is at, and whether the step was begun before.
        self._at, self._repeated = 0, False
        self._back: set[int] = set()
        """Samples that came back to this level by noise drawn anew."""
        self._call: Call
        self._evaluated = False
        """Whether the pipeline has evaluated at this level."""
        self._entries: list[tuple[int, Any]] = []
        self._clock: list[Tensor] = []
        """This step's timesteps, as the pipeline has them and on the host."""
        self._unmoved: Tensor | None = None
        """The sampler's own z_{t-1} of all samples."""
        self._carry: Tensor | None = None
        """What rounding the latents took away."""

    # Seen from the algorithm.

    @property
    def samples(self) -> int:
        """Images of this run."""
        assert self._samples is not None
        return self._samples

    @property
    def interrupted(self) -> bool:
        """Whether the pipeline has been told to stop, and has not yet."""
        return bool(getattr(self.pipe, "interrupt", False))

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of the latents (samples, c, h, w), with their precision."""
        return (*self._shape, self._sample_dtype)

    def __enter__(self) -> PipelineLoop:
        try:
            self._state = read(self.scheduler, list(vars(self.scheduler)))
            self._patch()
            self._caller = getcurrent()
            self._pipeline = greenlet(self._run)
            self._pipeline.gr_context = contextvars.copy_context()
            self._to_pipeline(None)
            if self._execution.backend is not None and self._arrived is not None:
                self._stack.enter_context(self._compiled(self._execution.backend))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _compiled(self, backend: str) -> AbstractContextManager[int]:
        if self._execution.graphs is None:
            return compiled(repeated(self.denoiser, self._evaluator.read(self._shape[-2:])), backend)
        return nullcontext(0) if is_compiled(self.denoiser) else fused(self.denoiser, backend)

    def __exit__(self, *exc: Any) -> None:
        try:
            if hasattr(self, "_pipeline") and self._pipeline and not self._pipeline.dead:
                mode = torch.is_grad_enabled()
                try:
                    self._pipeline.throw(GreenletExit)
                finally:
                    torch.set_grad_enabled(mode)
        finally:
            self._stack.close()
            if hasattr(self, "_state") and (any(exc) or not exc or self.result is None):
                self._put_back()

    def __iter__(self) -> Iterator[Timestep]:
        while self._arrived is not None:
            if self.interrupted or (self.cancel is not None and self.cancel.is_set()):
                self.cancelled, self._arrived = True, None
                self._to_pipeline(_STOP)
            else:
                yield self._arrived

    def predict(self, z: Tensor | None = None, rows: Rows | None = None, need: Need = PREDICTION) -> Seen:
        """See `Loop.predict`. Raises ConfigError on a `need` that is no Need, PipelineError where the pipeline ends in the middle of a step."""
        if not isinstance(need, Need):
            raise ConfigError(f"need={need!r}: give dymo.guidance.loop.Need(maps=True, through='maps') or another")
        self._rows, self._need = list(range(self._samples or 0)) if rows is None else rows, need
        if z is not None:
            self._back |= set(self._rows) & set(self._steps.taken)
            z = put(self._sample.detach(), self._rows, self._packed(z).to(self._sample.dtype))
        if z is None and self._evaluated:
            z = self._sample.detach()
        self._evaluate(None if z is None else (True, z))
        self._evaluated = True
        if need.through != "none" and not self.whole and not self._sample.requires_grad:
            # The pipeline made its first latents where they could not be marked: evaluate once more.
            self._evaluate((True, self._sample.detach()))
        assert self._arrived is not None
        return self._evaluator.seen(
            self._arrived, self._call.sample, self._call.output, self._rows, self._need, self.decode
        )

    def layers(self, seen: Seen) -> dict[str, Tensor]:
        """The maps of each attention layer by itself, (n, pixels, tokens), of what was seen last, with maps."""
        return self._evaluator.layers(len(seen.rows))

    def sampler_step(self, seen: Seen, noise: Tensor | None = None) -> Tensor:
        """See `Loop.sampler_step`. noise (n, c, h, w): the scheduler's own (DDIM's `variance_noise`) in place of a draw."""
        now = seen.timestep
        while self._at + 1 < now.calls:
            z = self._steps.take(self._call, seen.rows, now, self._at, self._back, None, self.whole)
            self._rows, self._need = seen.rows, PREDICTION
            self._evaluate((False, put(self._call.sample if self.whole else self._call.sample.detach(), seen.rows, z)))
        noise = None if noise is None else self._packed(noise)
        found = self._steps.take(self._call, seen.rows, now, self._at, self._back, noise, self.whole)
        if not self.whole:
            self._momentum.take(seen.rows)
        found = self._evaluator.spatial(found).float()
        if self._carry is not None:
            factor = shrink(now.here, now.there, prediction_of(self.scheduler))
            found = found + factor * pick(self._carry, seen.rows)
        self._unmoved = found if len(seen.rows) == self.samples and self._carry is None else None
        return found

    def accept(self, z: Tensor, origin: Rows | None = None) -> None:
        """See `Loop.accept`. What rounding to the pipeline's precision takes away is added to the next step."""
        now = self._arrived
        assert now is not None
        goes_on = self._steps.accept(self._packed(z), now, origin, z is not self._unmoved)
        if not self.whole:
            self._momentum.accept(origin)
        rounded = z.to(self._sample.dtype)
        self._carry = (z - rounded.float()).detach() if goes_on and rounded.dtype != torch.float32 else None
        self._more = now.index + 1 < now.steps
        self._arrived, self._evaluated = None, False
        self._to_pipeline((False, self._packed(rounded)))

    def noise(self, rows: Rows) -> Tensor:
        """See `Loop.noise`; drawn from the user's generators."""
        return self._evaluator.spatial(noise_like(self._sample, rows, self.generator)).float()

    def seconds_to_decode(self) -> float:
        """How long the pipeline's own decode of the final latents takes, measured on one of its images."""
        vae, began = self.pipe.vae, time.perf_counter()
        with torch.no_grad():
            decoder(vae, self._family.form)(torch.zeros((1, *self._shape[1:]), device=self.pipe._execution_device)).sum().item()
        return (time.perf_counter() - began) * self.samples

    def _packed(self, z: Tensor) -> Tensor:
        """Latents (n, c, h, w) as the pipeline keeps them."""
        return z if self._evaluator.packing is None else self._evaluator.packing.pack(z)

    # The two sides.

    def _to_pipeline(self, message: Any) -> None:
        # The grad mode belongs to the thread, not to the greenlet.
        mode = torch.is_grad_enabled()
        try:
            found = self._pipeline.switch(message)
        finally:
            torch.set_grad_enabled(mode)
        if self._pipeline.dead:
            self.result, self._arrived = with_images(found), None

    def _to_caller(self) -> Any:
        mode = torch.is_grad_enabled()
        message = self._caller.switch()
        torch.set_grad_enabled(mode)
        return message

    def _run(self, _message: Any) -> Any:
        if not holds_loop(self.pipe):
            raise PipelineError(
                f"{type(self.pipe).__name__}.__call__ has no loop of its own over enumerate(timesteps), which is what is "
                "steered: use the pipeline class of diffusers that it derives from"
            )
        call = undecorated(loop_call(type(self.pipe)))
        own: dict[str, Any] = {"enumerate": self._enumerate}
        if "prepare_latents" not in self._plain:
            own |= self._draws(call)
        with torch.set_grad_enabled(self.whole):
            return knowing(call, own)(self.pipe, **self.kwargs)

    def _draws(self, call: types.FunctionType) -> dict[str, Any]:
        """What the pipeline's call draws its first latents by, where it has no `prepare_latents`, by the name that it has there."""
        if self.kwargs.get("latents") is not None:
            self.kwargs["latents"] = self._first(self.kwargs["latents"])
            return {}
        if "randn_tensor" not in call.__code__.co_names:
            raise PipelineError(f"{type(self.pipe).__name__} makes its first latents in a way that is not known: give latents=")
        draw = call.__globals__["randn_tensor"]

        def first_draw(*args: Any, **kwargs: Any) -> Tensor:
            noise = draw(*args, **kwargs)
            return self._first(noise) if self._samples is None else noise

        return {"randn_tensor": first_draw}

    def _evaluate(self, message: Any) -> None:
        self._to_pipeline(message)
        if self._pipeline.dead:
            raise PipelineError(f"{type(self.pipe).__name__} ended in the middle of a step")
        self.evaluations = self.evaluations or [0] * self.samples
        for i in self._rows:
            self.evaluations[i] += 1

    def _guard(self) -> None:
        """Raises PipelineError in a call that is not the run's own: the components are in use."""
        if getcurrent() is not self._pipeline or self._in_callback:
            raise PipelineError(
                f"the components of this {type(self.pipe).__name__} are in use by a run that steers them: call again when it "
                "has ended, or use a pipeline with a denoiser and scheduler of its own"
            )

    # Seen from the pipeline, in the order in which it calls.

    def _patch(self) -> None:
        enter, pipe, scheduler = self._stack.enter_context, self.pipe, self.scheduler
        owners: dict[str, tuple[Any, Callable]] = {
            "forward": (self.denoiser, self._forward), "step": (scheduler, self._step), "set_timesteps": (scheduler, self._set_timesteps),
            "add_noise": (scheduler, self._add_noise), "scale_noise": (scheduler, self._scale_noise),
            "prepare_latents": (pipe, self._prepare_latents), "progress_bar": (pipe, self._progress_bar),
        }  # fmt: skip
        if self.words is not None:
            if not hasattr(pipe, "encode_prompt"):
                raise PipelineError(f"{type(pipe).__name__} has no encode_prompt, so that its prompt's embeddings cannot be optimised")
            owners["encode_prompt"] = (pipe, self._encode_prompt)
        self._plain = {name: getattr(owner, name) for name, (owner, _) in owners.items() if hasattr(owner, name)}
        for name in self._plain:
            enter(patched(owners[name][0], name, owners[name][1]))
        for owner, name, value in self._family.patches(pipe):
            enter(patched(owner, name, value))
        # Perturbed attention guidance puts its own processors in, and takes them out only where its loop ends well.
        own = dict(self.denoiser.attn_processors) if hasattr(self.denoiser, "attn_processors") else {}
        self._stack.callback(self._restore_processors, own)
        if self._execution.lean and own:
            # What is kept of the words is looked up in a way that cannot be compiled or captured.
            join = attention.joins(pipe._execution_device)
            self.denoiser.set_attn_processor(attention.lean_processors(self.denoiser, join, not self._execution.fixed))
        if self.whole and hasattr(pipe, "run_safety_checker"):  # it leaves the graph
            enter(patched(pipe, "run_safety_checker", lambda image, *_: (image, None)))
        for name in ("callback_on_step_end", "callback"):
            if self.kwargs.get(name) is not None:
                self._wrap_callback(name)

    def _restore_processors(self, own: dict[str, Any]) -> None:
        now = getattr(self.denoiser, "attn_processors", {})
        if any(now[name] is not processor for name, processor in own.items()):
            self.denoiser.set_attn_processor(dict(own))

    def _set_timesteps(self, *args: Any, **kwargs: Any) -> Any:
        self._guard()
        if "prepare_latents" not in self._plain:
            self._park()
        return self._plain["set_timesteps"](*args, **kwargs)

    def _encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        found, words, self.words = self._plain["encode_prompt"](*args, **kwargs), self.words, None
        if words is None:  # pipelines with true guidance encode the negative prompt in a second call
            return found
        if isinstance(found, list) or not isinstance(found[0], Tensor):
            raise PipelineError(f"{type(self.pipe).__name__} keeps the embeddings of its prompts apart, so that they cannot be optimised")
        return (words(found[0]), *found[1:])

    def _prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        self._park()  # pipelines make their latents when the prompt is read
        found = self._plain["prepare_latents"](*args, **kwargs)
        first = found[0] if isinstance(found, tuple) else found
        if first.ndim != 4:
            given = inspect.signature(self._plain["prepare_latents"]).bind(*args, **kwargs)
            given.apply_defaults()
            self._evaluator.packing = self._family.packing(self.pipe, {**self._evaluator.given, **given.arguments})
        first = self._first(first)
        return (first, *found[1:]) if isinstance(found, tuple) else first

    def _park(self) -> None:
        """The text encoders leave the accelerator, once, where that is asked for."""
        if self._frees:
            self._frees = False
            encoders = [
                m for name, m in self.pipe.components.items() if name.startswith("text_encoder") and m is not None
            ]
            self._stack.enter_context(parked(encoders))

    def _first(self, first: Tensor) -> Tensor:
        """What the pipeline starts from in place of its first latents."""
        spatial = self._evaluator.spatial(first)
        self._samples, self._shape, self._sample_dtype = first.shape[0], spatial.shape, first.dtype
        if self.start is not None:
            scale = initial_scale(self.scheduler)
            first = self._packed(self.start(spatial / scale) * scale).to(first.dtype)
        elif not self.whole:
            # The first evaluation's input must be a leaf, or it would have to be repeated.
            first = (first.clone() if first.is_inference() else first.detach()).requires_grad_()
        return first

    def _progress_bar(self, *args: Any, **kwargs: Any) -> Any:
        bar = self._plain["progress_bar"](*args, **kwargs)
        update = bar.update
        bar.update = lambda n=1: None if self._silent else update(n)
        return bar

    def _enumerate(self, things: Any, start: int = 0) -> Iterator[tuple[int, Any]]:
        """The loop over timesteps, each as often as the algorithm asks; any other loop as it is.

        Some pipelines put the bar around the timesteps, which then counts what it hands out.
        """
        bar, inside = None, getattr(things, "iterable", None)
        if isinstance(inside, Tensor):
            bar, things = things, inside
        first = place_of(self.scheduler, things) if isinstance(things, Tensor) and things.ndim == 1 else None
        if first is None:
            yield from builtins.enumerate(things if bar is None else bar, start)
            return
        if self._samples is None:
            raise PipelineError(
                f"{type(self.pipe).__name__} has not made its latents by a method prepare_latents, by which they are known: give its class one, "
                "as diffusers' pipelines have it, or use one of these"
            )
        steps = timesteps(self.scheduler, first, len(things))
        self.timesteps = at_pixels(self.scheduler, steps, self._shape[-2] * self._shape[-1])
        entries = list(builtins.enumerate(things, start))
        # Schedulers look their tables up on the host: read there, each timestep would be waited for.
        clock = list(things.cpu())
        for now in self.timesteps:
            own, entries = entries[: now.calls], entries[now.calls :]
            self._entries, self._clock, clock = own, clock[: now.calls], clock[now.calls :]
            if self.interrupted:
                self.cancelled = True
                yield from own
                continue
            self._arrived = now
            if self._to_caller() is _STOP:
                break
            yield from self._rounds(own)
            if bar is not None:
                bar.update(len(own))
        if bar is not None:
            bar.close()
        if not self.whole:
            torch.set_grad_enabled(False)

    def _rounds(self, entries: list[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """The evaluations of one step, from the first as often as the algorithm asks. A user's interrupt waits for its end."""
        self._at, self._repeated, self._back, self._now, interrupted = 0, False, set(), entries[0][1], False
        while self._at < len(entries):
            if self.interrupted:
                self.pipe._interrupt, interrupted = False, True
            self._again, self._in_body = False, True
            self._evaluator.begin()
            if self._at == 0:
                self._momentum.begin()
            if not self.whole:
                torch.set_grad_enabled(self._need.through != "none")
            yield entries[self._at]
            self._in_body = False
            self._repeated |= self._again
            self._at = 0 if self._again else self._at + 1
        if interrupted:
            self.pipe._interrupt = True

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        self._guard()
        if not self._in_body:
            return self._plain["forward"](*args, **kwargs)
        answer, self._samples = self._evaluator(args, kwargs, self._samples, self._rows, self._need)
        self._rows = self._rows or list(range(self._samples))
        return answer

    def _step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._guard()
        if not self._in_body:
            raise PipelineError(
                f"{type(self.pipe).__name__} calls its scheduler outside of a loop over enumerate(timesteps), which is what is steered: write "
                "its loop so, or use a pipeline class of diffusers"
            )
        if timestep is self._entries[self._at][1]:
            timestep = self._clock[self._at]
        self._call = Call(model_output, timestep, sample, args, kwargs)
        if self._at == 0:
            self._sample = sample
        self._steps.arrive(self.samples)
        self._again, z = self._to_caller()
        if self._again:
            self._steps.rewind()
        if not self.whole:
            # A leaf for the next evaluation; the last latents go on as the pipeline's own would.
            torch.set_grad_enabled(True)
            z = z.detach().requires_grad_(self._again or (self._more and self._ends))
        return self._steps.answer(z, self._call)

    def _add_noise(self, original: Tensor, noise: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Inpainting noises the known region to the level of the next evaluation: this one, where a step is repeated."""
        if self._in_body and self._again:
            t = self._now.reshape(1).expand(t.shape).to(t.device)
        return self._plain["add_noise"](original, noise, t, *args, **kwargs)

    def _scale_noise(self, sample: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """What `add_noise` is to a flow."""
        if self._in_body and self._again:
            t = self._now.reshape(1).expand(t.shape).to(t.device)
        return self._plain["scale_noise"](sample, t, noise)

    def _wrap_callback(self, name: str) -> None:
        """The user's callback once a step, with plain latents, and not in a repetition."""
        user = self.kwargs[name]
        if name == "callback":

            def on_step(index: int, t: Any, latents: Tensor) -> None:
                if not self._silent:
                    user(index, t, latents.detach())

            self.kwargs[name] = on_step
            return
        if hasattr(user, "tensor_inputs"):  # PipelineCallback, MultiPipelineCallbacks
            self.kwargs["callback_on_step_end_tensor_inputs"] = user.tensor_inputs

        def on_step_end(pipe: Any, index: int, t: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
            if self._silent:
                return {}
            own = latents = found.get("latents")
            if latents is not None:
                found["latents"] = latents = latents.detach()
            self._in_callback, mode = True, torch.is_grad_enabled()
            try:
                torch.set_grad_enabled(False)
                changed = dict(user(pipe, index, t, found) or {})
            finally:
                self._in_callback = False
                torch.set_grad_enabled(mode)
            given = changed.get("latents", latents)
            if given is not None:
                if given is not latents:
                    self._carry = None
                if not self.whole:
                    given = given.detach().requires_grad_(self._more and self._ends)
                elif own is not None:  # the way back passes the callback; what it changed is a constant
                    given = own if given is latents else given + (own - own.detach())
                changed["latents"] = given
            return changed

        self.kwargs[name] = on_step_end

    @property
    def _ends(self) -> bool:
        """Whether the pipeline is in the last evaluation of its step."""
        return self._arrived is None or self._at + 1 == self._arrived.calls

    @property
    def _silent(self) -> bool:
        """Whether what follows this evaluation in the loop's body was there before, or will be there again."""
        return self._again or (self._repeated and not self._ends)

    def _write(self, fields: Fields) -> None:
        for name, value in fields.items():
            setattr(self.scheduler, name, value)

    def _put_back(self) -> None:
        """The scheduler as it was before the run, which did not come to its end."""
        for name in set(vars(self.scheduler)) - set(self._state):
            delattr(self.scheduler, name)
        self._write(self._state)
