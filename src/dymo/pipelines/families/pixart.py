"""PixArt-Alpha and PixArt-Sigma: cross-attention to T5's tokens; the prediction of the noise, and of its variance beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Encoder
from .transformer import Transformer, check_cleaning


class PixArt(Transformer):
    """The family of `PixArtTransformer2DModel`, whose pipelines keep their guidance to themselves: it is the call's argument."""

    attention = "attn2"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {28: (6, 11)}

    def doubled(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        return bool(given["guidance_scale"] > 1)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return float(given["guidance_scale"])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        check_cleaning(pipe, given)
        return (Encoder(pipe.tokenizer, 0, given["max_sequence_length"], lower=True),)
