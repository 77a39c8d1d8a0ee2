"""What a vision tower takes as its input, made of images as tensors, with a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

Margin = Literal["floor", "round"]
"""Where an odd number of pixels is cropped: transformers takes (n - size) // 2, torchvision round((n - size) / 2)."""

Mode = Literal["bicubic", "bilinear"]


def shortest_side_crop(images: Tensor, size: int, margin: Margin = "floor") -> Tensor:
    """Bring the shortest side to `size` (bicubic, antialiased, as PIL does), then crop the centre: (B, 3, size, size).

    Clamped to [0, 1], since bicubic weights overshoot and a PIL image cannot.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    # The long side is truncated, not rounded.
    return centre_crop(resized(images, (int(size * height / short), int(size * width / short))), size, margin)


def shortest_side_crop_aliased(images: Tensor, size: int) -> Tensor:
    """The same without antialias, the long side rounded: what `F.interpolate` alone does. (B, 3, size, size) in [0, 1].

    The step-aware preference model was trained on such images: nothing is averaged where they shrink.
    """
    scale = size / min(images.shape[-2:])
    new = tuple(int(side * scale + 0.5) for side in images.shape[-2:])
    images = F.interpolate(images, new, mode="bicubic", align_corners=False)
    return centre_crop(images, size, "round").clamp(0, 1)


def longest_side_pad(images: Tensor, size: int) -> Tensor:
    """Bring the longest side to `size` (bicubic, antialiased), black on the other sides: (B, 3, size, size) in [0, 1].

    open_clip's ResizeMaxSize, which HPSv2 uses; that one forgets to pad an image whose longest side is `size` already.
    """
    scale = size / max(images.shape[-2:])
    new = tuple(max(1, round(side * scale)) for side in images.shape[-2:])
    rows, columns = size - new[0], size - new[1]
    return F.pad(resized(images, new), (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def centre_crop(images: Tensor, size: int, margin: Margin) -> Tensor:
    """The middle (size, size) of images whose sides are at least `size`."""
    # Python rounds a half to the even number, as torchvision does.
    top, left = ((n - size) // 2 if margin == "floor" else round((n - size) / 2) for n in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(images - mean) / std by channel."""
    centre, spread = (_by_channel(tuple(x), images.dtype, images.device) for x in (mean, std))
    return (images - centre) / spread


@lru_cache(maxsize=64)
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """(3, 1, 1), brought to the device once."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1)


def resized(images: Tensor, new: tuple[int, ...], mode: Mode = "bicubic") -> Tensor:
    """Images in [0, 1] at another size, antialiased: (B, 3, *new) in [0, 1].

    By two products: the gradient of torch's own resizing adds pixel by pixel on CUDA, and Apple's devices have none.
    """
    if images.shape[-2:] == new:
        return images
    down, across = (
        _weights(old, size, mode, images.dtype, images.device) for old, size in zip(images.shape[-2:], new, strict=True)
    )
    return (down @ images @ across.mT).clamp(0, 1)


@lru_cache(maxsize=64)
def _weights(old: int, new: int, mode: Mode, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(new, old): what each pixel of a resized line takes of each pixel before, by torch's own resizing of unit vectors."""
    with torch.inference_mode(False), torch.no_grad():
        units = torch.eye(old, dtype=dtype, device=device)[None, None]
        return F.interpolate(units, (new, old), mode=mode, antialias=True, align_corners=False)[0, 0]
