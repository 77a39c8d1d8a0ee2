"""A diffusers pipeline's own denoising loop, as a loop that waits.

The pipeline runs in a greenlet. It hands over where its loop comes to a timestep and where it calls `scheduler.step`,
and goes on when the algorithm has said what it needs, or with which latents. Its `__call__` is run with an `enumerate` of
ours, which offers a timestep again as often as the algorithm wants: the loop's own counter, callbacks, ControlNets and
adapters see each step once. Everything that is patched is patched here, on instances, and put back on exit.
"""

from __future__ import annotations

import builtins
import contextvars
import inspect
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor

from ..errors import PipelineError
from ..guidance.loop import PREDICTION, Need, Rows, Seen, Timestep, pick, put
from ..trace import Cost
from .decode import decoder
from .evaluation import Evaluator
from .families import arguments, family_of
from .hold import parked, patched
from .schedulers import at_pixels, initial_scale, kind_of, noise_like, prediction_of, shrink, snapshot, timesteps

Change = Callable[[Tensor], Tensor]
_STOP = object()


class PipelineLoop:
    """A `dymo.guidance.loop.Loop` over `pipe(**kwargs)`; use it as a context, and take `result` at the end.

    decode: z0' -> images; cost: where the work is counted. start: the initial standard normal noise (B, c, h, w) -> what
    to start from; words: the conditional prompt embeddings -> what to condition on. whole: keep the graph over the whole
    trajectory and the final decode, each step's denoiser checkpointed. map_size, map_layers, all_rows: which attention maps.
    free_encoders: the text encoders leave the accelerator once they have read the prompt. cancel: ends the run early, with the image as it is then.
    """

    def __init__(
        self, pipe: Any, kwargs: dict[str, Any], *, decode: Callable[[Tensor], Tensor], cost: Cost, start: Change | None = None,
        words: Change | None = None, whole: bool = False, map_size: int | None = None, map_layers: Sequence[int] | None = None,
        all_rows: bool = False, free_encoders: bool = False, cancel: threading.Event | None = None,
    ):  # fmt: skip
        family = family_of(pipe)
        self.pipe, self.kwargs, self.decode = pipe, dict(kwargs), decode
        self.start, self.words, self.whole, self.cancel = start, words, whole, cancel
        self._frees = free_encoders
        self.scheduler, self.denoiser = pipe.scheduler, family.denoiser(pipe)
        self.kind = kind_of(self.scheduler)
        self._stack = ExitStack()
        self._family = family
        self._evaluator = Evaluator(
            pipe, family, arguments(pipe, kwargs), cost, self._stack, whole, map_size, map_layers, all_rows
        )
        self.generator = kwargs.get("generator")
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
        # The present call of `scheduler.step`: its arguments, its answer, and what rounding the latents took away.
        self._call: tuple[Tensor, Any, Tensor, tuple, dict]
        self._answer: Any = (None,)
        self._carry: Tensor | None = None

    # Seen from the algorithm.

    @property
    def samples(self) -> int:
        """Images of this run."""
        assert self._samples is not None
        return self._samples

    def __enter__(self) -> PipelineLoop:
        try:
            self._patch()
            self._caller = getcurrent()
            self._pipeline = greenlet(self._run)
            self._pipeline.gr_context = contextvars.copy_context()
            self._to_pipeline(None)
        except BaseException:
            self.__exit__()
            raise
        return self

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

    def __iter__(self) -> Iterator[Timestep]:
        while self._arrived is not None:
            if self.cancel is not None and self.cancel.is_set():
                self.cancelled, self._arrived = True, None
                self._to_pipeline(_STOP)
            else:
                yield self._arrived

    def predict(self, z: Tensor | None = None, rows: Rows | None = None, need: Need = PREDICTION) -> Seen:
        """See `Loop.predict`. Raises PipelineError where the pipeline ends in the middle of a step."""
        self._rows, self._need = list(range(self._samples or 0)) if rows is None else rows, need
        self._evaluate(None if z is None else (True, put(self._sample.detach(), self._rows, self._packed(z).to(self._sample.dtype))))
        if need.through != "none" and not self.whole and not self._sample.requires_grad:
            # The pipeline made its first latents where they could not be marked: evaluate once more.
            self._evaluate((True, self._sample.detach()))
        assert self._arrived is not None
        output, _, sample, _, _ = self._call
        return self._evaluator.seen(self._arrived, sample, output, self._rows, self._need, self.decode)

    def sampler_step(self, seen: Seen, noise: Tensor | None = None) -> Tensor:
        """See `Loop.sampler_step`. noise (n, c, h, w): the scheduler's own (DDIM's `variance_noise`) in place of a draw."""
        output, timestep, sample, args, kwargs = self._call
        self._restore(self._before)
        if noise is not None:
            kwargs = {**kwargs, "generator": None, "variance_noise": noise.to(output.dtype)}
        # Generators of samples that are not evaluated are left where they were.
        every = self.generator if isinstance(self.generator, list) else []
        resting = [(g, g.get_state()) for i, g in enumerate(every) if i not in seen.rows]
        with torch.set_grad_enabled(self.whole and torch.is_grad_enabled()):
            if not self.whole:
                output, sample = output.detach(), sample.detach()
            self._answer = self._plain["step"](output, timestep, sample, *args, **kwargs)
        for generator, state in resting:
            generator.set_state(state)
        self._after = snapshot(self.scheduler, self.kind)
        found = self._answer[0] if isinstance(self._answer, tuple) else self._answer.prev_sample
        found = self._evaluator.spatial(pick(found, seen.rows)).float()
        if self._carry is None:
            return found
        factor = shrink(seen.timestep.here, seen.timestep.there, prediction_of(self.scheduler))
        return found + factor * pick(self._carry, seen.rows)

    def accept(self, z: Tensor) -> None:
        """See `Loop.accept`. What rounding to the pipeline's precision takes away is added to the next step."""
        self._restore(self._after)
        rounded = z.to(self._sample.dtype)
        self._carry = None if rounded.dtype == torch.float32 else (z - rounded.float()).detach()
        self._more = self._arrived is not None and self._arrived.index + 1 < self._arrived.steps
        self._arrived = None
        self._to_pipeline((False, self._packed(rounded)))

    def noise(self, rows: Rows) -> Tensor:
        """See `Loop.noise`; drawn from the user's generators."""
        return self._evaluator.spatial(noise_like(self._sample, rows, self.generator)).float()

    def seconds_to_decode(self) -> float:
        """How long the pipeline's own decode of the final latents takes, measured on one of its images."""
        vae, began = self.pipe.vae, time.perf_counter()
        with torch.no_grad():
            decoder(vae)(torch.zeros((1, *self._shape[1:]), device=vae.device)).sum().item()
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
            self.result, self._arrived = found, None

    def _to_caller(self) -> Any:
        mode = torch.is_grad_enabled()
        message = self._caller.switch()
        torch.set_grad_enabled(mode)
        return message

    def _run(self, _message: Any) -> Any:
        call = inspect.unwrap(type(self.pipe).__call__)
        if not isinstance(call, types.FunctionType) or "enumerate" not in call.__code__.co_names:
            raise PipelineError(
                f"{type(self.pipe).__name__}.__call__ has no loop of its own over enumerate(timesteps), which is what is "
                "steered: use the pipeline class of diffusers that it derives from"
            )
        mine = types.FunctionType(
            call.__code__, {**call.__globals__, "enumerate": self._enumerate}, call.__name__, call.__defaults__, call.__closure__
        )
        mine.__kwdefaults__ = call.__kwdefaults__
        with torch.set_grad_enabled(self.whole):
            return mine(self.pipe, **self.kwargs)

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
            owners["encode_prompt"] = (pipe, self._encode_prompt)
        self._plain = {name: getattr(owner, name) for name, (owner, _) in owners.items() if hasattr(owner, name)}
        for name in self._plain:
            enter(patched(owners[name][0], name, owners[name][1]))
        # Perturbed attention guidance puts its own processors in, and takes them out only where its loop ends well.
        own = dict(self.denoiser.attn_processors) if hasattr(self.denoiser, "attn_processors") else {}
        self._stack.callback(self._restore_processors, own)
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
        return self._plain["set_timesteps"](*args, **kwargs)

    def _encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        assert self.words is not None
        found = self._plain["encode_prompt"](*args, **kwargs)
        return (self.words(found[0]), *found[1:])

    def _prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        if self._frees:  # pipelines make their latents when the prompt is read
            self._frees = False
            encoders = [m for name, m in self.pipe.components.items() if name.startswith("text_encoder") and m is not None]
            self._stack.enter_context(parked(encoders))
        found = self._plain["prepare_latents"](*args, **kwargs)
        first = found[0] if isinstance(found, tuple) else found
        if first.ndim == 3:
            given = inspect.signature(self._plain["prepare_latents"]).bind(*args, **kwargs)
            given.apply_defaults()
            self._evaluator.packing = self._family.packing(self.pipe, given.arguments)
        spatial = self._evaluator.spatial(first)
        self._samples, self._shape = first.shape[0], spatial.shape
        if self.start is not None:
            scale = initial_scale(self.scheduler)
            first = self._packed(self.start(spatial / scale) * scale).to(first.dtype)
        elif not self.whole:
            # The first evaluation's input must be a leaf, or it would have to be repeated.
            first = first.detach().requires_grad_()
        return (first, *found[1:]) if isinstance(found, tuple) else first

    def _progress_bar(self, *args: Any, **kwargs: Any) -> Any:
        bar = self._plain["progress_bar"](*args, **kwargs)
        update = bar.update
        bar.update = lambda n=1: None if self._again else update(n)
        return bar

    def _enumerate(self, things: Any, start: int = 0) -> Iterator[tuple[int, Any]]:
        """The loop over timesteps, each as often as the algorithm asks; any other loop as it is."""
        known = getattr(self.scheduler, "timesteps", None)
        if not isinstance(things, Tensor) or things.ndim != 1 or not isinstance(known, Tensor) or not len(things):
            yield from builtins.enumerate(things, start)
            return
        where = (known == things[0]).nonzero()
        if not len(where):
            yield from builtins.enumerate(things, start)
            return
        self.timesteps = at_pixels(
            self.scheduler, timesteps(self.scheduler, int(where[0]), len(things)), self._shape[-2] * self._shape[-1]
        )
        for i, t in builtins.enumerate(things, start):
            if getattr(self.pipe, "interrupt", False):
                self.cancelled = True
                yield i, t
                continue
            self._now, self._arrived = t, self.timesteps[i - start]
            if self._to_caller() is _STOP:
                break
            self._again = True
            while self._again:
                self._again, self._in_body = False, True
                self._evaluator.begin()
                if not self.whole:
                    torch.set_grad_enabled(self._need.through != "none")
                yield i, t
                self._in_body = False
        if not self.whole:
            torch.set_grad_enabled(False)

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
            raise PipelineError(f"{type(self.pipe).__name__} calls its scheduler outside of its loop over timesteps")
        self._call, self._sample = (model_output, timestep, sample, args, kwargs), sample
        self._before = snapshot(self.scheduler, self.kind)
        self._again, z = self._to_caller()
        if self._again:
            self._restore(self._before)
        if not self.whole:
            # A leaf for the next evaluation; the last latents go on as the pipeline's own would.
            torch.set_grad_enabled(True)
            z = z.detach().requires_grad_(self._again or self._more)
        if isinstance(self._answer, tuple):
            return (z, *self._answer[1:])
        answer = type(self._answer)(**self._answer)
        answer.prev_sample = z
        return answer

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
                if not self._again:
                    user(index, t, latents.detach())

            self.kwargs[name] = on_step
            return
        if hasattr(user, "tensor_inputs"):  # PipelineCallback, MultiPipelineCallbacks
            self.kwargs["callback_on_step_end_tensor_inputs"] = user.tensor_inputs

        def on_step_end(pipe: Any, index: int, t: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
            if self._again:
                return {}
            latents = found.get("latents")
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
                changed["latents"] = given if self.whole else given.detach().requires_grad_(self._more)
            return changed

        self.kwargs[name] = on_step_end

    def _restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self.scheduler, name, value)
