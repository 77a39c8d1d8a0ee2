"""HiDream-I1: joint attention, the image's tokens before T5's and, twice, Llama's; each block has Llama's of a layer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...guidance.loop import Rows
from ..kernel import Places
from ..rows import rows_of
from . import Encoder, inner
from .transformer import Transformer

_LLAMA = "encoder_hidden_states_llama3"


class HiDream(Transformer):
    """The family of `HiDreamImageTransformer2DModel`. In a block's text, Llama's last layer stands before the block's own."""

    blocks, attention = "double_stream_blocks", "block.attn1"
    sign = -1.0
    # Single ones follow, twice as many: at the depth of FLUX.1's.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {16: (9, 15)}

    def patches(self, pipe: Any) -> Sequence[tuple[Any, str, Any]]:
        """Experts run under `torch.no_grad` outside of training, and their gradient would be missing."""
        routers = [module for module in inner(pipe.transformer).modules() if hasattr(module, "moe_infer")]
        return [(module, "moe_infer", partial(_through_experts, module)) for module in routers]

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        """Llama's states are (layers, B, tokens, channels)."""
        rest = {name: value for name, value in kwargs.items() if name != _LLAMA}
        args, rest = super().take(args, rest, rows, batch)
        return args, {**rest, _LLAMA: rows_of(kwargs[_LLAMA].transpose(0, 1), rows).transpose(0, 1)}

    def reworded(self, encoded: tuple, change: Callable[[Tensor], Tensor]) -> tuple:
        t5, negative, llama, *rest = encoded
        return change(t5), negative, change(llama.transpose(0, 1)).transpose(0, 1), *rest

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        """An image that is not square is filled up to the most tokens that the denoiser takes."""
        image = tokens[0] * tokens[1] if tokens[0] == tokens[1] else inner(pipe.transformer).max_seq
        return Places(0, image, kwargs["encoder_hidden_states_t5"].shape[1] + 2 * kwargs[_LLAMA].shape[2])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """CLIP gives one vector for the whole prompt, and no keys. Embeddings that are given have the length that they have."""
        t5, llama = (
            min(given.get("max_sequence_length") or 128, tokenizer.model_max_length) if embeds is None else embeds.shape[-2]
            for tokenizer, embeds in (
                (pipe.tokenizer_3, given.get("prompt_embeds_t5")), (pipe.tokenizer_4, given.get("prompt_embeds_llama3")),
            )
        )  # fmt: skip
        last, own = (Encoder(pipe.tokenizer_4, start, llama, text_name="prompt_4") for start in (t5, t5 + llama))
        return Encoder(pipe.tokenizer_3, 0, t5, text_name="prompt_3"), last, own


def _through_experts(router: Any, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """`MOEFeedForwardSwiGLU.moe_infer` with a gradient: the same values, of the same operations but for those in place.

    x (tokens, channels); chosen (tokens k): each token's experts, every one once; weights (tokens k, 1).
    """
    found, counts = torch.zeros_like(x), chosen.bincount(minlength=len(router.experts)).tolist()
    for expert, part in zip(router.experts, chosen.argsort().split(counts), strict=True):
        if len(part):
            tokens = part // router.num_activated_experts
            given = expert(x[tokens])
            found = found.to(given.dtype).index_add(0, tokens, (given * weights[part]).to(given.dtype))
    return found
