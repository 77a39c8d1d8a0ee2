"""FK-steering: particles resampled by an intermediate reward, without a gradient (Singhal et al., ICML 2025).

Any scorer will do. The particles of a picture are rows of one run, the first of them the user's own seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from ..pipelines.decode import decoder
from ..pipelines.families import levels_of
from ..pipelines.loop import Hooks
from ..rewards import scale_of
from .base import Result, Run

Potential = Literal["max", "diff", "add"]


def log_potential(history: Tensor, kind: Potential, strength: float) -> Tensor:
    """log G_t of particles from the rewards along their own pasts: history (times, ...), the last now -> (...).

    "max": lambda max r; "add": lambda sum r; "diff": lambda (r_t - r_before), which telescopes to lambda r(x_0); the first
    time's difference is to 0.
    """
    if kind == "max":
        return strength * history.amax(0)
    if kind == "add":
        return strength * history.sum(0)
    return strength * (history[-1] - (history[-2] if len(history) > 1 else 0.0))


def resample(log_weights: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Ancestors of the k particles of each picture, drawn with probability softmax(log_weights): (B, k) -> (B, k) int.

    generators: one a picture, so that a batch is as its pictures one by one.
    """
    weights = torch.softmax(log_weights.double(), dim=-1).cpu()
    rows = [
        torch.multinomial(row, len(row), replacement=True, generator=generator)
        for row, generator in zip(weights, generators, strict=True)
    ]
    return torch.stack(rows)


class _Particles(Hooks):
    """Scores the predictions at the steps of `when`, and replaces each picture's particles by their resampled ones."""

    def __init__(self, run: Run, k: int, when: set[int], kind: Potential, strength: float, decode: Callable, seed: int):
        self.run, self.k, self.when, self.kind, self.strength, self.decode = run, k, when, kind, strength, decode
        self.random = [torch.Generator().manual_seed(seed) for _ in run.prompts]
        self.history: list[Tensor] = []
        self.ancestors: list[list[list[int]]] = []
        self.began = time.perf_counter()

    def after(self, index: int, predict: Callable[[], Tensor], z: Tensor) -> Tensor:
        late = self._late(index)
        if self.loop.active is not None or not (late or index in self.when):
            return z
        n = len(self.run.prompts)
        words = [text for text in self.run.prompts for _ in range(self.k)]
        t = float(self.loop.scheduler.timesteps[index]) * 1000 / self.loop.scheduler.config.num_train_timesteps
        scores = self.run.score(self.decode(predict()), words, t).view(n, self.k)
        self.run.trace.cost.decodes += len(words)
        first = torch.arange(n)[:, None] * self.k
        if late:  # Only the best of each picture goes on, in the first place.
            best = scores.argmax(1).cpu()
            self.loop.active = first.flatten().tolist()
            self.run.trace.config["narrowed"] = index
            return z[(first + best[:, None]).expand(-1, self.k).flatten().to(z.device)]
        self.history.append(scores / scale_of(self.run.need_reward()))
        chosen = resample(log_potential(torch.stack(self.history), self.kind, self.strength), self.random)
        self.ancestors.append(chosen.tolist())
        self.history = [past.gather(1, chosen.to(past.device)) for past in self.history]
        return z[(first + chosen).flatten().to(z.device)]

    def _late(self, index: int) -> bool:
        """Whether the steps that are left would take longer than the budget allows."""
        each = (time.perf_counter() - self.began) / (index + 1)
        return (len(self.loop.scheduler.timesteps) - index - 1) * each > self.run.seconds_left()


@dataclass(frozen=True)
class FKSteering:
    """k particles a picture (with a budget of evaluations, what it affords); `resamplings` of them, evenly spread.

    potential: "max", "diff" or "add"; strength: lambda, on the reward in its own units. Needs noise in the steps: eta is
    1 for DDIM unless the call says otherwise. seed: of the resampling. A budget of seconds that runs short leaves the
    best particle alone to finish. The best particle by the reward of the finished picture is returned.
    """

    k: int = 4
    potential: Potential = "max"
    strength: float = 10.0
    resamplings: int = 4
    seed: int = 0
    preview_vae: Any = None

    def __post_init__(self) -> None:
        if self.potential not in get_args(Potential):
            raise ConfigError(f"potential={self.potential!r}: choose one of {', '.join(get_args(Potential))}")
        if self.k < 1 or self.resamplings < 0:
            raise ConfigError(f"k={self.k!r}, resamplings={self.resamplings!r}: give at least 1 and 0")

    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        levels_of(pipe.scheduler)
        if type(pipe.scheduler).__name__ == "DDIMScheduler":
            pipeline_kwargs = {"eta": 1.0, **pipeline_kwargs}
        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            run.need_reward()
            steps = run.steps or 1
            k = self.k if run.budget.evaluations is None else max(1, run.budget.evaluations // steps)
            when = {round(steps * (i + 1) / (self.resamplings + 1)) - 1 for i in range(self.resamplings)} - {-1}
            decode = decoder(self.preview_vae if self.preview_vae is not None else pipe.vae)
            hooks = _Particles(run, k, when if k > 1 else set(), self.potential, self.strength, decode, self.seed)
            run.trace.config = {"k": k}
            images = run.paint(hooks, copies=k, generator=_spread(run, k)).unflatten(0, (-1, k))
            if k == 1:
                return run.result(images[:, 0])
            if hooks.loop.active is not None:
                return run.result(images[:, 0])
            words = [text for text in run.prompts for _ in range(k)]
            scores = run.score(images.flatten(0, 1), words).view(-1, k)
            return run.result(images[torch.arange(len(images)), scores.argmax(1).cpu()])


def _spread(run: Run, k: int) -> Any:
    """The generators of the particles: where the user gave one a picture, k of them each, the user's own first."""
    if not isinstance(run.generator, list):
        return None
    others = run.others(k - 1)
    return [one for i, own in enumerate(run.generator) for one in (own, *(group[i] for group in others))]
