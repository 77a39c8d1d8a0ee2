"""AuraFlow: joint attention, register tokens before the prompt's (T5's), these before the image's; one batch for guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from ..kernel import Places
from . import Encoder, inner
from .pixart import PixArt


class AuraFlow(PixArt):
    """The family of `AuraFlowTransformer2DModel`, whose pipeline has its guidance as PixArt's does."""

    attention = "attn"
    # As deep as FLUX.1's among all its blocks: the double ones are but the first 4.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {36: (6, 11)}

    def layers(self, pipe: Any) -> dict[str, nn.Module]:
        """The double blocks, then the single ones, whose tokens lie in the same order."""
        kinds = ("joint_transformer_blocks", "single_transformer_blocks")
        return {f"{kind}.{i}": block for kind in kinds for i, block in enumerate(getattr(inner(pipe.transformer), kind))}

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        registers, length = inner(pipe.transformer).register_tokens.shape[1], kwargs["encoder_hidden_states"].shape[1]
        return Places(registers + length, registers, length)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 256),)
