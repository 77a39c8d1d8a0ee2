"""Lumina-Next: cross-attention to Gemma's tokens beside the image's own attention; guidance of three of the four channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Branches, Encoder
from .transformer import Transformer, check_cleaning, filled

_MULTIPLE = 8  # tokens of the prompts are filled up to a multiple of it


class LuminaNext(Transformer):
    """The family of `LuminaNextDiT2DModel`. The prompt's rows are first; the variance lies beside the velocity, whose sign is turned."""

    blocks, attention = "layers", "attn2"
    sign = -1.0
    read: ClassVar[Mapping[int, tuple[int, int]]] = {24: (6, 10)}

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        return Branches(2, 0, 1) if pipe.do_classifier_free_guidance else Branches(1, 0, None)

    def unshared(self, pipe: Any, given: Mapping[str, Any]) -> str:
        return f"{type(pipe).__name__} guides three channels of four" if given["guidance_scale"] > 1 else ""

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The prompts of a call are filled up to the longest of them, on the tokenizer's side."""
        check_cleaning(pipe, given)
        prompts, window = given.get("prompt") or "", pipe.max_sequence_length
        read = [prompt.lower().strip() for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
        return (Encoder(pipe.tokenizer, 0, window, filled=filled(pipe.tokenizer, read, window, _MULTIPLE), lower=True),)
