"""Chroma: FLUX.1 without its distilled guidance, so that guidance is a second call, and with a bias on the prompt's padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ...errors import PipelineError
from . import Encoder
from .flux import TwoCalls, every_block


class Chroma(TwoCalls):
    """The family of `ChromaTransformer2DModel`, whose double blocks are FLUX.1's."""

    def check(self, pipe: Any) -> None:
        super().check(pipe)
        if hasattr(pipe, "mask_processor") and "guidance_embeds" not in pipe.transformer.config:
            raise PipelineError(
                f"diffusers' {type(pipe).__name__} asks for guidance_embeds, which Chroma's configuration lacks, and fails without steering "
                "too: call pipe.transformer.register_to_config(guidance_embeds=False) first"
            )

    def recomputed(self, pipe: Any) -> Sequence[nn.Module]:
        """All blocks: diffusers' own switch runs the single ones without their mask."""
        return every_block(pipe)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 512),)
