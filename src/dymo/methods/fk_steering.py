"""FK-steering: particles resampled by an intermediate reward, without a gradient (Singhal et al., arXiv 2501.06848).

Any scorer will do. The particles of an image are rows of one run, the first of them the user's own seed.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from ..guidance.levels import noisy_step
from ..guidance.loop import Loop, put
from ..parts import OfMethod
from ..pipelines.calls import loop_call
from ..pipelines.decode import preview_of
from ..pipelines.schedulers import draws_noise, evaluations, kind_of
from ..rewards import scale_of
from .contract import Result
from .handed import follows_loop
from .run import Run

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
    """Ancestors of the k particles of each image, drawn with probability softmax(log_weights): (B, k) -> (B, k) int.

    generators: one an image, so that a batch is as its images one by one.
    """
    weights = torch.softmax(log_weights.cpu().double(), dim=-1)  # Apple's devices have no float64
    rows = [
        torch.multinomial(row, len(row), replacement=True, generator=generator)
        for row, generator in zip(weights, generators, strict=True)
    ]
    return torch.stack(rows)


@dataclass(frozen=True)
class FKSteering:
    """k particles an image (with a budget of evaluations, what it affords); `resamplings` of them, evenly spread.

    potential: "max", "diff" or "add"; strength: lambda, on the reward in its own units. Needs noise in the steps: eta is
    1 for DDIM and TCD unless the call says otherwise; a sampler that draws none takes `noisy_step` in place of its own,
    with `eta`: a half, since noise of full strength costs a flow's images fidelity. seed: of the resampling. A budget of
    seconds that runs short leaves the best particle alone to finish. preview_vae: decodes the predictions in place of the
    pipeline's own VAE; an AutoencoderTiny, or its folder or hub id. The best particle by the reward of the finished
    image is returned.
    """

    needs_reward: ClassVar[bool] = True
    k: int = 4
    potential: Potential = "max"
    strength: float = 10.0
    resamplings: int = 4
    seed: int = 0
    preview_vae: Any = None
    eta: float = 0.5

    def __post_init__(self) -> None:
        if self.potential not in get_args(Potential):
            raise ConfigError(OfMethod("potential", self.potential), f": choose one of {', '.join(get_args(Potential))}")
        if self.k < 1 or self.resamplings < 0:
            raise ConfigError(OfMethod("k", self.k), ", ", OfMethod("resamplings", self.resamplings), ": give at least 1 and 0")
        if not 0 < self.eta <= 1:
            raise ConfigError(
                OfMethod("eta", self.eta), ": give more than 0 and at most 1; particles that draw no noise stay alike"
            )

    @follows_loop
    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        if kind_of(pipe.scheduler).draws(pipe.scheduler) == "eta" and "eta" in inspect.signature(loop_call(type(pipe))).parameters:
            pipeline_kwargs = {"eta": 1.0, **pipeline_kwargs}
        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            run.need_reward()
            k = self.k if run.budget.evaluations is None else max(1, run.budget.evaluations // evaluations(pipe.scheduler, run.steps or 1))
            run.trace.config = {"k": k}
            method = replace(self, preview_vae=preview_of(self.preview_vae, pipe))
            images = run.generate(
                lambda loop: method.steps(loop, run, k, draws_noise(pipe.scheduler, pipeline_kwargs)), copies=k, generator=_spread(run, k)
            )
            images = images.unflatten(0, (-1, k))
            if k == 1 or "narrowed" in run.trace.config:
                return run.result(images[:, 0])
            words = [text for text in run.prompts for _ in range(k)]
            scores = run.score(images.flatten(0, 1), words).view(-1, k)
            return run.result(images[torch.arange(len(images)), scores.argmax(1).cpu()])

    @torch.no_grad()
    def steps(self, loop: Loop, run: Run, k: int, draws: bool = True) -> None:
        """Algorithm 1 of arXiv 2501.06848: at some steps the particles of each image are replaced by resampled ones.

        draws: whether the sampler draws noise of its own.
        """
        n = len(run.prompts)
        words = [text for text in run.prompts for _ in range(k)]
        random = [torch.Generator().manual_seed(self.seed) for _ in run.prompts]
        first = torch.arange(n)[:, None] * k
        rows, began = list(range(n * k)), time.perf_counter()
        history: list[Tensor] = []
        z_next: Tensor | None = None
        for now in loop:
            when = {round(now.steps * (i + 1) / (self.resamplings + 1)) - 1 for i in range(self.resamplings)}
            seen = loop.predict(rows=rows)
            z = loop.sampler_step(seen)
            if not draws and k > 1:
                z = noisy_step(seen.z0, seen.eps, now.here, now.there, self.eta, loop.noise(seen.rows))
            each = (time.perf_counter() - began) / (now.index + 1)
            origin = None
            late = (now.steps - now.index - 1) * each > run.seconds_left()
            if k > 1 and len(rows) == n * k and (late or now.index in when):
                scores = run.score(run.decode(seen.z0, self.preview_vae), words, now.t).view(n, k)
                if late:  # Only the best of each image goes on, in the first place.
                    chosen = scores.argmax(1).cpu()[:, None].expand(-1, k)
                    rows = first.flatten().tolist()
                    run.trace.config["narrowed"] = now.index
                else:
                    history.append(scores / scale_of(run.need_reward()))
                    chosen = resample(log_potential(torch.stack(history), self.potential, self.strength), random)
                    history = [past.gather(1, chosen.to(past.device)) for past in history]
                taken = (first + chosen).flatten()
                z, origin = z[taken.to(z.device)], taken.tolist()
            # The particles that do not go on any more stand still.
            z_next = z if len(z) == n * k else put(z_next, seen.rows, z)
            loop.accept(z_next, origin)


def _spread(run: Run, k: int) -> Any:
    """The generators of the particles: where the user gave one an image, k of them each, the user's own first."""
    if not isinstance(run.generator, list):
        return None
    others = run.others(k - 1)
    return [one for i, own in enumerate(run.generator) for one in (own, *(group[i] for group in others))]
