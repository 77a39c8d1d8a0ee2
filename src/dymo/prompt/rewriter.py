"""A causal language model that rewrites prompts (Promptist, arXiv 2212.09611)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..errors import ConfigError, first_line

Rewriter = Callable[[str], list[str]]  # a prompt -> its rewritings, the best first

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
        raise ConfigError(
            f"cannot load the rewriter {model!r}: {first_line(error)}; give a hub id or folder of a causal language model, or a "
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
