"""Lumina-Image 2: one stream of the prompt's tokens (Gemma's, as many as it has) and the image's; guidance in two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..kernel import Places
from . import Branches, Encoder
from .transformer import Transformer


class Lumina2(Transformer):
    """The family of `Lumina2Transformer2DModel`."""

    blocks = "layers"
    sign = -1.0
    read: ClassVar[Mapping[int, tuple[int, int]]] = {26: (6, 10)}

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        return Branches(1, None, 0) if call else Branches(1, 0, None)

    def guided(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        return bool(pipe.do_classifier_free_guidance)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return float(pipe.guidance_scale) if pipe.do_classifier_free_guidance else 1.0

    def unshared(self, pipe: Any, given: Mapping[str, Any]) -> str:
        ends = (given.get("cfg_trunc_ratio") or 1.0) < 1 and given["guidance_scale"] > 1
        return "cfg_trunc_ratio leaves steps without guidance" if ends else ""

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        lengths = tuple(int(n) for n in kwargs["encoder_attention_mask"].sum(1).tolist())
        return Places(lengths, 0, max(lengths))

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        before = (given.get("system_prompt") or pipe.system_prompt) + " <Prompt Start> "
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 256, before=before),)
