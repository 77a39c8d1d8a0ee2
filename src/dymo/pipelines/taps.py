"""Read-only taps on cross-attention: hooks on the query and key projections, attention processors left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn


@dataclass
class AttentionTaps(AbstractContextManager):
    """Keeps the queries and keys of the chosen attention modules' last forward while the context is open.

    `modules`: name -> a diffusers `Attention` with `to_q`, `to_k`, `heads` and `scale`; their maps are of `grid` = (rows,
    columns), and after the block `last` nothing that is read depends on the latents. Under gradient checkpointing the
    hooks fire a second time in the backward; the first tensors, which belong to the graph, are kept.
    """

    modules: Mapping[str, nn.Module]
    grid: tuple[int, int] = (0, 0)
    last: nn.Module | None = None
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
    def _keep(name: str, kept: dict[str, Tensor]) -> Callable[..., None]:
        def hook(_module, _inputs, output):
            kept.setdefault(name, output)

        return hook

    def maps(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> Tensor:
        """softmax(q k^T scale) averaged over heads and modules, float32: (batch, pixels, tokens).

        change: applied to each module's q and k (batch, n, width) first, to cut the graph. rows: of the batch.
        """
        return torch.stack(list(self.layers(change, rows).values())).mean(0)

    def layers(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> dict[str, Tensor]:
        """`maps` of each module by itself."""
        return {
            name: probabilities(change(self.queries[name][rows]), change(self.keys[name][rows]), module.heads, module.scale).mean(1)
            for name, module in self.modules.items()
        }


def probabilities(q: Tensor, k: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(q k^T scale) of q (b, n, h d), k (b, m, h d): (b, h, n, m), each pixel's tokens summing to 1.

    In float32, as fused attention accumulates: q k^T itself overflows in half precision where attention does not.
    """
    q = rearrange(q.float(), "b n (h d) -> b h n d", h=heads)
    k = rearrange(k.float(), "b n (h d) -> b h n d", h=heads)
    return torch.softmax(q @ k.transpose(-1, -2) * scale, dim=-1)
