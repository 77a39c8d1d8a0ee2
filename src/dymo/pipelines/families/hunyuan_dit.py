"""HunyuanDiT: cross-attention to the tokens of a bilingual CLIP (BERT's) and of mT5; the noise, and its variance beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Encoder
from .transformer import Transformer


class HunyuanDiT(Transformer):
    """The family of `HunyuanDiT2DModel`: its keys are of one length, with a learned token in each place that is filled up."""

    blocks, attention = "blocks", "attn2"
    prompt_calls = 2  # one a text encoder
    read: ClassVar[Mapping[int, tuple[int, int]]] = {40: (9, 15)}

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        first, second = pipe.transformer.config.text_len, pipe.transformer.config.text_len_t5
        found = ((pipe.tokenizer, 0, first), (pipe.tokenizer_2, first, second))
        return [Encoder(*one) for one in found if one[0] is not None]
