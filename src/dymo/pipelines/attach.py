"""Steer the pipeline's own loop: its scheduler's `step` is where each prediction arrives and each latent leaves.

Every timestep is repeated R = max recurrences + 1 times and `scheduler.order` is set to R, as Heun's scheduler does,
so that an unmodified loop gives R slots a step. A slot evaluates and either travels back (the next slot sees z_t
again) or is accepted; the slots that are left over answer from memory and cost nothing, and z_{t-1} is delivered in
the last one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeAlias

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from ..guidance.guide import Clock, Guide, Plan
from ..guidance.transitions import renoise
from .denoiser import DenoiserSeam, Memory
from .families import levels_of
from .freeze import checkpointed, frozen
from .patch import patched

_LOCKS: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()
_UNGUIDED = Plan("unguided")

Generators: TypeAlias = Any  # torch.Generator, one or a list of them, or None


def lock_of(pipe: Any) -> threading.Lock:
    """The lock of a pipeline object: a steered pipeline cannot serve two calls at once."""
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(pipe, threading.Lock())


class Attachment(ExitStack):
    """The pipeline with its seams open; restored, whatever happens, on exit."""

    def __init__(self, pipe: Any, guide: Guide, seam: DenoiserSeam, generator: Generators):
        super().__init__()
        self.pipe, self.guide, self.seam, self.generator = pipe, guide, seam, generator
        self.scheduler = pipe.scheduler
        self.levels = levels_of(self.scheduler)
        slots = guide.config.most_recurrences + 1
        # SDXL img2img takes order 2 for Heun's list, whose first timestep is not repeated.
        self.slots = 3 if slots == 2 else slots
        self.plain: Tensor | None = None
        self.begin = 0
        self.slot = 0
        self.loop: int | None = None
        self.delivered: Tensor | None = None
        self.answer: Any = None

    def __enter__(self) -> Attachment:
        super().__enter__()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        scheduler, pipe = self.scheduler, self.pipe
        self.enter_context(frozen(pipe))
        if self.guide.config.checkpointing:
            self.enter_context(checkpointed((pipe.unet, pipe.vae)))
        self._set_timesteps, self._step = scheduler.set_timesteps, scheduler.step
        self._scale, self._prepare = scheduler.scale_model_input, pipe.prepare_latents
        self.enter_context(self.seam)
        controlnet = getattr(pipe, "controlnet", None)
        if isinstance(controlnet, nn.Module):
            self.enter_context(Memory(controlnet, lambda: self.seam.idle))
        if self.slots > 1:
            self.enter_context(patched(scheduler, "order", self.slots))
        self.enter_context(patched(scheduler, "set_timesteps", self.set_timesteps))
        self.enter_context(patched(scheduler, "scale_model_input", self.scale_model_input))
        self.enter_context(patched(scheduler, "step", self.step))
        if hasattr(scheduler, "set_begin_index"):
            self._set_begin = scheduler.set_begin_index
            self.enter_context(patched(scheduler, "set_begin_index", self.set_begin_index))
        self.enter_context(patched(pipe, "prepare_latents", self.prepare_latents))

    # The places where the pipeline looks at the scheduler, in the order in which it does.

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        self._set_timesteps(*args, **kwargs)
        self.plain = self.scheduler.timesteps
        self.scheduler.timesteps = self.plain.repeat_interleave(self.slots)

    def set_begin_index(self, begin_index: int = 0) -> None:
        self.begin = begin_index // self.slots
        self._set_begin(self.begin)

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        found = self._prepare(*args, **kwargs)
        if not self.plan_of(0).graph:
            return found
        # The first step's input must be a leaf, or its evaluation would have to be repeated.
        if isinstance(found, tuple):
            return (found[0].detach().requires_grad_(), *found[1:])
        return found.detach().requires_grad_()

    def scale_model_input(self, sample: Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Tensor:
        if self.slot == 0:
            self._start(sample.shape[0])
        if self.slot % self.slots == 0:
            self._begin_step()
        self._place(self.index)
        return self._scale(sample, timestep, *args, **kwargs)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._place(self.index)
        if self.delivered is None:
            sample = self._evaluate(model_output, timestep, sample, args, kwargs)
        last = (self.slot + 1) % self.slots == 0
        if last:
            assert self.delivered is not None
            sample, self.delivered = self.delivered, None
            self._place(self.index + 1)
            self.guide.accept()
        self.slot += 1
        self.seam.idle = self.delivered is not None
        return self._wrap(self._marked(sample))

    # What happens inside a slot.

    @property
    def index(self) -> int:
        """Steps done in this run."""
        return self.slot // self.slots

    @property
    def steps(self) -> int:
        """Steps of this run: what the schedule has after `begin`, or less where the pipeline stops early."""
        assert self.plain is not None
        return self.loop if self.loop is not None else len(self.plain) - self.begin

    def plan_of(self, index: int) -> Plan:
        return self.guide.plan(self.clock(index))

    def clock(self, index: int) -> Clock:
        assert self.plain is not None
        at = self.begin + index
        repeated, self.scheduler.timesteps = self.scheduler.timesteps, self.plain
        here, there = self.levels(self.scheduler, at)
        self.scheduler.timesteps = repeated
        t = float(self.plain[at]) * 1000 / self.scheduler.config.num_train_timesteps
        return Clock(index, self.steps, t, here, there, at / len(self.plain))

    def _start(self, rows: int) -> None:
        """The loop begins: from here on the scheduler looks at its plain list."""
        assert self.plain is not None
        self.scheduler.timesteps = self.plain
        left = len(self.plain) - self.begin
        self.loop = min(left, self.pipe.num_timesteps // self.slots) if hasattr(self.pipe, "_num_timesteps") else left
        self.guide.purse.open(self.loop, rows // (2 if self.pipe.do_classifier_free_guidance else 1))

    def _begin_step(self) -> None:
        self.now = self.clock(self.index)
        self.plan = self.guide.plan(self.now)
        if self.plan.guided and self.guide.purse.late(self.steps - self.index):
            self.plan, self.late = _UNGUIDED, True
        else:
            self.late = False
        self.active: list[int] | None = None
        self.candidate: Tensor | None = None
        self.seam.plan, self.seam.active, self.seam.idle = self.plan, None, False

    def _place(self, index: int) -> None:
        """Where schedulers that count their steps believe to be."""
        if hasattr(self.scheduler, "_step_index"):
            self.scheduler._step_index = self.begin + index

    def _evaluate(self, output: Tensor, timestep: Any, sample: Tensor, args: tuple, kwargs: dict) -> Tensor:
        """One evaluation: returns z_t for the next slot, and sets `delivered` when every sample is accepted."""
        samples = sample.shape[0]
        active = list(range(samples)) if self.active is None else self.active
        if self.active is None:
            self.guide.begin(self.now, self.plan, samples)
            if self.late and self.guide.record is not None:
                self.guide.record.unguided = ["budget"] * samples
                self.guide.out_of_time(samples)
        self._count(active, samples)
        again: list[int] = []
        moved: Tensor | None = None
        if not self.plan.guided:
            self.guide.observe(sample, output, self.now)
        else:
            maps = None
            if self.plan.semantic:
                maps = self.seam.maps()
                height, width = sample.shape[-2:]
                factor = round((height * width / maps.shape[1]) ** 0.5)
                self.guide.note_maps(maps, active, (-(-height // factor), -(-width // factor)))
            self.guide.rows_each = self.seam.halves
            outcome = self.guide.evaluate(sample, output, self.seam.residual, maps, active, self.plan, self.now)
            again, moved = outcome.again, outcome.move.displacement
            if self.seam.taps is not None:
                self.seam.taps.clear()
        with torch.no_grad():
            previous = self._sample_previous(output.detach(), timestep, sample.detach(), active, args, kwargs)
            if moved is not None:
                rows = torch.tensor(active, device=previous.device)
                moved_rows = (previous[rows].float() + moved).to(previous.dtype)
                previous = previous.index_copy(0, rows, moved_rows)
            if self.candidate is not None:
                rows = torch.tensor(active, device=previous.device)
                previous = self.candidate.index_copy(0, rows, previous[rows])
            if not again:
                self.delivered = previous
                return sample.detach()
            self.candidate, self.active, self.seam.active = previous, again, again
            rows = torch.tensor(again, device=previous.device)
            noise = self._noise(previous, again)
            back = renoise(previous[rows].float(), self.now.there, self.now.here, noise.float()).to(sample.dtype)
            return sample.detach().index_copy(0, rows, back)

    def _sample_previous(
        self, output: Tensor, timestep: Any, z: Tensor, active: list[int], args: tuple, kwargs: dict
    ) -> Tensor:
        """The sampler's own z_{t-1}; generators of samples that are not evaluated are left where they were."""
        generators = self.generator if isinstance(self.generator, list) else []
        resting = [generator for i, generator in enumerate(generators) if i not in active]
        states = [generator.get_state() for generator in resting]
        self.answer = self._step(output, timestep, z, *args, **kwargs)
        for generator, state in zip(resting, states, strict=True):
            generator.set_state(state)
        return self.answer[0] if isinstance(self.answer, tuple) else self.answer.prev_sample

    def _noise(self, like: Tensor, rows: list[int]) -> Tensor:
        """Standard normal noise for the samples `rows`, each from its own generator where there is a list."""
        generator = [self.generator[i] for i in rows] if isinstance(self.generator, list) else self.generator
        return randn_tensor((len(rows), *like.shape[1:]), generator=generator, device=like.device, dtype=like.dtype)

    def _count(self, active: list[int], samples: int) -> None:
        trace = self.guide.trace
        trace.evaluations = trace.evaluations or [0] * samples
        for i in active:
            trace.evaluations[i] += 1
        self.guide.purse.count(active)

    def _marked(self, sample: Tensor) -> Tensor:
        """Detached, and a leaf with a gradient where the next evaluation needs one."""
        return sample.detach().requires_grad_(self._graph_next())

    def _graph_next(self) -> bool:
        if self.slot % self.slots:
            return not self.seam.idle and self.plan.graph
        return self.index < self.steps and self.plan_of(self.index).graph

    def _wrap(self, sample: Tensor) -> Any:
        if isinstance(self.answer, tuple):
            return (sample, *self.answer[1:])
        answer = type(self.answer)(**self.answer)
        answer.prev_sample = sample
        return answer

    def step_end(self, users: Any, tensor_inputs: list[str]) -> tuple[Callable, list[str]]:
        """The user's `callback_on_step_end` called once a step, with the real index and a plain latent."""
        if isinstance(users, (PipelineCallback, MultiPipelineCallbacks)):
            tensor_inputs = users.tensor_inputs

        def on_slot_end(pipe: Any, slot: int, timestep: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
            if (slot + 1) % self.slots:
                return {}
            if "latents" in found:
                found["latents"] = found["latents"].detach()
            changed = users(pipe, slot // self.slots, timestep, found)
            changed = dict(changed or {})
            if "latents" in changed:
                changed["latents"] = self._marked(changed["latents"])
            elif "latents" in found:
                changed["latents"] = self._marked(found["latents"])
            return changed

        return on_slot_end, tensor_inputs
