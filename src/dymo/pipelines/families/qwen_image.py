"""Qwen-Image: joint attention, the prompt's tokens (Qwen2.5-VL's, in a chat) before the image's; packed latents; two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from . import Encoder
from .flux import Flux


class QwenImage(Flux):
    """The family of `QwenImageTransformer2DModel`: packed and guided as FLUX.1."""

    read: ClassVar[Mapping[int, tuple[int, int]]] = {60: (12, 20)}

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The chat's first tokens are taken off again. Raises PipelineError where pictures are read with the prompt."""
        if hasattr(pipe, "processor"):
            raise PipelineError(
                f"{type(pipe).__name__} puts the tokens of its pictures before the prompt's, as many as their sizes make, so that the places of "
                "its words are not known: set semantic_weight=0"
            )
        before, after = pipe.prompt_template_encode.split("{}")
        window = min(pipe.tokenizer_max_length, given.get("max_sequence_length") or 512)
        dropped = pipe.prompt_template_encode_start_idx
        return (Encoder(pipe.tokenizer, 0, window, before=before, after=after, dropped=dropped),)
