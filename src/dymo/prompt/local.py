"""Graphs by an instruct model on this machine, through transformers; llguidance lets it write nothing but the asked form."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from dymo.errors import ConfigError, PromptError, first_line
from dymo.parts import OfParser, Setting
from dymo.prompt.answer import schema
from dymo.prompt.asking import AskingParser, OnFailure

_INSTALL = "pip install 'dymo-diffusion[llm]'"
MOST_TOKENS = 1024


class LocalParser(AskingParser):
    """Asks an instruct model of transformers for the graph of a prompt, greedily, constrained to the JSON schema.

    model: a hub id or a folder with a fast tokenizer; or a loaded model, with `tokenizer`. Its config's `_name_or_path`
        is its name in the cache, so loaded models without one are not cached.
    device: where to put a model that is loaded here ("cuda", "cpu", ...); by default where transformers puts it.
    max_new_tokens: an answer that is not complete by then counts as useless.
    cache, on_failure: as for `LLMParser`.

    Raises ConfigError on settings that cannot be used, PromptError where the model cannot be loaded.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        device: str | None = None,
        max_new_tokens: int = MOST_TOKENS,
        cache: str | Path | bool = True,
        on_failure: OnFailure = "error",
    ) -> None:
        try:
            import llguidance.hf
        except ImportError as error:
            raise ConfigError(Setting("parser", "transformers"), f" needs llguidance: {_INSTALL}") from error
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise ConfigError(OfParser("max_new_tokens", max_new_tokens), " must be a whole number above 0")
        if isinstance(model, (str, Path)):
            model, tokenizer = _load(str(model), device)
        if tokenizer is None:
            raise ConfigError("give ", OfParser("tokenizer"), " with a loaded model")
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(f"{type(tokenizer).__name__} is no fast tokenizer, which constrained writing needs")
        name = getattr(model.config, "_name_or_path", "") or ""
        super().__init__(name or type(model).__name__, cache if name else False, on_failure, concurrency=1)
        self.model, self.tokenizer, self.max_new_tokens = model.eval(), tokenizer, max_new_tokens
        size = max(model.config.vocab_size, len(tokenizer))
        self._tokens = llguidance.hf.from_tokenizer(tokenizer, n_vocab=size)
        self._grammar = llguidance.LLMatcher.grammar_from_json_schema(schema(), defaults={"whitespace_flexible": False})
        self._turn = threading.Lock()

    def __repr__(self) -> str:
        return f"LocalParser(model={self.identity!r})"

    def ask(self, question: list[dict[str, str]]) -> str | None:
        """What the model writes under the constraint; cut off at `max_new_tokens`. Raises PromptError."""
        chat = bool(self.tokenizer.chat_template)
        if chat:
            text = self.tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        else:
            text = "\n\n".join(f"{part['role']}: {part['content']}" for part in question) + "\n\nassistant: "
        with self._turn:
            inputs = self.tokenizer(text, return_tensors="pt", add_special_tokens=not chat)
            inputs = {name: inputs[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            length = inputs["input_ids"].shape[1]
            window = getattr(self.model.config, "max_position_embeddings", None)
            if window is not None and length >= window:
                raise PromptError(f"the question has {length} tokens, and the model reads {window}: shorten the prompt")
            most = min(self.max_new_tokens, window - length) if window else self.max_new_tokens
            end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
            written = self.model.generate(
                **inputs, do_sample=False, max_new_tokens=most, pad_token_id=end if pad is None else pad,
                logits_processor=[self._processor(length)],
            )  # fmt: skip
        return self.tokenizer.decode(written[0, length:], skip_special_tokens=True)

    def _processor(self, start: int) -> Any:
        """A logits processor of transformers for one text of `start` tokens: logits of tokens that cannot follow are -inf."""
        import llguidance.numpy
        import numpy as np
        import torch

        matcher = llguidance.LLMatcher(self._tokens, self._grammar)
        mask = llguidance.numpy.allocate_token_bitmask(1, self._tokens.vocab_size)
        seen = start

        def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            nonlocal seen
            for token in ids[0, seen:].tolist():
                matcher.consume_token(token)
            seen = ids.shape[1]
            llguidance.numpy.fill_next_token_bitmask(matcher, mask)
            bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little")[:, : scores.shape[1]]
            flat = torch.from_numpy(bits.astype(bool)).to(scores.device)
            flat = torch.nn.functional.pad(flat, (0, scores.shape[1] - flat.shape[1]))
            return scores.masked_fill(~flat, float("-inf"))

        return process


def _load(name: str, device: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
    except (OSError, ValueError, ImportError) as error:
        raise PromptError(f"the model {name!r} for ", Setting("parser", "transformers"), f" cannot be loaded: {first_line(error)}") from error
    return (model.to(device) if device else model), tokenizer
