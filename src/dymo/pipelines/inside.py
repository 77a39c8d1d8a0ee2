"""What a pipeline meets inside of its own call: timesteps that come again, and a denoiser and a scheduler that hand over.

Its `__call__` is run with an `enumerate` of ours, which offers a timestep again as often as the algorithm wants: the loop's own counter,
callbacks, ControlNets and adapters see each step once.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import PipelineError
from ..guidance.loop import PREDICTION, Need, Rows, Timestep
from .evaluation import Evaluator
from .latents import Latents
from .momentum import Momentum
from .schedulers import at_pixels, place_of, timesteps
from .steps import Call, Steps
from .waiting import Waiting


@dataclass(frozen=True)
class Go:
    """How the pipeline is to go on from where it has handed over.

    z: what its scheduler's step has led to; None where it has come to a timestep. rows, need: of the evaluation to come. again: the step
    from its first evaluation, at z. leaf: a gradient to z is wanted in what follows. over: the step is over.
    """

    z: Tensor | None = None
    rows: Rows | None = None
    need: Need = PREDICTION
    again: bool = False
    leaf: bool = False
    over: bool = False


STOP = object()
"""In the place of a `Go` at a timestep: end the loop here."""


class Inside:
    """The pipeline's side. It hands over each Timestep, and within it each `Call` of the scheduler's step, and is told how to `Go` on."""

    def __init__(
        self, pipe: Any, kwargs: Mapping[str, Any], denoiser: Any, latents: Latents, evaluator: Evaluator, steps: Steps, momentum: Momentum,
        whole: bool,
    ):  # fmt: skip
        self.pipe, self.scheduler, self.latents, self.whole = pipe, pipe.scheduler, latents, whole
        self.evaluator, self.steps, self.momentum = evaluator, steps, momentum
        replaced: dict[str, tuple[Any, Callable]] = {
            "forward": (denoiser, self._forward), "step": (pipe.scheduler, self._step), "add_noise": (pipe.scheduler, self._add_noise),
            "scale_noise": (pipe.scheduler, self._scale_noise), "progress_bar": (pipe, self._progress_bar),
        }  # fmt: skip
        self.replaced = {name: found for name, found in replaced.items() if hasattr(found[0], name)}
        """name -> whose it is, and what stands there while the pipeline runs."""
        self._plain = {name: getattr(owner, name) for name, (owner, _) in self.replaced.items()}
        self.callbacks: dict[str, Any] = {}
        """The user's, as the pipeline is to have them: arguments of its call."""
        for name in ("callback_on_step_end", "callback"):
            user: Any = kwargs.get(name)
            if user is not None:
                self.callbacks[name] = self._once_a_step(name, user)
            if hasattr(user, "tensor_inputs"):  # PipelineCallback, MultiPipelineCallbacks
                self.callbacks["callback_on_step_end_tensor_inputs"] = user.tensor_inputs
        self.timesteps: list[Timestep] = []
        self.cancelled = False
        self.at = 0
        """Which of the step's evaluations the pipeline is at."""
        self.sample: Tensor
        """z_t of all samples, as the pipeline has it."""
        self.exchanged = False
        """Whether the user's callback has put other latents in the place of the last step's."""
        self.blank = False
        """Whether the evaluation was none: no gradient could pass to latents that the pipeline made of those that were marked for one."""
        self._side: Waiting
        self._go = Go()
        self._entries: list[tuple[int, Any]] = []
        self._clock: list[Tensor] = []
        """This step's timesteps, as the pipeline has them and on the host."""
        self._fresh = self._repeated = self._in_body = self._in_callback = False

    def run(self, side: Waiting, call: Callable[[], Any]) -> Any:
        """`call()`, the pipeline's own, as the function that hands over to `side`."""
        self._side = side
        with torch.set_grad_enabled(self.whole):
            return call()

    @property
    def interrupted(self) -> bool:
        """Whether the pipeline has been told to stop, and has not yet."""
        return bool(getattr(self.pipe, "interrupt", False))

    def guard(self) -> None:
        """Raises PipelineError in a call that is not the run's own: the components are in use."""
        if not self._side.runs or self._in_callback:
            raise PipelineError(
                f"the components of this {type(self.pipe).__name__} are in use by a run that steers them: call again when it "
                "has ended, or use a pipeline with a denoiser and scheduler of its own"
            )

    # In the order in which the pipeline calls.

    def _progress_bar(self, *args: Any, **kwargs: Any) -> Any:
        bar = self._plain["progress_bar"](*args, **kwargs)
        update = bar.update
        bar.update = lambda n=1: None if self._silent else update(n)
        return bar

    def enumerate(self, things: Any, start: int = 0) -> Iterator[tuple[int, Any]]:
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
        if not self.latents.known:
            raise PipelineError(
                f"{type(self.pipe).__name__} has not made its latents by a method prepare_latents, by which they are known: give its class one, "
                "as diffusers' pipelines have it, or use one of these"
            )
        rows, columns = self.latents.shape[-2:]
        self.timesteps = at_pixels(self.scheduler, timesteps(self.scheduler, first, len(things)), rows * columns)
        entries = list(builtins.enumerate(things, start))
        # Schedulers look their tables up on the host: read there, each timestep would be waited for.
        clock = list(things.cpu())
        for now in self.timesteps:
            own, entries = entries[: now.calls], entries[now.calls :]
            self._entries, self._clock, clock = own, clock[: now.calls], clock[now.calls :]
            # Not every pipeline with an interrupt passes over the steps that are left.
            answer: Any = STOP if self.interrupted else self._side.ask(now)
            if answer is STOP:
                self.cancelled = True
                break
            self._go = answer
            yield from self._rounds(own)
            if bar is not None:
                bar.update(len(own))
        if bar is not None:
            bar.close()
        if not self.whole:
            torch.set_grad_enabled(False)

    def _rounds(self, entries: list[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """The evaluations of one step, from the first as often as the algorithm asks. A user's interrupt waits for its end."""
        self.at, self._fresh, self._repeated, interrupted = 0, True, False, False
        while self.at < len(entries):
            if self.interrupted:
                self.pipe._interrupt, interrupted = False, True
            need = self._go.need
            self._go, self._in_body = Go(rows=self._go.rows, need=need), True
            self.evaluator.begin()
            if self.at == 0:
                self.momentum.begin()
            if not self.whole:
                torch.set_grad_enabled(need.through != "none")
            yield entries[self.at]
            self._in_body = self._fresh = False
            self._repeated |= self._go.again
            self.at = 0 if self._go.again else self.at + 1
        if interrupted:
            self.pipe._interrupt = True

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        self.guard()
        if not self._in_body:
            return self._plain["forward"](*args, **kwargs)
        self.blank = self._fresh and self._go.need.through != "none" and not self.whole and not self.evaluator.is_marked(args, kwargs)
        if self.blank:
            return self.evaluator.nothing(args, kwargs)
        return self.evaluator(args, kwargs, self._go.rows, self._go.need)

    def _step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.guard()
        if not self._in_body:
            raise PipelineError(
                f"{type(self.pipe).__name__} calls its scheduler outside of a loop over enumerate(timesteps), which is what is steered: write "
                "its loop so, or use a pipeline class of diffusers"
            )
        if timestep is self._entries[self.at][1]:
            timestep = self._clock[self.at]
        call = Call(model_output, timestep, sample, args, kwargs)
        if self.at == 0:
            self.sample = sample
        self.steps.arrive(self.latents.samples)
        self._go = go = self._side.ask(call)
        self.exchanged = False
        if go.again:
            self.steps.rewind()
        z: Any = go.z
        if not self.whole:
            # A leaf for the next evaluation; the last latents go on as the pipeline's own would.
            torch.set_grad_enabled(True)
            z = z.detach().requires_grad_(go.leaf)
        return self.steps.answer(z, call)

    def _add_noise(self, original: Tensor, noise: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Inpainting noises the known region to the level of the next evaluation: this one, where a step is repeated."""
        return self._plain["add_noise"](original, noise, self._level(t), *args, **kwargs)

    def _scale_noise(self, sample: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """What `add_noise` is to a flow."""
        return self._plain["scale_noise"](sample, self._level(t), noise)

    def _level(self, t: Tensor) -> Tensor:
        if self._in_body and self._go.again:
            return self._entries[0][1].reshape(1).expand(t.shape).to(t.device)
        return t

    def _once_a_step(self, name: str, user: Callable[..., Any]) -> Callable[..., Any]:
        """The user's callback once a step, with plain latents, and not in a repetition."""

        def on_step(index: int, t: Any, latents: Tensor) -> None:
            if not self._silent:
                with self._calling():
                    user(index, t, latents.detach())

        def on_step_end(pipe: Any, index: int, t: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
            if self._silent:
                return {}
            own = latents = found.get("latents")
            if latents is not None:
                found["latents"] = latents = latents.detach()
            with self._calling():
                changed = dict(user(pipe, index, t, found) or {})
            given = changed.get("latents", latents)
            if given is not None:
                self.exchanged |= given is not latents
                if not self.whole:
                    given = given.detach().requires_grad_(self._go.leaf)
                elif own is not None:  # the way back passes the callback; what it changed is a constant
                    given = own if given is latents else given + (own - own.detach())
                changed["latents"] = given
            return changed

        return on_step if name == "callback" else on_step_end

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """The user's code runs inside, without gradients, as in a plain call; what it calls is not the run's own."""
        self._in_callback = True
        try:
            with torch.no_grad():
                yield
        finally:
            self._in_callback = False

    @property
    def _silent(self) -> bool:
        """Whether what follows this evaluation in the loop's body was there before, or will be there again."""
        return self._go.again or (self._repeated and not (self._go.over or self.at + 1 == len(self._entries)))
