"""Ovis-Image: FLUX.1's form with the prompt's tokens of Qwen3, in a chat after an instruction that is cut off again; two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Encoder
from .flux import Flux
from .transformer import around


class OvisImage(Flux):
    """The family of `OvisImageTransformer2DModel`, whose pipeline keeps its guidance to itself: it is the call's argument."""

    # All double blocks but the first two.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {6: (2, 5)}

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return max(1.0, float(given["guidance_scale"]))

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        before, after = around(pipe.tokenizer, add_generation_prompt=True, enable_thinking=False)
        window = given.get("max_sequence_length") or 256
        return (Encoder(pipe.tokenizer, 0, window, before=before + pipe.system_prompt, after=after, dropped=pipe.user_prompt_begin_id),)
