"""Rewriting: a language model rewrites the prompt (Promptist; Hao et al., NeurIPS 2023).

One of two readings of the comparison row "PromptOpt"; the other is `embedding.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import ConfigError
from .best_of_n import keep_best
from .contract import Result
from .run import Run

Rewriter = Callable[[str], list[str]]
"""A prompt -> its rewritings, the best first."""

PROMPTIST = "microsoft/Promptist"


@cache
def promptist(model: str = PROMPTIST, beams: int = 8, new_tokens: int = 75) -> Rewriter:
    """The rewriter that is a causal language model of the hub: the prompt, " Rephrase:", and what `beams` beams say."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        network = AutoModelForCausalLM.from_pretrained(model)
        # Promptist has GPT-2's tokenizer and no files of it.
        tokenizer = AutoTokenizer.from_pretrained("gpt2" if model == PROMPTIST else model)
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"cannot load the rewriter {model!r}: {first}; give a hub id or folder of a causal language model, or a "
            "function prompt -> rewritings"
        ) from error

    def rewrite(prompt: str) -> list[str]:
        asked = tokenizer(f"{prompt.strip()} Rephrase:", return_tensors="pt").to(network.device)
        found = network.generate(
            **asked, do_sample=False, num_beams=beams, num_return_sequences=beams, max_new_tokens=new_tokens,
            length_penalty=-1.0, pad_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        said = tokenizer.batch_decode(found[:, asked.input_ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in said if text.strip()]

    return rewrite


@dataclass(frozen=True)
class Rewrite:
    """Generates from the rewritten prompt with the user's seed. With a budget: further rewritings, the best by the reward.

    rewriter: a hub id, a folder, or a function prompt -> rewritings. The reward always reads the user's own prompt.
    A prompt that the rewriter says nothing about is used as it is.
    """

    rewriter: str | Rewriter = PROMPTIST
    candidates: int | None = None
    """At most so many rewritings; None: one, or with a budget what it affords."""

    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        rewriter = promptist(self.rewriter) if isinstance(self.rewriter, str) else self.rewriter
        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            said = [rewriter(text) or [text] for text in run.texts]
            most = self.candidates or (1 if budget is None else max(map(len, said)))
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
