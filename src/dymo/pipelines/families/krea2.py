"""Krea 2: one stream of the prompt's tokens (Qwen3-VL's, in a chat) and the image's; packed latents; guidance in two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import Encoder
from .flux import Flux


class Krea2(Flux):
    """The family of `Krea2Transformer2DModel`: packed as FLUX.1. Guidance counts from 0: pos + w (pos - neg)."""

    read: ClassVar[Mapping[int, tuple[int, int]]] = {28: (6, 10)}
    head = "final_layer.linear"
    unguided_scale = 0.0

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return 1.0 + max(0.0, float(given["guidance_scale"]))

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The chat's first tokens are taken off again; its last ones lie behind the padding, and have their places kept free."""
        window = (given.get("max_sequence_length") or 512) - pipe.prompt_template_encode_num_suffix_tokens
        dropped = pipe.prompt_template_encode_start_idx
        return (Encoder(pipe.tokenizer, 0, window, before=pipe.prompt_template_encode_prefix, dropped=dropped),)
