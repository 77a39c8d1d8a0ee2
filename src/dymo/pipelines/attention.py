"""Read-only taps on cross-attention: hooks on the query and key projections, processors left alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn


@dataclass
class AttentionTaps(AbstractContextManager):
    """Keeps the queries and keys of the chosen attention modules' last forward while the context is open.

    `modules`: name -> a diffusers `Attention` with `to_q`, `to_k`, `heads` and `scale`. Under gradient checkpointing
    the hooks fire a second time in the backward; the first tensors, which belong to the graph, are kept.
    """

    modules: Mapping[str, nn.Module]
    queries: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, Tensor] = field(default_factory=dict)
    _handles: list = field(default_factory=list)

    def __enter__(self) -> AttentionTaps:
        for name, module in self.modules.items():
            for projection, kept in (("to_q", self.queries), ("to_k", self.keys)):
                self._handles.append(getattr(module, projection).register_forward_hook(self._keep(name, kept)))
        return self

    def __exit__(self, *exc) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.clear()

    def clear(self) -> None:
        """Forget what was seen; call before each forward that is to be read."""
        self.queries.clear()
        self.keys.clear()

    @staticmethod
    def _keep(name: str, kept: dict[str, Tensor]):
        def hook(_module, _inputs, output):
            kept.setdefault(name, output)

        return hook

    def probabilities(self, name: str) -> Tensor:
        """softmax(q k^T scale) of one module: (batch, heads, pixels, tokens), each pixel's tokens summing to 1."""
        module = self.modules[name]
        q = rearrange(self.queries[name], "b n (h d) -> b h n d", h=module.heads)
        k = rearrange(self.keys[name], "b n (h d) -> b h n d", h=module.heads)
        return torch.softmax(q @ k.transpose(-1, -2) * module.scale, dim=-1)


def cross_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """name -> cross-attention module of a UNet, in the order of the forward pass."""
    found = {
        name: module for name, module in unet.named_modules() if name.endswith("attn2") and hasattr(module, "to_q")
    }
    stage = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    return dict(sorted(found.items(), key=lambda item: stage[item[0].split(".")[0]]))
