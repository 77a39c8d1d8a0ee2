"""NucleusMoE-Image: the image's tokens look at each other and then at the prompt's (Qwen3-VL's, in a chat); packed latents; two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..kernel import Places
from . import Encoder
from .flux import Flux
from .transformer import filled

_MULTIPLE = 8  # tokens of the prompts are filled up to a multiple of it
_MARK = "\ue000"


class Nucleus(Flux):
    """The family of `NucleusMoEImageTransformer2DModel`: queries of the image alone. Each expert chooses its tokens in each image by itself."""

    sign = -1.0
    read: ClassVar[Mapping[int, tuple[int, int]]] = {24: (6, 10)}

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return max(1.0, float(given["guidance_scale"]))

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        return Places(0, tokens[0] * tokens[1], kwargs["encoder_hidden_states"].shape[1])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The prompts of a call are filled up to the longest of them, on the tokenizer's side."""
        tokenizer, window = pipe.processor.tokenizer, given.get("max_sequence_length") or pipe.default_max_sequence_length
        before, _, after = pipe._format_prompt(_MARK).partition(_MARK)
        places = filled(tokenizer, given.get("prompt"), window, _MULTIPLE, (before, after))
        return (Encoder(tokenizer, 0, window, before=before, after=after, filled=places),)
