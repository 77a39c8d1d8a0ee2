"""Several seeds of each image are begun, compared by the reward before it has steered any of them, and one goes on.

A choice among images that a reward has guided, by the same reward, rewards what fooled it; before that it tells the good
beginnings from the bad. Until then only the words steer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..budget import Allotment, Budget
from ..config import Config
from ..errors import ConfigError
from ..guidance.loop import Loop, Seen, Timestep
from ..guidance.objectives import Objective
from ..guidance.observer import Observer
from ..guidance.schedule import level
from ..methods.dymo import dymo
from ..parts import Argument, Code, Limit, Setting
from ..pipelines.images import Generators, copied, further
from ..pipelines.loop import PipelineLoop


class NoChoice(ConfigError):
    """Several seeds cannot be begun in this call."""


@dataclass
class Chosen:
    """generators: one an image, where its chosen seed begins. scores: (images, 1 + scouts), the image's own seed first; None
    where a seed's is no finite number."""

    generators: list[torch.Generator]
    scores: list[list[float | None]]
    evaluations: list[int]
    """Of each image, spent on all its seeds."""


@dataclass
class _Begun:
    """scores (images, n) of n seeds an image, the evaluations of each image, and how they were allotted."""

    scores: Tensor
    evaluations: list[int]
    allotment: Allotment


class Room:
    """A CUDA device's memory, and what of it a seed takes while its gradient is on the way."""

    SPARE = 2.0
    """What a seed needs, in units of what it was seen to keep."""

    def __init__(self, device: torch.device):
        self.device, self.kept = device, 0
        self.before = torch.cuda.memory_allocated(device)

    def look(self) -> None:
        """Measure what is in use at this moment; the most counts."""
        self.kept = max(self.kept, torch.cuda.memory_allocated(self.device) - self.before)

    def seeds(self) -> int:
        """How many more fit."""
        held = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int((torch.cuda.mem_get_info(self.device)[0] + held) / (self.SPARE * max(self.kept, 1)))


@dataclass
class _Until:
    """A loop that ends after `steps` of its steps, and looks at the memory after each prediction."""

    loop: Loop
    steps: int
    room: Room | None

    def __iter__(self) -> Iterator[Timestep]:
        return itertools.islice(self.loop, self.steps)

    def predict(self, *args: Any, **kwargs: Any) -> Seen:
        seen = self.loop.predict(*args, **kwargs)
        if self.room is not None:
            self.room.look()
        return seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


@dataclass
class _Last(Observer):
    """Remembers the last prediction, and tells of each."""

    tell: Callable[[int, Tensor], None]
    steps: int = 0
    z0: Tensor | None = None

    def accepted(self, z: Tensor, z0: Tensor) -> tuple[()]:
        self.z0 = z0
        self.steps += 1
        self.tell(self.steps, z0)
        return ()


class Beginning(Protocol):
    """What the seeds of a run are begun by, and compared by."""

    def objectives(self, seeds: int) -> Sequence[Objective]:
        """What steers `seeds` seeds of each image until the choice."""
        ...

    def score(self, images: Tensor, samples: list[int], t: float) -> Tensor:
        """Of images (n, 3, H, W) in [0, 1], with their numbers: (n,)."""
        ...

    def open_loop(self, call: dict[str, Any]) -> AbstractContextManager[PipelineLoop]:
        """Over the pipeline's call with these arguments."""
        ...

    def allow(self, timesteps: Sequence[Timestep], steps: int) -> Allotment:
        """What a seed may spend on the first `steps` of these, asked before anything is evaluated. Raises NoChoice."""
        ...

    def tell(self, seed: int, steps: int, step: int, done: int, z0: Tensor) -> None:
        """After each step of a seed, z0 (images, ...). done: steps of all seeds."""
        ...


def choose(
    kwargs: dict[str, Any], images: int, config: Config, beginning: Beginning, room: Room | None = None, at_once: bool = False
) -> Chosen | None:
    """Begin `config.scouts` further seeds of each of the `images`, and choose the one whose prediction scores best.

    The seeds are begun in turns, one of each image at a time: a run's memory suffices. at_once: of a single image the first is
    begun alone, and of the others as many at once as the budget's bytes and the room on the device allow; where neither is
    given, one. kwargs: the pipeline's arguments. Returns None where the run is cancelled. Raises NoChoice where no step lies above
    `config.scout_until`.
    """
    each = 1 + config.scouts
    seeds = [(copied(g), *further(g, config.scouts)) for g in _one_each(kwargs.get("generator"), images)]
    starts = [[g.get_state() for g in those] for those in seeds]
    call = {k: v for k, v in kwargs.items() if not k.startswith("callback")}

    def begin(group: range) -> _Begun | None:
        n = len(group)
        for those, states in zip(seeds, starts, strict=True):
            for k in group:
                those[k].set_state(states[k])
        several = {"num_images_per_prompt": n} if n > 1 else {}
        with beginning.open_loop({**call, **several, "generator": [those[k] for those in seeds for k in group]}) as loop:
            steps = sum(level(config, now) >= config.scout_until for now in loop.timesteps)
            if not steps:
                top = loop.timesteps[0].t if loop.timesteps else 0
                raise NoChoice(
                    Setting("scout_until", Code(f"{config.scout_until:g}")), f": the run begins at t = {top:g}, so no step lies above it; lower it",
                )

            def told(step: int, z0: Tensor) -> None:
                for i, k in enumerate(group):
                    beginning.tell(k, steps, step, group.start * steps + (step - 1) * n + i + 1, z0[i::n])

            allotment, last = beginning.allow(loop.timesteps, steps), _Last(told)
            dymo(_Until(loop, steps, room), beginning.objectives(n), config, allotment, last)
            if loop.cancelled or loop.interrupted or last.z0 is None:
                return None
            with torch.no_grad():  # seed by seed, as decoding takes much memory
                found = [
                    beginning.score(loop.decode(last.z0[i::n]).clamp(0, 1), list(range(images)), loop.timesteps[steps - 1].t) for i in range(n)
                ]
            spent = [sum(loop.evaluations[i * n : (i + 1) * n]) for i in range(images)]
            return _Begun(torch.stack(found, 1).float().cpu(), spent, allotment)

    scores, spent, most = torch.full((images, each), -torch.inf), [0] * images, 1
    first = 0
    while first < each:
        group = range(first, min(each, first + most))
        try:
            begun = begin(group)
        except torch.OutOfMemoryError:
            if most == 1:
                raise
            most = 1
            continue
        if begun is None:
            return None
        scores[:, first : group.stop] = torch.where(begun.scores.isfinite(), begun.scores, -torch.inf)
        spent = [a + b for a, b in zip(spent, begun.evaluations, strict=True)]
        if at_once and first == 0 and images == 1:
            most = _fitting(begun.allotment, room)
        first = group.stop
    best = scores.argmax(1).tolist()
    chosen = [those[k] for those, k in zip(seeds, best, strict=True)]
    for generator, states, k in zip(chosen, starts, best, strict=True):
        generator.set_state(states[k])
    return Chosen(chosen, [[score if math.isfinite(score) else None for score in those] for those in scores.tolist()], spent)


def check(config: Config, reward: Any, kwargs: dict[str, Any], budget: Budget) -> None:
    """Raises NoChoice where nothing compares the seeds, or no other seed can be begun."""
    if reward is None:
        raise NoChoice(
            Setting("scouts", config.scouts), ": they are compared by the reward, and there is none: give ", Setting("reward"), ", or ",
            Setting("scouts", 0),
        )
    if kwargs.get("latents") is not None:
        raise NoChoice(
            Setting("scouts", config.scouts), ": ", Argument("latents"), " says where the image begins, so no other seed can: leave out one",
        )
    if budget.seconds is not None:
        raise NoChoice(
            Setting("scouts", config.scouts), ": ", Limit("seconds", Code(f"{budget.seconds:g}")),
            " is kept for the steps of one seed; give evaluations, or ", Setting("scouts", 0),
        )


def allowance(config: Config, budget: Budget, before: int, timesteps: Sequence[Timestep], steps: int) -> Allotment:
    """What a seed may spend on the first `steps` of a run's timesteps. before: evaluations that are spent. Raises NoChoice."""
    first, run = (sum(now.calls for now in those) for those in (timesteps[:steps], timesteps))
    limit = budget.evaluations
    if limit is None:
        return Allotment(Budget(bytes=budget.bytes))
    left = limit - before
    if (1 + config.scouts) * first + run > left:
        raise NoChoice(
            Setting("scouts", config.scouts), ": ", Limit("evaluations", limit), f" does not reach for the {run} of the trajectory and the "
            f"{(1 + config.scouts) * first} of its seeds that are begun: give more, or ", Setting("scouts", 0),
        )
    # As an allotment counts it: with the rest of its trajectory.
    return Allotment(Budget(evaluations=(left - run) // (1 + config.scouts) + run - first, bytes=budget.bytes))


def _fitting(allotment: Allotment, room: Room | None) -> int:
    """How many seeds are begun at once, by what one kept."""
    limits = [] if room is None else [room.seeds()]
    if allotment.budget.bytes is not None and allotment.most_kept:
        limits.append(allotment.budget.bytes // allotment.most_kept)
    return max(1, min(limits, default=1))


def _one_each(given: Generators, images: int) -> list[torch.Generator]:
    """A generator an image: the user's own, or, of one for several images, further ones of it."""
    if isinstance(given, list):
        return given
    if given is None:
        given = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    return [given] if images == 1 else further(given, images)
