"""Kolors: SDXL's UNet with the words of ChatGLM, whose prompts are filled up in front to one length."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import PipelineError
from . import Encoder
from .unet import UNet


class Kolors(UNet):
    """The family of a `UNet2DConditionModel` whose prompt's tokens are ChatGLM's. No mask: what fills up takes part in the attention."""

    def tokenizer(self, pipe: Any) -> Any:
        raise PipelineError(
            f"the words of {type(pipe).__name__} are not where its tokenizer puts them, since each prompt is filled up in front: this is "
            "for pipelines with CLIP"
        )

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        embeds = given.get("prompt_embeds")
        # The call's own `max_sequence_length` is checked by the pipelines, but not passed on to where the prompt is read.
        length = inspect.signature(type(pipe).encode_prompt).parameters["max_sequence_length"].default
        window = length if embeds is None else embeds.shape[1]
        return (Encoder(pipe.tokenizer, 0, window, filled=window),)
