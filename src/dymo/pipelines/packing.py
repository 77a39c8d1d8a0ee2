"""Latents that a pipeline keeps as a sequence of patches."""

from __future__ import annotations

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """(B, c, h, w) as the sequence (B, h w / p^2, c p^2) of its patches of side p, each patch channel by channel.

    rows, columns: h and w. FLUX.1 and Qwen-Image have p = 2; FLUX.2's latents are patches already, and Qwen-Image 2.1's tokens single pixels: p = 1.
    """

    rows: int
    columns: int
    patch: int

    def pack(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, h w / p^2, c p^2)."""
        return rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=self.patch, q=self.patch)

    def unpack(self, x: Tensor) -> Tensor:
        """(B, h w / p^2, c p^2) -> (B, c, h, w)."""
        p = self.patch
        return rearrange(x, "b (h w) (c p q) -> b c (h p) (w q)", h=self.rows // p, w=self.columns // p, p=p, q=p)


@dataclass(frozen=True)
class OneFrame(Packing):
    """(B, c, h, w) as a video of one frame, its channels last: (B, 1, h, w, c)."""

    def pack(self, x: Tensor) -> Tensor:
        return rearrange(x, "b c h w -> b 1 h w c")

    def unpack(self, x: Tensor) -> Tensor:
        return rearrange(x, "b 1 h w c -> b c h w")


@dataclass(frozen=True)
class OneItem(Packing):
    """(B, c, h, w) as the one item of a sequence of videos, of one frame: (B, 1, c, 1, h, w)."""

    def pack(self, x: Tensor) -> Tensor:
        return rearrange(x, "b c h w -> b 1 c 1 h w")

    def unpack(self, x: Tensor) -> Tensor:
        return rearrange(x, "b 1 c 1 h w -> b c h w")
