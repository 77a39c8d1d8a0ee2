"""A scheduler's own step, taken for some samples of a batch, each on its own past."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..guidance.loop import Rows, Timestep, pick, put
from .schedulers import Kind
from .schedulers.history import Fields, History, alike, apart, read, together


@dataclass(frozen=True)
class Call:
    """A pipeline's call of `scheduler.step`: the denoiser's output and z_t (samples, c, h, w), and the other arguments."""

    output: Tensor
    timestep: Any
    sample: Tensor
    args: tuple
    kwargs: dict[str, Any]


class Steps:
    """Takes steps of `scheduler` by its `plain` method. write: sets attributes of the scheduler.

    A step from z_t may be taken any number of times before `accept`, for all samples or some; each time it begins with
    what the scheduler remembered at z_t.
    """

    def __init__(
        self, scheduler: Any, kind: Kind, plain: Callable[..., Any], write: Callable[[Fields], None], generator: Any
    ):
        self.scheduler, self.kind, self.plain, self.write, self.generator = scheduler, kind, plain, write, generator
        self._takes_generator = "generator" in inspect.signature(plain).parameters
        # Each sample's past: at z_t, between the evaluations of one step, at z_{t-1}.
        self._before: list[History] = []
        self._within: list[History] = []
        self._after: list[History] = []
        self._taken: Rows = []
        self._parts: list[Any] = []
        self._names: list[str] = []
        self._output: type | None = None
        self._place = 0

    def arrive(self, samples: int) -> None:
        """The pipeline is about to take its first step: what the scheduler holds now is every sample's past."""
        if not self._before:
            shares = apart(read(self.scheduler, self.kind.state), samples)
            self._before = [History(fields) for fields in shares]
            self._within, self._after = [*self._before], [*self._before]

    def rewind(self) -> None:
        """The scheduler is as it was at z_t, for the pipeline to evaluate there again."""
        self._restore(self._before)

    @property
    def taken(self) -> Rows:
        """The samples that have taken a step from this z_t."""
        return self._taken

    def take(
        self, call: Call, rows: Rows, now: Timestep, at: int, back: set[int], noise: Tensor | None, graph: bool
    ) -> Tensor:  # fmt: skip
        """Evaluation `at` of a step, for `rows` (n of them) -> what it leads to, (n, c, h, w).

        back: samples that came back to z_t by noise drawn anew. noise (n, c, h, w): in place of the scheduler's own
        (DDIM's `variance_noise`). graph: with a graph to the call's output and sample.
        """
        first, last = at == 0, at + 1 == now.calls
        output, sample = (call.output, call.sample) if graph else (call.output.detach(), call.sample.detach())
        pasts = [(self._before if first else self._within)[i] for i in rows]
        if first:
            pasts = [
                self._again(past, output[i : i + 1]) if i in back else past for i, past in zip(rows, pasts, strict=True)
            ]
        for places in alike(pasts):
            own = [rows[k] for k in places]
            self.write(together([pasts[k].fields for k in places]))
            kwargs = self._arguments(call.kwargs, own, pasts[places[0]].age)
            if noise is not None:
                kwargs |= {"generator": None, "variance_noise": pick(noise, places).to(output.dtype)}
            with torch.set_grad_enabled(graph and torch.is_grad_enabled()):
                answer = self.plain(pick(output, own), call.timestep, pick(sample, own), *call.args, **kwargs)
            self._keep(answer, own, len(sample))
            self._place = int(getattr(self.scheduler, "_step_index", None) or 0) - 1
            fields = apart(read(self.scheduler, self.kind.state), len(own))
            for k, left in zip(places, fields, strict=True):
                if last:
                    self._after[rows[k]] = self._older(pasts[k], left)
                else:
                    self._within[rows[k]] = History(left, pasts[k].age)
        if last:
            self._taken = sorted({*self._taken, *rows})
        return pick(self._parts[0], rows)

    def accept(self, z: Tensor, now: Timestep, origin: Rows | None, moved: bool = True) -> bool:
        """Go on from z_{t-1} = z (samples, c, h, w), float32; origin: see `Loop.accept`. moved: z is not the sampler's own.

        Returns whether the next step begins with z as the pipeline hands it over, and not with a z computed anew.
        """
        if origin is not None:
            self._after = [self._after[i] for i in origin]
            self._parts = [part[origin] if isinstance(part, Tensor) else part for part in self._parts]
        by = z.detach() - self._parts[0].detach().float() if moved else None
        if self.kind.denoised and by is not None:
            # In the latents' own units, which z0' is not where their deviation is another.
            self._parts[1] = self._parts[1] + (by * (now.there.radius / now.there.a)).to(self._parts[1].dtype)
        factor = (
            self.kind.erased(self.scheduler, self._place, now.here, now.there)
            if self.kind.erased and now.there.s
            else None
        )
        if factor is not None and by is not None:
            # In float32: the sample before stands for z_{t-1} with all its digits.
            self._after = [
                past.with_field("last_sample", past.fields["last_sample"].float() + factor * by[i : i + 1])
                for i, past in enumerate(self._after)
            ]
        self._before, self._within, self._after = self._after, [*self._after], [*self._after]
        self._restore([self._before[i] for i in self._taken] or self._before)
        self._taken = []
        return factor is None

    def answer(self, z: Tensor, call: Call) -> Any:
        """What the scheduler's own step returned, with z in place of what it led to."""
        if not self._parts:
            from diffusers.schedulers.scheduling_utils import SchedulerOutput

            # Evaluated again before any step is taken. A step for the form of its answer alone would draw noise; nothing but z is
            # read of it, and LCM's pipelines unpack two.
            return SchedulerOutput(prev_sample=z) if call.kwargs.get("return_dict", True) else (z, z)
        parts = [z, *self._parts[1:]]
        return tuple(parts) if self._output is None else self._output(**dict(zip(self._names, parts, strict=True)))

    def _again(self, past: History, output: Tensor) -> History:
        return History(self.kind.anew(past.fields, output), 0)

    def _older(self, past: History, fields: Fields) -> History:
        if past.age is None:
            return History(fields)
        age = past.age + 1
        return History(self.kind.settled(fields) if past.age == 0 else fields, age if age < self.kind.memory else None)

    def _arguments(self, given: dict[str, Any], rows: Rows, age: int | None) -> dict[str, Any]:
        kwargs = dict(given) if age is None else {**given, **self.kind.arguments(age)}
        # Flow pipelines leave the generator out, and the noise would be drawn from the global one.
        if self._takes_generator and kwargs.get("generator") is None and self.generator is not None:
            kwargs["generator"] = self.generator
        if isinstance(kwargs.get("generator"), list):
            kwargs["generator"] = [kwargs["generator"][i] for i in rows]
        return kwargs

    def _keep(self, answer: Any, rows: Rows, samples: int) -> None:
        """The answer's tensors take the places of these samples in those of the batch."""
        if isinstance(answer, tuple):
            values, self._output = list(answer), None
        else:
            values, self._names, self._output = list(answer.values()), list(answer), type(answer)
        old = self._parts if len(self._parts) == len(values) else [None] * len(values)
        self._parts = [_placed(whole, rows, part, samples) for whole, part in zip(old, values, strict=True)]

    def _restore(self, pasts: Sequence[History]) -> None:
        """The scheduler holds what these samples remember; where they differ, what the first of them does."""
        places = alike(pasts)[0]
        self.write(together([pasts[k].fields for k in places]))


def _placed(whole: Any, rows: Rows, part: Any, samples: int) -> Any:
    if not isinstance(part, Tensor) or len(rows) == samples:
        return part
    if not isinstance(whole, Tensor) or whole.shape[1:] != part.shape[1:] or len(whole) != samples:
        whole = part.new_zeros(samples, *part.shape[1:])
    return put(whole, rows, part)
