"""What makes a clean scene look like a generated one: for readers of images that must not be thrown by a generator's faults.

Every function takes and gives images (B, 3, 128, 128) in [0, 1] and draws from the generator it is given.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .scenes import SIZE
from .stack import PatchPCA


def to_images(stored: torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float in [0, 1]."""
    return stored.permute(0, 3, 1, 2).float() / 255


def chosen(n: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """(n, 1, 1, 1) of 0 and 1: which of a batch an augmentation applies to."""
    return (torch.rand(n, 1, 1, 1, generator=generator) < share).float()


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)


def noise(like: torch.Tensor, grain: int, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise shaped as `like`, smooth at the scale of `grain` pixels."""
    n, c, h, w = like.shape
    coarse = torch.randn(n, c, max(1, h // grain), max(1, w // grain), generator=generator)
    return coarse if grain == 1 else F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)


def round_trip(
    space: PatchPCA, images: torch.Tensor, generator: torch.Generator, strength: float = 0.5
) -> torch.Tensor:
    """Through the linear latent space and back, with up to `strength` of noise on the latents: what the denoiser works in."""
    z = space.encode(images.permute(0, 2, 3, 1) * 255)
    grain = 1 if torch.rand((), generator=generator) < 0.5 else 4
    z = z + uniform(len(z), 0, strength, generator) * noise(z, grain, generator)
    return space.decode(z)


def blur(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A Gaussian blur of deviation 1 to 4 pixels, one for the batch."""
    sigma = 1 + 3 * torch.rand((), generator=generator)
    kernel = torch.exp(-0.5 * (torch.arange(-8, 9) / sigma).square())
    kernel = (kernel / kernel.sum()).view(1, 1, 17, 1).expand(3, 1, 17, 1)
    soft = F.conv2d(F.pad(images, (0, 0, 8, 8), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(soft, (8, 8, 0, 0), mode="replicate"), kernel.transpose(2, 3), groups=3)


def appearance(
    images: torch.Tensor, space: PatchPCA, generator: torch.Generator, strength: float = 1.0
) -> torch.Tensor:
    """Tint, latent round trip, blur and noise, each on a part of the batch. Colours stay nameable: the tint is small."""
    n = len(images)
    gains = 1 + 0.06 * strength * torch.randn(n, 3, 1, 1, generator=generator)
    contrast, shift = (
        uniform(n, 1 - 0.2 * strength, 1 + 0.1 * strength, generator),
        0.05 * strength * torch.randn(n, 1, 1, 1, generator=generator),
    )
    images = ((images * gains - 0.5) * contrast + 0.5 + shift).clamp(0, 1)
    through = chosen(n, 0.5, generator)
    images = torch.lerp(images, round_trip(space, images, generator, 0.6 * strength), through)
    images = torch.lerp(images, blur(images, generator), chosen(n, 0.2 * strength, generator))
    grain = (1, 2, 4, 8, 16)[int(torch.randint(0, 5, (), generator=generator))]
    level = chosen(n, 0.4, generator) * uniform(n, 0, 0.1 * strength, generator)
    return (images + level * noise(images, grain, generator)).clamp(0, 1)


def warp_grid(n: int, generator: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Sampling grids (n, 128, 128, 2): a small affine map and a smooth displacement of up to some pixels."""
    angle, scale = (
        0.12 * strength * torch.randn(n, generator=generator),
        1 + 0.1 * strength * torch.randn(n, generator=generator),
    )
    shift = 0.08 * strength * torch.randn(n, 2, generator=generator)
    rows = torch.stack(
        [scale * angle.cos(), -scale * angle.sin(), shift[:, 0], scale * angle.sin(), scale * angle.cos(), shift[:, 1]],
        1,
    )
    grid = F.affine_grid(rows.view(n, 2, 3), [n, 1, SIZE, SIZE], align_corners=False)
    bend = F.interpolate(
        torch.randn(n, 2, 5, 5, generator=generator), size=(SIZE, SIZE), mode="bicubic", align_corners=True
    )
    return grid + 0.035 * strength * torch.rand(n, 1, 1, 1, generator=generator) * bend.permute(0, 2, 3, 1)


def melt_grid(n: int, generator: torch.Generator) -> torch.Tensor:
    """Sampling grids (n, 128, 128, 2) that bend an object past recognition: its colour stays, its shape does not."""
    still = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 1, SIZE, SIZE], align_corners=False)
    bend = F.interpolate(
        torch.randn(n, 2, 9, 9, generator=generator), size=(SIZE, SIZE), mode="bicubic", align_corners=True
    )
    return still + uniform(n, 0.16, 0.26, generator) * bend.permute(0, 2, 3, 1)
