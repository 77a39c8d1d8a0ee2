"""How well each attention layer's maps of the words agree, early in a run, with where the final image has the things.

The semantic objective reads the mean map of some layers while the layout is decided. A layer is worth reading if its
maps say early what the others' say at the end: after the first steps of FLUX or SD3 few do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..guidance.loop import Need, Timestep
from ..guidance.objectives import Word, word_map
from ..trace import Cost
from .families import family_of
from .loop import PipelineLoop
from .settings import MapChoice

LATE = 0.2
"""The last fifth of the steps: what their maps agree on is where the final image has the things."""


@dataclass(frozen=True)
class Layer:
    """One attention layer. early, late: agreement by word, in -1 to 1: (words,) of all prompts.

    default: whether it is read unless the user says. grid: rows and columns of its maps.
    """

    number: int
    name: str
    grid: tuple[int, int]
    default: bool
    early: list[float]
    late: list[float]


def calibrate(
    pipe: Any, words: Sequence[Mapping[str, Word]], early: Callable[[Timestep], bool], seed: int = 0, **call: Any
) -> list[Layer]:
    """Run `pipe(**call)` unguided, once for each size of its maps, from the same noise, and compare its layers.

    words: of each image, the positions of its words' tokens. early: whether the semantic objective acts at a step.
    Agreement is the correlation, over the image, of a layer's map of a word with the mean of all other layers' maps of it at the
    end of the run. Raises PipelineError where the maps cannot be read; ValueError without a word or an early step.
    """
    if not any(words):
        raise ValueError("no words to compare maps of")
    family = family_of(pipe)
    looks: dict[int, _Looks] = {}
    for numbers in family.sizes(pipe):
        made, latents = _run(pipe, words, numbers, {**call, "generator": torch.Generator().manual_seed(seed)})
        looks |= made
    default = family.taps(pipe, latents, None, None).modules
    finest = max((look.grid for look in looks.values()), key=lambda grid: grid[0] * grid[1])
    standing = {number: look.maps(finest) for number, look in sorted(looks.items())}
    moments = next(iter(looks.values())).moments
    first = [i for i, now in enumerate(moments) if early(now)]
    last = [i for i, now in enumerate(moments) if i >= (1 - LATE) * len(moments)] or [len(moments) - 1]
    if not first:
        raise ValueError("no step at which the semantic objective acts")
    ends = {number: maps[last].mean(0) for number, maps in standing.items()}  # words pixels
    every = torch.stack(list(ends.values())).sum(0)
    found = []
    for number, maps in standing.items():
        others = every - ends[number] if len(ends) > 1 else every
        agreement = [_correlation(maps[steps], others).mean(0).tolist() for steps in (first, last)]
        found.append(Layer(number, looks[number].name, looks[number].grid, looks[number].name in default, *agreement))
    return found


@dataclass
class _Looks:
    """Of one layer: the words' maps (words, rows, columns) at each step."""

    name: str
    grid: tuple[int, int]
    moments: list[Timestep]
    steps: list[Tensor]

    def maps(self, grid: tuple[int, int]) -> Tensor:
        """(steps, words, pixels) on another grid."""
        return F.interpolate(torch.stack(self.steps), size=grid, mode="bilinear").flatten(2)


def _run(
    pipe: Any, words: Sequence[Mapping[str, Word]], numbers: Sequence[int], call: dict[str, Any]
) -> tuple[dict[int, _Looks], tuple[int, int]]:
    """The looks of the layers `numbers`, whose maps are of one size, in one unguided run; and the latents' rows and columns."""
    with PipelineLoop(pipe, call, decode=lambda z0: z0, cost=Cost(), choice=MapChoice(layers=numbers)) as loop:
        found: dict[int, _Looks] = {}
        for now in loop:
            seen = loop.predict(need=Need(maps=True))
            for number, (name, maps) in zip(numbers, loop.layers(seen).items(), strict=True):
                look = found.setdefault(number, _Looks(name, seen.grid, [], []))
                read = [word_map(own, at) for own, of in zip(maps, words, strict=True) for at in of.values()]
                look.moments.append(now)
                look.steps.append(torch.stack(read).detach().float().cpu().unflatten(1, seen.grid))
            loop.accept(loop.sampler_step(seen))
            latents = seen.z.shape[-2], seen.z.shape[-1]
    return found, latents


def _correlation(maps: Tensor, reference: Tensor) -> Tensor:
    """Pearson's, over the pixels: maps (steps, words, pixels) and reference (words, pixels) -> (steps, words)."""
    return F.cosine_similarity(*(x - x.mean(-1, keepdim=True) for x in (maps, reference.expand_as(maps))), dim=-1)
