"""ERNIE-Image: one stream of the image's tokens and the prompt's (Mistral's, as many as it has); latents of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...parts import Argument, Set, Setting
from ..kernel import Places
from . import Encoder
from .transformer import Transformer


class Ernie(Transformer):
    """The family of `ErnieImageTransformer2DModel`. Its pipeline may have a language model rewrite the prompt first."""

    blocks, attention = "layers", "self_attention"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {24: (5, 8)}

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        return Places(0, tokens[0] * tokens[1], kwargs["text_bth"].shape[1])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        rewrites = given.get("use_pe", True) and given.get("prompt_embeds") is None
        if rewrites and pipe.pe is not None and pipe.pe_tokenizer is not None:
            raise PipelineError(
                Argument("use_pe", True), " has a language model rewrite the prompt, so that its words cannot be found: ",
                Set(Argument("use_pe", False)), " (and give the prompt that it made, revised_prompts of a plain call), or ",
                Set(Setting("semantic_weight", 0)),
            )
        return (Encoder(pipe.tokenizer),)
