"""The gradient of weighted losses, and gradients of several rewards freed of what works against each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .loop import Seen


def gradient(losses: Sequence[Tensor], seen: Seen) -> Tensor:
    """g_t = d (sum of the losses) / d z_t, (B, ...).

    losses: (B,) each, weights and all; one of (K, B) are parts whose gradients are freed of their conflicts.
    """
    joint = [loss if loss.ndim == 1 else loss[0] for loss in losses if loss.ndim == 1 or len(loss) == 1]
    parts = [part for loss in losses if loss.ndim == 2 and len(loss) > 1 for part in loss]
    pulled = [seen.pull(joint[0] if len(joint) == 1 else torch.stack(joint).sum(0), bool(parts))] if joint else []
    if parts:
        pulled.append(without_conflict(torch.stack([seen.pull(p, i < len(parts) - 1) for i, p in enumerate(parts)])))
    return torch.stack(pulled).sum(0) if len(pulled) > 1 else pulled[0] if pulled else torch.zeros_like(seen.eps)


def without_conflict(gradients: Tensor) -> Tensor:
    """The sum of K gradients, each first freed of its components against the others. (K, B, ...) -> (B, ...).

    For every k, in turn over j != k: where <g_k, g_j> < 0, g_k loses <g_k, g_j> / ||g_j||^2 g_j, with g_j as it came in.
    Per sample. PCGrad (arXiv 2001.06782), algorithm 1, in the order given instead of a random one.
    """
    flat = gradients.float().flatten(2)
    total = torch.zeros_like(flat[0])
    for k, own in enumerate(flat):
        for j, other in enumerate(flat):
            if j != k:
                against = (own * other).sum(-1).clamp_max(0) / other.square().sum(-1).clamp_min(1e-30)
                own = own - against[:, None] * other
        total = total + own
    return total.view(gradients.shape[1:]).to(gradients.dtype)
