"""How far to move: the length of the displacement along the unit gradient, per sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def norms(x: Tensor) -> Tensor:
    """||x|| of each sample in float32: (B, ...) -> (B,)."""
    return x.float().flatten(1).norm(dim=1)


def polyak_length(eta: float, noise: Tensor, gradient_norm: Tensor) -> Tensor:
    """eta ||eps|| / ||g||, so that length x g / ||g|| is the step eta ||eps|| / ||g||^2 g of equation 7. (B,)."""
    return eta * norms(noise) / gradient_norm


def residual_length(eta: float, residual: Tensor) -> Tensor:
    """eta ||eps_cond - eps_uncond||, the reference's rule. (B,)."""
    return eta * norms(residual)


def damped(length: Tensor, gradient_norm: Tensor, damping: float) -> Tensor:
    """The length where the gradient is large against `damping`, and towards nothing where it vanishes. (B,).

    Both rules divide by the gradient, so they would turn the last rest of it, which is noise once an objective is met,
    into a full step. The factor ||g||^2 / (||g||^2 + damping^2) is Levenberg's, on 1 / ||g||^2.
    """
    return length * gradient_norm**2 / (gradient_norm**2 + damping**2).clamp_min(1e-30)


def failures(gradient: Tensor) -> list[str | None]:
    """Why a sample's gradient (B, ...) cannot be used: "nan", "infinite", "zero", or None where it can."""
    flat = gradient.flatten(1)
    nan, infinite, zero = flat.isnan().any(1), flat.isinf().any(1), (flat == 0).all(1)
    return [
        "nan" if n else "infinite" if i else "zero" if z else None
        for n, i, z in zip(nan.tolist(), infinite.tolist(), zero.tolist(), strict=True)
    ]


@dataclass
class Move:
    """The displacement of z_{t-1} (B, ...), zero where the gradient failed, and its length (B,)."""

    displacement: Tensor
    length: Tensor


def move(gradient: Tensor, length: Tensor, longest: Tensor, usable: Tensor) -> Move:
    """`length` (B,), at most `longest` (B,), along -g / ||g||; nothing where `usable` (B,) bool is False."""
    shape = (-1, *[1] * (gradient.ndim - 1))
    length = torch.where(usable, torch.minimum(length, longest), 0.0)
    unit = torch.where(usable.view(shape), gradient.float() / norms(gradient).clamp_min(1e-30).view(shape), 0.0)
    return Move(-length.view(shape) * unit, length)
