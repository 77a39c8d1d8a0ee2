"""Attention of a UNet in fewer operations: what diffusers' own processor computes, for the modules that still have it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Lean:
    """Stands in for diffusers' `AttnProcessor2_0` in one module, in the plain form that the UNets of SD1.5, SD2 and SDXL have.

    Queries, keys and values of self-attention are one product, by a copy of the three weights side by side; keys and values
    of the same words are kept from one evaluation to the next; the result is not divided by 1. A module's projections are
    called as modules wherever something may watch them or has replaced them.
    """

    def __init__(self, attn: Any, join: bool = True, keep: bool = True):
        own = (attn.to_q, attn.to_k, attn.to_v)
        self.watched = False
        self.seen: tuple[Tensor, Tensor] | None = None
        """Queries and keys (B, n, h d) of the first forward while it is watched."""
        self.weight = self.bias = None
        if join and not attn.is_cross_attention and all(map(_untouched, own)):
            self.weight = torch.cat([x.weight.detach() for x in own])
            self.bias = None if own[0].bias is None else torch.cat([x.bias.detach() for x in own])
        self._keeps = keep and attn.is_cross_attention and all(map(_untouched, own[1:]))
        self._kept: dict[Any, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None, *args: Any, **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        """hidden_states (B, n, c), encoder_hidden_states (B, m, d) or None -> (B, n, c)."""
        batch = hidden_states.shape[0]
        if encoder_hidden_states is None and self.weight is not None:
            parts = F.linear(hidden_states, self.weight, self.bias).chunk(3, -1)
        else:
            words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            parts = (attn.to_q(hidden_states), *self._of_words(attn, words))
        if self.watched and self.seen is None:
            self.seen = (parts[0], parts[1])
        q, k, v = (x.view(batch, -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2) for x in parts)
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, k.shape[2], batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        return attn.to_out[0](found.transpose(1, 2).reshape(batch, -1, q.shape[1] * q.shape[3]))

    def _of_words(self, attn: Any, words: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, kept while the words and the weights are the same memory, and unchanged."""
        if not self._keeps or words.requires_grad or words.is_inference():
            return attn.to_k(words), attn.to_v(words)
        place = (words.untyped_storage()._cdata, words.storage_offset(), words.shape, words.stride(), words._version)
        weights = tuple((x.weight.untyped_storage()._cdata, x.weight._version) for x in (attn.to_k, attn.to_v))
        key = (
            place,
            weights,
            words.dtype,
            torch.is_autocast_enabled(words.device.type),
            getattr(words, "_whole", None) is not None,
        )
        if key not in self._kept:
            if len(self._kept) == 2:  # the rows of guidance together, and the conditional ones
                self._kept.pop(next(iter(self._kept)))
            # The words themselves are kept with them, so that nothing else can come to lie in their place.
            self._kept[key] = (words, attn.to_k(words), attn.to_v(words))
        return self._kept[key][1:]


def joins(device: torch.device) -> bool:
    """Whether fewer launches are worth a copy of weights, and other last bits: where there are launches."""
    return device.type != "cpu"


def lean_processors(denoiser: nn.Module, join: bool = True, keep: bool = True) -> dict[str, Any]:
    """The denoiser's attention processors by name, with `Lean` wherever it computes the same.

    join, keep: whether weights may be copied side by side, and keys and values kept.
    """
    own = getattr(denoiser, "attn_processors", {})
    modules = dict(denoiser.named_modules())
    # Offloading moves weights about, and a copy would stay where it was made.
    if any(hasattr(m, "_hf_hook") or hasattr(m, "_diffusers_hook") for m in modules.values()):
        join = keep = False
    found = {}
    for name, processor in own.items():
        attn = modules.get(name.removesuffix(".processor"))
        found[name] = Lean(attn, join, keep) if attn is not None and _plain(attn, processor) else processor
    return found


def _plain(attn: Any, processor: Any) -> bool:
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    return (
        type(attn) is Attention
        and type(processor) is AttnProcessor2_0
        and attn.rescale_output_factor == 1
        and not (attn.residual_connection or attn.norm_cross or attn.fused_projections or attn.only_cross_attention)
        and all(x is None for x in (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k))
        and attn.to_out is not None
        and attn.inner_dim == attn.inner_kv_dim
        and not attn.to_out[1].training
    )


def _untouched(layer: nn.Module) -> bool:
    """Whether a projection is torch's own, of plain weights, with nothing that watches it, as an offload or an adapter does."""
    if type(layer) is not nn.Linear:
        return False
    return (
        type(layer.weight).__name__ in ("Parameter", "FakeTensor")  # a quantised one is of a class of its own
        and layer.weight.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and not hasattr(layer, "_hf_hook")
        and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)
        and "forward" not in vars(layer)
    )
