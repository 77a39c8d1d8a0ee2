"""Several seeds of each image are begun, compared by the reward before it has steered any of them, and one goes on.

A choice among images that a reward has guided, by the same reward, rewards what fooled it; before that it tells the good
beginnings from the bad. Until then only the words steer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .config import Config
from .errors import ConfigError
from .guidance.loop import Loop, Timestep
from .guidance.objectives import Objective
from .guidance.observer import Observer
from .guidance.schedule import level
from .methods.dymo import dymo
from .pipelines.images import Generators, copied, further
from .pipelines.loop import PipelineLoop


@dataclass
class Chosen:
    """generators: one an image, where its chosen seed begins. scores: (images, 1 + scouts), the image's own seed first."""

    generators: list[torch.Generator]
    scores: list[list[float]]
    evaluations: list[int]
    """Of each image, spent on all its seeds."""


@dataclass
class _Until:
    """A loop that ends before the first step at a noise level below `t`."""

    loop: Loop
    config: Config

    def __iter__(self) -> Iterator[Timestep]:
        for now in self.loop:
            if level(self.config, now) < self.config.scout_until:
                return
            yield now

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


class _Last(Observer):
    """Remembers the last prediction, and at what t it was made."""

    z0: Tensor | None = None
    t = 0.0

    def begin(self, now: Timestep, stage: Any, short: str | None) -> None:
        self.t = now.t

    def accepted(self, z: Tensor, z0: Tensor) -> None:
        self.z0 = z0


def choose(
    pipe: Any, kwargs: dict[str, Any], images: int, repeats: int, config: Config, objectives: Sequence[Objective],
    score: Callable[[Tensor, list[int], float], Tensor], open_loop: Callable[[dict[str, Any]], PipelineLoop],
    check: Callable[[Sequence[Timestep]], None],
) -> Chosen:  # fmt: skip
    """Begin `config.scouts` further seeds of each of the `images`, and choose the one whose prediction scores best.

    objectives: over all the seeds, those of an image side by side. score(images (n, 3, H, W), image numbers (n), t) -> (n,).
    open_loop: the call's arguments -> its loop. check: of the timesteps, before anything is evaluated. Raises ConfigError where
    no step lies above `config.scout_until`.
    """
    each = 1 + config.scouts
    own = _one_each(kwargs.get("generator"), images)
    seeds = [one for g in own for one in (copied(g), *further(g, config.scouts))]
    starts = [g.get_state() for g in seeds]
    call = {k: v for k, v in kwargs.items() if not k.startswith("callback")}
    last = _Last()
    with open_loop({**call, "generator": seeds, "num_images_per_prompt": repeats * each}) as loop:
        check(loop.timesteps)
        dymo(_Until(loop, config), objectives, config, observer=last)
        spent = loop.evaluations
        if last.z0 is None:
            top = loop.timesteps[0].t if loop.timesteps else 0
            raise ConfigError(f"scout_until={config.scout_until:g}: the run begins at t = {top:g}, so no step lies above it; lower it")
        with torch.no_grad():
            scores = score(loop.decode(last.z0).clamp(0, 1), [i // each for i in range(images * each)], last.t)
    scores = scores.float().nan_to_num(nan=float("-inf")).view(images, each)
    best = scores.argmax(1).tolist()
    for generator, state in zip(seeds, starts, strict=True):
        generator.set_state(state)
    chosen = [seeds[i * each + k] for i, k in enumerate(best)]
    return Chosen(chosen, scores.tolist(), [sum(spent[i * each : (i + 1) * each]) for i in range(images)])


def _one_each(given: Generators, images: int) -> list[torch.Generator]:
    """A generator an image: the user's own, or, of one for several images, further ones of it."""
    if isinstance(given, list):
        return given
    if given is None:
        given = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    return [given] if images == 1 else further(given, images)
