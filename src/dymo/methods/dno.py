"""DNO: ascend the reward on every noise of a stochastic DDIM chain (Tang et al., ICML 2025, arXiv 2405.18881)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import PipelineError
from ..guidance.loop import Loop
from ..parts import Sampler
from ..pipelines.schedulers import is_flow
from .ascent import Leaves, ascend
from .contract import Result
from .handed import follows_loop
from .run import Run


def log_probability(noise: Tensor, k: int, permutations: Tensor) -> Tensor:
    """Bound on the log-probability that standard normal noise is as untypical as this: noise (B, n) -> (B,), <= 0.

    The noise, permuted, is cut into m = n // k vectors z_i of size k. With M_1 = ||mean z_i|| and M_2 the spectral norm of
    mean z_i z_i^T - I, concentration gives p_1 <= 2 exp(-m M_1^2 / 2k) and
    p_2 <= 2 exp(-m max(sqrt(1 + M_2) - 1 - sqrt(k / m), 0)^2 / 2), each at most 1. The smaller one counts, in the mean over
    the `permutations` (P, n) of positions.
    """
    m = noise.shape[1] // k
    vectors = noise[:, permutations[:, : m * k]].unflatten(-1, (m, k))
    mean = vectors.mean(2).norm(dim=-1)
    covariance = vectors.transpose(-1, -2) @ vectors / m - torch.eye(k, device=noise.device, dtype=noise.dtype)
    spectral = torch.linalg.matrix_norm(covariance, ord=2)
    first = math.log(2) - m * mean**2 / (2 * k)
    second = math.log(2) - m * ((1 + spectral).sqrt() - 1 - (k / m) ** 0.5).clamp_min(0) ** 2 / 2
    return torch.minimum(first, second).clamp_max(0).mean(1)


class _Chain(Leaves):
    """The initial noise and each step's as leaves, first as the pipeline drew them."""

    def __init__(self, gamma: float, k: int, permutations: int, seed: int):
        self.leaves: list[Tensor] = []
        self.gamma, self.k, self.count = gamma, k, permutations
        self.random = torch.Generator().manual_seed(seed)

    def start(self, noise: Tensor) -> Tensor:
        return self._leaf(0, noise)

    def steps(self, loop: Loop) -> None:
        for now in loop:
            seen = loop.predict()
            noise = self._leaf(now.index + 1, loop.noise(seen.rows))
            loop.accept(loop.sampler_step(seen, noise))

    def _leaf(self, at: int, drawn: Tensor) -> Tensor:
        if at == len(self.leaves):
            self.leaves.append(drawn.detach().float().clone().requires_grad_())
        return self.leaves[at]

    def penalty(self) -> Tensor:
        flat = torch.cat([leaf.flatten(1) for leaf in self.leaves], 1)
        if not self.gamma:
            return flat.new_zeros(len(flat))
        orders = [torch.randperm(flat.shape[1], generator=self.random) for _ in range(self.count)]
        return -self.gamma * log_probability(flat, self.k, torch.stack(orders).to(flat.device))


@dataclass(frozen=True)
class DNO:
    """AdamW on all noises of the chain; `gamma` weighs the regulariser (the paper's 0 or 1). The last image counts.

    `k`: size of the subvectors; `permutations`: how many a step, drawn from `seed`. The pipeline's scheduler must be
    DDIM, which takes its noise from outside; eta is 1 unless the call says otherwise.
    """

    needs_reward: ClassVar[bool] = True
    follows_gradient: ClassVar[bool] = True
    iterations: int = 100
    lr: float = 0.01
    clip: float = 1.0
    gamma: float = 1.0
    k: int = 4
    permutations: int = 8
    seed: int = 0

    @follows_loop
    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        if is_flow(pipe.scheduler):
            raise PipelineError(
                f"DNO optimises the noise of DDIM's steps, and {type(pipe.scheduler).__name__} takes a flow's, which have none: take reno, "
                "which optimises the initial noise"
            )
        if type(pipe.scheduler).__name__ != "DDIMScheduler":
            raise PipelineError(
                f"DNO needs a scheduler that takes its noise from outside, not {type(pipe.scheduler).__name__}: ", Sampler("DDIMScheduler"),
            )
        with Run(pipe, prompts, reward, budget, generator, {"eta": 1.0, **pipeline_kwargs}) as run:
            hooks = _Chain(self.gamma, self.k, self.permutations, self.seed)

            def optimiser(leaves: list[Tensor]) -> torch.optim.Optimizer:
                return torch.optim.AdamW(leaves, lr=self.lr)

            return run.result(ascend(run, hooks, optimiser, self.iterations, self.clip, keep="last"))
