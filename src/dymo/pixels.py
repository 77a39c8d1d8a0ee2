"""Images as tensors (batch, 3, height, width) in [0, 1], and as 8-bit RGB images of Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


def to_pil(images: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) -> B images; values outside of [0, 1] are cut off."""
    values = images.detach().float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(one) for one in values]


def opaque(images: Tensor) -> Tensor:
    """What rewards and judges see of images (B, 3 or 4, H, W): the colours. Qwen-Image 2.1's have a transparency behind them."""
    return images[:, :3]


def from_pil(images: Iterable[Image.Image]) -> Tensor:
    """Images of one size -> (B, 3, H, W), float32. An alpha channel is left out."""
    import torch

    values = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(values).permute(0, 3, 1, 2).float() / 255
