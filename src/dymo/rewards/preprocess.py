"""A picture as a vision tower wants it, in tensors, with a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


def shortest_side_crop(images: Tensor, size: int) -> Tensor:
    """Bring the shortest side to `size` (bicubic, antialiased, as PIL does), then crop the centre: (B, 3, size, size).

    Clamped to [0, 1], since bicubic weights overshoot and a PIL picture cannot.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    short = min(height, width)
    # transformers truncates the long side; for a square nothing is left to truncate.
    new = (int(size * height / short), int(size * width / short))
    images = F.interpolate(images, new, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (new[0] - size) // 2, (new[1] - size) // 2
    return images[..., top : top + size, left : left + size]


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(images - mean) / std by channel."""
    return (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1)
