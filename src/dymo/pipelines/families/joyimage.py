"""JoyImage: joint attention, the image's tokens before the prompt's (Qwen3-VL's, in a chat that is cut off again); two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...parts import Argument
from ..kernel import Places
from ..packing import OneItem
from . import Branches, Encoder
from .flux import TwoCalls

_TEMPLATE = "image"  # of the pipeline's chats that without pictures


class JoyImage(TwoCalls):
    """The family of `JoyImageEditTransformer3DModel`, without pictures. No mask: what fills a shorter prompt of a batch up takes part."""

    blocks = "double_blocks"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {20: (5, 8)}

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        if given.get("image") is not None:
            raise PipelineError(
                f"{type(pipe).__name__} keeps its picture among the latents, which a step changes too, and puts it back there: leave ",
                Argument("image"), " out, or edit with QwenImageEditPipeline",
            )
        if not given.get("enable_denormalization", True):
            raise PipelineError(
                Argument("enable_denormalization", False), " leaves the VAE's statistics out, by which predictions are decoded: leave it out",
            )
        return super().branches(pipe, given, call)

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> OneItem:
        rows, columns = (int(given[side]) // pipe.vae_scale_factor_spatial for side in ("height", "width"))
        return OneItem(rows, columns, 1)

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        return Places(0, tokens[0] * tokens[1], kwargs["encoder_hidden_states"].shape[1])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        before, after = pipe.prompt_template_encode[_TEMPLATE].split("{}")
        window = min(pipe.text_token_max_length, given.get("max_sequence_length") or 4096)
        dropped = pipe.prompt_template_encode_start_idx[_TEMPLATE]
        return (Encoder(pipe.tokenizer, 0, window, before=before, after=after, dropped=dropped),)
