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
    """What is added to the conditional embeddings, a leaf for each kind, first nothing; its distance, relative, is what it costs."""

    def __init__(self, weight: float):
        self.leaves: list[Tensor] = []
        self.weight = weight
        self.squares: list[Tensor] = []

    def words(self, kind: int, embeddings: Tensor) -> Tensor:
        if kind == len(self.leaves):
            self.leaves.append(torch.zeros_like(embeddings, dtype=torch.float32).requires_grad_())
            self.squares.append(norms(embeddings.detach()) ** 2)
        return embeddings.detach() + self.leaves[kind].to(embeddings.dtype)

    def penalty(self) -> Tensor:
        # The square of the norm, so that its gradient is there at zero too.
        moved = torch.stack([leaf.flatten(1).pow(2).sum(1) for leaf in self.leaves]).sum(0)
        return self.weight * moved / torch.stack(self.squares).sum(0)


@dataclass(frozen=True)
class Embedding:
    """Adam on the embeddings of the prompt's tokens, those of all text encoders together; the best image seen counts.

    What a text encoder says of the whole prompt in one vector stays.
    regularisation: points of reward that moving the embeddings by their own length costs.
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
