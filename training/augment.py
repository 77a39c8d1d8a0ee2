"""What makes a clean scene look like a generated one: for readers of pictures that must not be thrown by a generator's faults.

Every function takes and gives pictures (B, 3, 64, 64) in [0, 1] and draws from the generator it is given.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

from .stack import PATCH, PatchPCA


def to_pictures(stored: torch.Tensor) -> torch.Tensor:
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
    space: PatchPCA, pictures: torch.Tensor, generator: torch.Generator, strength: float = 0.5
) -> torch.Tensor:
    """Through the linear latent space and back, with up to `strength` of noise on the latents: what the denoiser works in."""
    z = space.encode(pictures.permute(0, 2, 3, 1) * 255)
    grain = 1 if torch.rand((), generator=generator) < 0.5 else 4
    z = z + uniform(len(z), 0, strength, generator) * noise(z, grain, generator)
    patches = (rearrange(z, "n c h w -> n h w c") * space.scale) @ space.basis.T + space.mean
    back = rearrange(patches, "n h w (p q c) -> n c (h p) (w q)", p=PATCH, q=PATCH)
    return (back + 1) / 2


def blur(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A Gaussian blur of deviation 0.5 to 2 pixels, one for the batch."""
    sigma = 0.5 + 1.5 * torch.rand((), generator=generator)
    kernel = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma).square())
    kernel = (kernel / kernel.sum()).view(1, 1, 9, 1).expand(3, 1, 9, 1)
    soft = F.conv2d(F.pad(pictures, (0, 0, 4, 4), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(soft, (4, 4, 0, 0), mode="replicate"), kernel.transpose(2, 3), groups=3)


def appearance(
    pictures: torch.Tensor, space: PatchPCA, generator: torch.Generator, strength: float = 1.0
) -> torch.Tensor:
    """Tint, latent round trip, blur and noise, each on a part of the batch. Colours stay nameable: the tint is small."""
    n = len(pictures)
    gains = 1 + 0.06 * strength * torch.randn(n, 3, 1, 1, generator=generator)
    contrast, shift = (
        uniform(n, 1 - 0.2 * strength, 1 + 0.1 * strength, generator),
        0.05 * strength * torch.randn(n, 1, 1, 1, generator=generator),
    )
    pictures = ((pictures * gains - 0.5) * contrast + 0.5 + shift).clamp(0, 1)
    through = chosen(n, 0.5, generator)
    pictures = torch.lerp(pictures, round_trip(space, pictures, generator, 0.6 * strength), through)
    pictures = torch.lerp(pictures, blur(pictures, generator), chosen(n, 0.2 * strength, generator))
    grain = (1, 2, 4, 8)[int(torch.randint(0, 4, (), generator=generator))]
    level = chosen(n, 0.4, generator) * uniform(n, 0, 0.1 * strength, generator)
    return (pictures + level * noise(pictures, grain, generator)).clamp(0, 1)


def warp_grid(n: int, generator: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Sampling grids (n, 64, 64, 2): a small affine map and a smooth displacement of up to some pixels."""
    angle, scale = (
        0.12 * strength * torch.randn(n, generator=generator),
        1 + 0.1 * strength * torch.randn(n, generator=generator),
    )
    shift = 0.08 * strength * torch.randn(n, 2, generator=generator)
    rows = torch.stack(
        [scale * angle.cos(), -scale * angle.sin(), shift[:, 0], scale * angle.sin(), scale * angle.cos(), shift[:, 1]],
        1,
    )
    grid = F.affine_grid(rows.view(n, 2, 3), [n, 1, 64, 64], align_corners=False)
    bend = F.interpolate(
        torch.randn(n, 2, 5, 5, generator=generator), size=(64, 64), mode="bicubic", align_corners=True
    )
    return grid + 0.035 * strength * torch.rand(n, 1, 1, 1, generator=generator) * bend.permute(0, 2, 3, 1)


def melt_grid(n: int, generator: torch.Generator) -> torch.Tensor:
    """Sampling grids (n, 64, 64, 2) that bend an object past recognition: its colour stays, its shape does not."""
    still = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 1, 64, 64], align_corners=False)
    bend = F.interpolate(
        torch.randn(n, 2, 9, 9, generator=generator), size=(64, 64), mode="bicubic", align_corners=True
    )
    return still + uniform(n, 0.16, 0.26, generator) * bend.permute(0, 2, 3, 1)
