"""ReNO: ascend the reward on the initial noise, and return the best image seen (Eyring et al., NeurIPS 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..guidance.step import norms
from .ascent import Leaves, ascend
from .contract import Result
from .handed import follows_loop
from .run import Run


def noise_penalty(noise: Tensor) -> Tensor:
    """||e||^2 / 2 - (d - 1) log ||e|| of each sample (B,), d its size; noise (B, ...).

    The negative log-density of the norm of standard normal noise up to a constant (Samuel et al., 2023), least at
    ||e|| = sqrt(d - 1).
    """
    size = norms(noise)
    return size**2 / 2 - (noise[0].numel() - 1) * size.log()


class _Start(Leaves):
    """The initial noise as a leaf, first as the pipeline drew it."""

    def __init__(self, weight: float):
        self.leaves: list[Tensor] = []
        self.weight = weight

    def start(self, noise: Tensor) -> Tensor:
        if not self.leaves:
            self.leaves = [noise.detach().float().clone().requires_grad_()]
        return self.leaves[0]

    def penalty(self) -> Tensor:
        return self.weight * noise_penalty(self.leaves[0])


@dataclass(frozen=True)
class ReNO:
    """SGD with Nesterov momentum on the initial noise; made for one-step and few-step pipelines.

    On an ordinary pipeline each update costs a whole trajectory forwards, again and backwards: give a Budget, which the
    best image so far then answers. Several rewards: load_reward({"hpsv2.1": 5, "imagereward": 1}).
    """

    needs_reward: ClassVar[bool] = True
    follows_gradient: ClassVar[bool] = True
    iterations: int = 50
    lr: float = 5.0
    momentum: float = 0.9
    clip: float = 0.1
    regularisation: float = 0.01

    @follows_loop
    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        def optimiser(leaves: list[Tensor]) -> torch.optim.Optimizer:
            return torch.optim.SGD(leaves, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0)

        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            hooks = _Start(self.regularisation)
            return run.result(ascend(run, hooks, optimiser, self.iterations, self.clip, keep="best"))
