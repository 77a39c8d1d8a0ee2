"""Augmented copies of an image, differentiable: crops, mirror images, small changes of light."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def views(images: Tensor, n: int, seeds: Sequence[int]) -> Tensor:
    """(B, 3, H, W) in [0, 1], a seed each -> (n, B, 3, H, W): the images, then n - 1 copies of each.

    A sample's draws depend on its own seed alone, so that a batch equals single runs. A copy is a random crop of 80 to
    100 % of each side, mirrored half of the time, with brightness and contrast within 10 %.
    """
    if n == 1:
        return images[None]
    each = {seed: torch.rand(n - 1, 6, generator=torch.Generator().manual_seed(seed)) for seed in seeds}
    draw = torch.stack([each[seed] for seed in seeds], 1).to(images)
    scale, x, y, mirror, light, contrast = draw.flatten(0, 1).unbind(1)
    side = 0.8 + 0.2 * scale
    zero = torch.zeros_like(side)
    across = torch.stack([side * torch.where(mirror < 0.5, -1.0, 1.0), zero, (1 - side) * (2 * x - 1)], 1)
    down = torch.stack([zero, side, (1 - side) * (2 * y - 1)], 1)
    batch = images.shape[0]
    theta = torch.stack([across, down], 1)
    grid = F.affine_grid(theta, [(n - 1) * batch, *images.shape[1:]], align_corners=False)
    several = images.repeat(n - 1, 1, 1, 1)
    crops = F.grid_sample(several, grid, padding_mode="border", align_corners=False).unflatten(0, (n - 1, batch))
    light, contrast = (v.view(n - 1, batch, 1, 1, 1) for v in (light, contrast))
    crops = (crops - 0.5) * (0.9 + 0.2 * contrast) + 0.5 + 0.2 * (light - 0.5)
    return torch.cat([images[None], crops])
