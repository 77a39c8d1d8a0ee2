"""Gradients of several objectives at once, freed of what works against each other."""

from __future__ import annotations

import torch
from torch import Tensor


def without_conflict(gradients: Tensor) -> Tensor:
    """The sum of K gradients, each first freed of its components against the others. (K, B, ...) -> (B, ...).

    For every k, in turn over j != k: where <g_k, g_j> < 0, g_k loses <g_k, g_j> / ||g_j||^2 g_j, with g_j as it came in.
    Per sample. PCGrad (Yu et al., NeurIPS 2020), algorithm 1, in the order given instead of a random one.
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
