"""How the seeds of a call are begun, steered by the words alone, and which go on, by the reward."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..budget import Allotment
from ..events import Begun, tell
from ..guidance.loop import Timestep
from ..guidance.objectives import Objective, SemanticAlignment
from ..parts import Argument, Set, Setting
from ..pipelines.calls import loop_call
from ..pipelines.loop import PipelineLoop
from ..pipelines.schedulers import draws_noise
from ..rewards import Reward
from .scouts import Beginning, Chosen, NoChoice, Room, allowance, check, choose

if TYPE_CHECKING:
    from .call import Generation


class Begins(Beginning):
    """`dymo.generation.scouts.Beginning` for a generation's own call."""

    def __init__(self, generation: Generation, reward: Reward):
        self.generation, self.worded = generation, any(isinstance(o, SemanticAlignment) for o in generation.objectives())
        self._score = generation.aims.scorer(reward, guides=True)

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


def chosen_seeds(generation: Generation) -> Chosen | None:
    """The seed of each image; None where the run is cancelled. Raises NoChoice."""
    own, pipe, config, reward = generation, generation.pipe, generation.config, generation.aligner.reward
    check(config, reward, own.kwargs, own.allotment.budget)
    assert reward is not None
    if own.kwargs.get("denoising_start") is not None and not draws_noise(pipe.scheduler, own.kwargs):
        raise NoChoice(
            Setting("scouts", config.scouts), ": with ", Argument("denoising_start"),
            f" no noise is added, and {type(pipe.scheduler).__name__} draws none, so that all seeds would be one image: ", Set(Setting("scouts", 0)),
        )
    # A graph is captured for one number of images, and inpainting draws otherwise for several than for each.
    several = "num_images_per_prompt" in inspect.signature(loop_call(type(pipe))).parameters and own.kwargs.get("image") is None
    at_once, device = several and own.graphs is None, pipe._execution_device
    room = Room(device) if at_once and device.type == "cuda" else None
    return choose(own.kwargs, len(own.trace.prompts), config, Begins(own, reward), room, at_once)
