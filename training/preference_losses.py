"""The losses of the trained baselines, as functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def dpo_loss(
    preferred: torch.Tensor, other: torch.Tensor, ref_preferred: torch.Tensor, ref_other: torch.Tensor, beta: float
) -> torch.Tensor:
    """-log sigmoid(-beta / 2 ((d_w - d_l) - (d_w^ref - d_l^ref))), each (B,).

    d are the denoising errors (mean squares) of the preferred and the other picture at the same noise, of the model and
    of the reference. Diffusion-DPO, Wallace et al., CVPR 2024, equation 14 with beta = T omega beta.
    """
    return -F.logsigmoid(-beta / 2 * ((preferred - other) - (ref_preferred - ref_other)))


def kto_loss(error: torch.Tensor, ref_error: torch.Tensor, liked: torch.Tensor, beta: float) -> torch.Tensor:
    """-sigmoid(s beta (g - KL)), each (B,): g = d^ref - d, s = 1 where `liked` (B,) bool, else -1.

    KL is the batch's mean of g, not below 0 and without a gradient. Diffusion-KTO, Li et al., NeurIPS 2024, with the
    sigmoid as its utility.
    """
    gain = ref_error - error
    baseline = gain.detach().mean().clamp_min(0)
    sign = torch.where(liked, 1.0, -1.0)
    return -torch.sigmoid(sign * beta * (gain - baseline))


def gaussian_log_probability(z: torch.Tensor, mean: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """log N(z; mean, sigma^2) without its constant, in the mean over a sample's elements: (B, ...) -> (B,)."""
    return (-((z - mean) ** 2) / (2 * sigma**2)).flatten(1).mean(1)


def spo_loss(
    best: torch.Tensor,
    worst: torch.Tensor,
    mean: torch.Tensor,
    ref_mean: torch.Tensor,
    sigma: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """-log sigmoid(beta (log p/p_ref of the best - log p/p_ref of the worst)), each (B,): two candidates z_{t-1} of one step.

    mean, ref_mean: what the model and the reference expect of the step, whose noise has the deviation sigma. SPO, Liang
    et al., CVPR 2025.
    """
    ratios = [
        gaussian_log_probability(z, mean, sigma) - gaussian_log_probability(z, ref_mean, sigma) for z in (best, worst)
    ]
    return -F.logsigmoid(beta * (ratios[0] - ratios[1]))


def terminal_step(steps: int, generator: torch.Generator) -> int:
    """AlignProp's K: the step before which nothing passes a gradient, N(42, 5) of 50, in 0..steps - 1."""
    drawn = torch.normal(42.0, 5.0, (1,), generator=generator).item() / 50 * steps
    return min(max(round(drawn), 0), steps - 1)
