"""A CLIP image tower in fewer operations, for the length of a run: joined projections, and patches by a product."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

_USERS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_LOCK = threading.Lock()


@contextmanager
def joined(model: nn.Module, attention: bool = True) -> Iterator[None]:
    """Inside, the image tower's attention multiplies by a copy of its three weights side by side, where they are plain.

    The outputs are the same; there are five operations less in a layer, forward and backward. The convolution that makes the
    patches, whose gradient to the image libraries compute slowly (on a CPU six times), is a product too. Runs in several
    threads may share the model. attention: False leaves it as it is.
    """
    with _LOCK:
        _USERS[model] = _USERS.get(model, 0) + 1
        if _USERS[model] == 1:
            for name, module in model.named_modules():
                if attention and "text_model" not in name and _plain(module):
                    module.forward = partial(_forward, module, *_weights(module))
                elif name.endswith("patch_embedding") and _tiles(module):
                    module.forward = partial(_patches, module)
    try:
        yield
    finally:
        with _LOCK:
            _USERS[model] -= 1
            if not _USERS[model]:
                for module in model.modules():
                    own = vars(module).get("forward")
                    if isinstance(own, partial) and own.func in (_forward, _patches):
                        del module.forward


def _plain(module: Any) -> bool:
    if type(module).__name__ != "CLIPAttention" or module.training or "forward" in vars(module):
        return False
    parts = (module.q_proj, module.k_proj, module.v_proj)
    return (
        module.config._attn_implementation == "sdpa"
        and all(
            type(x) is nn.Linear and x.weight.is_floating_point() and not x._forward_hooks and "forward" not in vars(x)
            for x in parts
        )
        and len({x.weight.dtype for x in parts}) == 1
        and not any(x.weight.requires_grad for x in parts)
    )


def _tiles(module: Any) -> bool:
    """Whether it is a plain convolution of patches that lie side by side."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == module.stride
        and (module.padding, module.dilation, module.groups) == ((0, 0), (1, 1), 1)
        and module.weight.is_floating_point()
        and not module.weight.requires_grad
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
    )


def _patches(module: Any, pixels: Tensor) -> Tensor:
    """What the convolution gives. pixels (B, 3, H, W) -> (B, c, H/p, W/p)."""
    p, q = module.kernel_size
    h, w = pixels.shape[2] // p, pixels.shape[3] // q
    tiles = rearrange(pixels[..., : h * p, : w * q], "b c (h p) (w q) -> b h w (c p q)", p=p, q=q)
    return rearrange(F.linear(tiles, module.weight.flatten(1), module.bias), "b h w c -> b c h w")


def _weights(module: Any) -> tuple[Tensor, Tensor]:
    parts = (module.q_proj, module.k_proj, module.v_proj)
    return torch.cat([x.weight.detach() for x in parts]), torch.cat([x.bias.detach() for x in parts])


def _forward(
    module: Any,
    weight: Tensor,
    bias: Tensor,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """What `CLIPAttention.forward` gives. hidden_states (B, n, c)."""
    batch, n, _ = hidden_states.shape
    parts = F.linear(hidden_states, weight, bias).chunk(3, -1)
    q, k, v = (x.view(batch, n, module.num_heads, module.head_dim).transpose(1, 2) for x in parts)
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, scale=module.scale)
    return module.out_proj(found.transpose(1, 2).reshape(batch, n, -1)), None
