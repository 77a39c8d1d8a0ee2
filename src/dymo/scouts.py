"""Several seeds of each image are begun, compared by the reward before it has steered any of them, and one goes on.

A choice among images that a reward has guided, by the same reward, rewards what fooled it; before that it tells the good
beginnings from the bad. Until then only the words steer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .budget import Allotment
from .config import Config
from .errors import ConfigError
from .guidance.loop import Loop, Timestep
from .guidance.objectives import Objective
from .guidance.observer import Observer
from .guidance.schedule import level
from .methods.dymo import dymo
from .pipelines.images import Generators, copied, further
from .pipelines.loop import PipelineLoop


class NoChoice(ConfigError):
    """Several seeds cannot be begun in this call."""


@dataclass
class Chosen:
    """generators: one an image, where its chosen seed begins. scores: (images, 1 + scouts), the image's own seed first."""

    generators: list[torch.Generator]
    scores: list[list[float]]
    evaluations: list[int]
    """Of each image, spent on all its seeds."""


@dataclass
class _Until:
    """A loop that ends after `steps` of its steps."""

    loop: Loop
    steps: int

    def __iter__(self) -> Iterator[Timestep]:
        return itertools.islice(self.loop, self.steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


@dataclass
class _Last(Observer):
    """Remembers the last prediction, and tells of each."""

    tell: Callable[[int, Tensor], None]
    steps: int = 0
    z0: Tensor | None = None

    def accepted(self, z: Tensor, z0: Tensor) -> None:
        self.z0 = z0
        self.steps += 1
        self.tell(self.steps, z0)


def choose(
    kwargs: dict[str, Any], images: int, config: Config, objectives: Sequence[Objective],
    score: Callable[[Tensor, list[int], float], Tensor], open_loop: Callable[[dict[str, Any]], PipelineLoop],
    allow: Callable[[Sequence[Timestep], int], Allotment], tell: Callable[[int, int, int, Tensor], None],
) -> Chosen | None:  # fmt: skip
    """Begin `config.scouts` further seeds of each of the `images`, and choose the one whose prediction scores best.

    The seeds are begun in turns, one of each image at a time: a run's memory suffices. score(images (n, 3, H, W), image
    numbers (n), t) -> (n,). open_loop: the call's arguments -> its loop. allow(timesteps, those that are taken): what a seed
    may spend, asked before anything is evaluated. tell(seed, steps, step, z0): after each step. Returns None where the run
    is cancelled. Raises NoChoice where no step lies above `config.scout_until`.
    """
    each = 1 + config.scouts
    seeds = [(copied(g), *further(g, config.scouts)) for g in _one_each(kwargs.get("generator"), images)]
    starts = [[g.get_state() for g in those] for those in seeds]
    call = {k: v for k, v in kwargs.items() if not k.startswith("callback")}
    scores, spent = [], [0] * images
    for k in range(each):
        with open_loop({**call, "generator": [those[k] for those in seeds]}) as loop:
            steps = sum(level(config, now) >= config.scout_until for now in loop.timesteps)
            if not steps:
                top = loop.timesteps[0].t if loop.timesteps else 0
                raise NoChoice(f"scout_until={config.scout_until:g}: the run begins at t = {top:g}, so no step lies above it; lower it")
            allotment = allow(loop.timesteps, steps)
            last = _Last(functools.partial(tell, k, steps))
            dymo(_Until(loop, steps), objectives, config, allotment, last)
            if loop.cancelled or last.z0 is None:
                return None
            with torch.no_grad():
                scores.append(score(loop.decode(last.z0).clamp(0, 1), list(range(images)), loop.timesteps[steps - 1].t))
            spent = [a + b for a, b in zip(spent, loop.evaluations, strict=True)]
    compared = torch.stack(scores, 1).float().nan_to_num(nan=float("-inf"))
    best = compared.argmax(1).tolist()
    chosen = [those[k] for those, k in zip(seeds, best, strict=True)]
    for generator, states, k in zip(chosen, starts, best, strict=True):
        generator.set_state(states[k])
    return Chosen(chosen, compared.tolist(), spent)


def _one_each(given: Generators, images: int) -> list[torch.Generator]:
    """A generator an image: the user's own, or, of one for several images, further ones of it."""
    if isinstance(given, list):
        return given
    if given is None:
        given = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    return [given] if images == 1 else further(given, images)
