"""Sana: cross-attention to Gemma's tokens of an instruction and the prompt, of which the instruction is cut off again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Encoder
from .transformer import Transformer, check_cleaning


class Sana(Transformer):
    """The family of `SanaTransformer2DModel`; its self-attention is linear, and has no maps."""

    attention = "attn2"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {20: (5, 9)}

    def doubled(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        return bool(getattr(pipe, "do_classifier_free_guidance", False))  # Sana-Sprint's guidance is an input of the denoiser

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return super().scale(pipe, given) if self.doubled(pipe, given) else 1.0

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        check_cleaning(pipe, given)
        length = given.get("max_sequence_length") or 300
        instruction = given.get("complex_human_instruction")
        if not instruction:
            return (Encoder(pipe.tokenizer, 0, length, lower=True),)
        before = "\n".join(instruction)
        # Of the whole text the start token and the last `length` - 1 places are kept.
        dropped = len(pipe.tokenizer.encode(before)) - 2
        return (Encoder(pipe.tokenizer, 0, length, before=before, dropped=dropped, lower=True),)
