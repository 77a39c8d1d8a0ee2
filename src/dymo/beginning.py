"""How the seeds of a call are begun: steered by the words alone, and compared by the reward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .budget import Allotment
from .events import Begun, tell
from .guidance.loop import Timestep
from .guidance.objectives import Objective, SemanticAlignment
from .parts import Set, Setting
from .pipelines.loop import PipelineLoop
from .rewards import Reward
from .scouts import NoChoice, allowance

if TYPE_CHECKING:
    from .generation import Generation


class Begins:
    """`dymo.scouts.Beginning` for a generation's own call."""

    def __init__(self, generation: Generation, reward: Reward):
        self.generation, self.worded = generation, any(isinstance(o, SemanticAlignment) for o in generation.objectives())
        self._score = generation.scorer(reward, guides=True)

    def objectives(self, seeds: int) -> list[Objective]:
        return [SemanticAlignment([p for p in self.generation.pairs for _ in range(seeds)])] if self.worded else []

    def score(self, images: Tensor, samples: list[int], t: float) -> Tensor:
        found = self._score(images, samples, t)
        return found.sum(0) if found.ndim == 2 else found

    @contextmanager
    def open_loop(self, call: dict[str, Any]) -> Iterator[PipelineLoop]:
        own = self.generation
        execution = own.execution()
        if own.graphs is None:  # else what is captured here is replayed later
            execution = replace(execution, backend=None, lean=execution.lean and self.worded)
        with own.loop(call, execution=execution) as loop:
            if execution.backend is not None and loop.timesteps and not own.few(loop.timesteps):
                own.rehearse(loop)
            yield loop

    def allow(self, timesteps: Sequence[Timestep], steps: int) -> Allotment:
        own = self.generation
        if own.few(timesteps):
            raise NoChoice(
                Setting("scouts", own.config.scouts), ": a run of few steps improves its noise itself: ", Set(Setting("few_steps", "never")),
                ", or ", Setting("scouts", 0),
            )
        return allowance(own.config, own.allotment.budget, own.allotment.before, timesteps, steps)

    def tell(self, seed: int, steps: int, step: int, done: int, z0: Tensor) -> None:
        own = self.generation
        tell(own.listeners, Begun(seed, 1 + own.config.scouts, step, steps, done, lambda: own.plain_decode(z0).clamp(0, 1)))
