"""Rewriting: a language model rewrites the prompt (Promptist; Hao et al., NeurIPS 2023).

One of two readings of the comparison row "PromptOpt"; the other is `embedding.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..parts import Argument
from ..prompt.rewriter import PROMPTIST, Rewriter, promptist
from .best_of_n import keep_best
from .contract import Result
from .run import Run


@dataclass(frozen=True)
class Rewrite:
    """Generates from the rewritten prompt with the user's seed. With a budget: further rewritings, the best by the reward.

    rewriter: a hub id, a folder, or a function prompt -> rewritings. The reward always reads the user's own prompt.
    A prompt that the rewriter says nothing about is used as it is.
    """

    rewriter: str | Rewriter = PROMPTIST
    candidates: int | None = None
    """At most so many rewritings; None: one, or with a budget and a reward what the budget affords."""

    @property
    def needs_reward(self) -> bool:
        """Whether there are several candidates to choose among."""
        return self.candidates is not None and self.candidates > 1

    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        if pipeline_kwargs.get("prompt_embeds") is not None:
            raise ConfigError(Argument("prompt_embeds"), " would be used in place of what is rewritten: leave them out, or take another method")
        rewriter = promptist(self.rewriter) if isinstance(self.rewriter, str) else self.rewriter
        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            said = [rewriter(text) or [text] for text in run.texts]
            most = self.candidates or (1 if budget is None or reward is None else max(map(len, said)))
            best = run.generate(prompts=[texts[0] for texts in said])
            used = 1
            if most > 1 and run.affords():
                scores = run.score(best)
                while used < min(most, max(map(len, said))) and run.affords():
                    images = run.generate(prompts=[texts[min(used, len(texts) - 1)] for texts in said])
                    best, scores = keep_best(best, scores, images, run.score(images))
                    used += 1
            run.trace.config = {"rewritings": [texts[:used] for texts in said]}
            return run.result(best)
