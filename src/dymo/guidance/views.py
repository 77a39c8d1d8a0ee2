"""Augmented copies of an image, differentiable: crops, mirror images, small changes of light."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def views(images: Tensor, n: int, seed: int) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (n, B, 3, H, W): the images, then n - 1 copies of each.

    Every sample of a batch gets the same draws, so that a batch equals single runs. A copy is a random crop of 80 to
    100 % of each side, mirrored half of the time, with brightness and contrast within 10 %.
    """
    if n == 1:
        return images[None]
    draw = torch.rand(n - 1, 6, generator=torch.Generator().manual_seed(seed)).to(images)
    batch = images.shape[0]
    copies = [images]
    for scale, x, y, mirror, light, contrast in draw:
        side = 0.8 + 0.2 * scale
        theta = images.new_zeros(2, 3)
        theta[0, 0] = side * torch.where(mirror < 0.5, -1.0, 1.0)
        theta[1, 1] = side
        theta[0, 2], theta[1, 2] = (1 - side) * (2 * x - 1), (1 - side) * (2 * y - 1)
        grid = F.affine_grid(theta.expand(batch, -1, -1), list(images.shape), align_corners=False)
        crop = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        crop = (crop - 0.5) * (0.9 + 0.2 * contrast) + 0.5 + 0.2 * (light - 0.5)
        copies.append(crop)
    return torch.stack(copies)
