"""CogView4: joint attention, the prompt's tokens (GLM-4's, filled up in front) before the image's; guidance in a second call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Encoder
from .flux2 import Flux2
from .transformer import longest

_MULTIPLE = 16  # tokens of the prompts are filled up to a multiple of it


class CogView4(Flux2):
    """The family of `CogView4Transformer2DModel`: guided as FLUX.2 klein. No mask: what fills up takes part in the attention."""

    attention = "attn1"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {28: (7, 11)}
    patch = None

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The prompts of a call are filled up to the longest of them, by the tokenizer, and then in front."""
        tokenizer, most, embeds = pipe.tokenizer, given.get("max_sequence_length") or 1024, given.get("prompt_embeds")
        if embeds is not None:
            return (Encoder(tokenizer, 0, most, filled=embeds.shape[1]),)
        length = longest(tokenizer, given.get("prompt"), most)
        more = -length % _MULTIPLE
        if tokenizer.padding_side == "right":
            return (Encoder(tokenizer, more, most),)
        return (Encoder(tokenizer, 0, most, filled=length + more),)
