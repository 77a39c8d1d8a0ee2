"""Stable Diffusion 3 and 3.5: joint attention, the image's tokens before the prompt's, CLIP's before T5's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..kernel import Places
from . import Encoder
from .transformer import Transformer


class SD3(Transformer):
    """The family of `SD3Transformer2DModel`. Skip-layer guidance is a second forward, of the prompt again."""

    # Around the block that localises words best in SD3-M, 9 of 24 (arXiv 2509.18096); in SD3.5-L at the same depth.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {24: (6, 10), 38: (10, 16)}

    def unshared(self, pipe: Any, given: Mapping[str, Any]) -> str:
        skips = given.get("skip_guidance_layers") is not None and given["guidance_scale"] > 1
        return "skip_guidance_layers runs the prompt's rows twice" if skips else ""

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        return Places(0, tokens[0] * tokens[1], kwargs["encoder_hidden_states"].shape[1])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """CLIP-L and CLIP-G have the same tokens, side by side in one position."""
        window = pipe.tokenizer_max_length
        found = [Encoder(pipe.tokenizer, 0, window)] if pipe.tokenizer is not None else []
        if pipe.text_encoder_3 is not None or given.get("prompt_embeds") is not None:
            if pipe.tokenizer_3 is not None:
                length = given.get("max_sequence_length") or 256
                found.append(Encoder(pipe.tokenizer_3, window, length, text_name="prompt_3"))
        return found
