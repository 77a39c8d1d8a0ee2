"""Kandinsky 5: cross-attention to the tokens of Qwen2.5-VL, in a chat that is cut off again; latents as a video of one frame; two calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ...guidance.loop import Rows
from ..decode import Form
from ..kernel import Places
from ..packing import OneFrame
from . import Encoder
from .flux import Flux
from .transformer import check_read

_POSITIONS = ("visual_rope_pos", "text_rope_pos")


class Kandinsky5(Flux):
    """The family of `Kandinsky5Transformer3DModel`. No mask: what fills a shorter prompt of a batch up takes part in the attention.

    CLIP gives one vector for the whole prompt, and no keys.
    """

    blocks, attention = "visual_transformer_blocks", "cross_attention"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {50: (12, 20)}
    form = Form(shifted=False)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return max(1.0, float(given["guidance_scale"]))

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        """Positions are those of all rows, however many they are."""
        args, rest = super().take(args, {name: value for name, value in kwargs.items() if name not in _POSITIONS}, rows, batch)
        return args, {**rest, **{name: kwargs[name] for name in _POSITIONS}}

    def run(self, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """Asked for a tuple, its forward gives the tensor alone."""
        return forward(*args, **{**kwargs, "return_dict": True}).sample

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> OneFrame:
        rows, columns = (int(given[side]) // pipe.vae_scale_factor_spatial for side in ("height", "width"))
        return OneFrame(rows, columns, 1)

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        return Places()

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        from diffusers.pipelines.kandinsky5.pipeline_kandinsky_t2i import prompt_clean

        check_read(given, prompt_clean)
        before, after = pipe.prompt_template.split("{}")
        tokenizer = getattr(pipe.tokenizer, "tokenizer", pipe.tokenizer)  # a processor's
        window, dropped = given.get("max_sequence_length") or 512, pipe.prompt_template_encode_start_idx
        return (Encoder(tokenizer, 0, window, before=before, after=after, dropped=dropped),)
