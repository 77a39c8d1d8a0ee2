"""CogView3-Plus: joint attention, the prompt's tokens (T5's) before the image's; one batch for guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..kernel import Places
from . import Encoder
from .transformer import Transformer


class CogView3(Transformer):
    """The family of `CogView3PlusTransformer2DModel`. No mask: T5's padding takes part in the attention."""

    attention = "attn1"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {30: (7, 12)}

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        length = kwargs["encoder_hidden_states"].shape[1]
        return Places(length, 0, length)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 224),)
