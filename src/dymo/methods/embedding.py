"""Embedding optimisation: ascend the reward on the prompt's embedding (Deckers et al., arXiv 2308.12059).

One of two readings of the comparison row "PromptOpt"; the other is `rewrite.py`.
"""

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


class _Words(Leaves):
    """What is added to the conditional embeddings as a leaf, first nothing; its distance, relative, is what it costs."""

    def __init__(self, weight: float):
        self.leaves: list[Tensor] = []
        self.weight = weight
        self.size: Tensor | None = None

    def words(self, embeddings: Tensor) -> Tensor:
        if not self.leaves:
            self.leaves = [torch.zeros_like(embeddings, dtype=torch.float32).requires_grad_()]
            self.size = norms(embeddings.detach())
        return embeddings.detach() + self.leaves[0].to(embeddings.dtype)

    def penalty(self) -> Tensor:
        assert self.size is not None
        # The square of the norm, so that its gradient is there at zero too.
        return self.weight * self.leaves[0].flatten(1).pow(2).sum(1) / self.size**2


@dataclass(frozen=True)
class Embedding:
    """Adam on the embedding of the prompt; the best image seen counts.

    regularisation: points of reward that moving the embedding by its own length costs.
    """

    needs_reward: ClassVar[bool] = True
    follows_gradient: ClassVar[bool] = True
    iterations: int = 50
    lr: float = 0.01
    clip: float = 1.0
    regularisation: float = 0.0

    @follows_loop
    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        def optimiser(leaves: list[Tensor]) -> torch.optim.Optimizer:
            return torch.optim.Adam(leaves, lr=self.lr)

        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            hooks = _Words(self.regularisation)
            return run.result(ascend(run, hooks, optimiser, self.iterations, self.clip, keep="best"))
