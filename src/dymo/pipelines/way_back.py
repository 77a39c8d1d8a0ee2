"""From a loss of what an evaluation gave back to z_t, in any precision of the denoiser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..guidance.loop import Rows, pick
from .decode import power_of_two
from .latents import Latents


class WayBack:
    """A `dymo.guidance.loop.Pull` to z_t of the samples `rows`, (n, c, h, w).

    sample: z_t of all samples, as the pipeline has it. ran: the samples that the denoiser ran. joined: its graph goes on in what is made of
    its output; else the float32 quantities are leaves of their own, so that the way through the denoiser is one pull at size 1, which half
    precision holds. count: called where the denoiser is passed.
    """

    def __init__(self, latents: Latents, sample: Tensor, rows: Rows, ran: Rows, joined: bool, count: Callable[[], None]):
        self._latents, self._sample, self._rows, self._joined, self._count = latents, sample, rows, joined, count
        self._ran, self.among = len(ran), [ran.index(i) for i in rows]
        """among: where the rows are among those that ran."""
        self._inner: list[tuple[Tensor, Tensor]] = []
        """Of the denoiser's graph, and its float32 leaf."""
        z = latents.spatial(pick(sample, rows))
        self.z = (z if joined else z.detach().float().requires_grad_()).float()

    def leaf(self, x: Tensor) -> Tensor:
        """What the denoiser gave, in float32, for a loss to be made of."""
        if self._joined:
            return x.float()
        found = x.detach().float()
        if x.requires_grad:
            self._inner.append((x, found.requires_grad_()))
        return found

    def __call__(self, loss: Tensor, keep: bool = False, /) -> Tensor:
        sample, rows = self._sample, self._rows
        if not loss.requires_grad:
            return torch.zeros_like(self._latents.spatial(pick(sample, rows)), dtype=torch.float32)
        if self._joined:
            (found,) = torch.autograd.grad(loss.sum(), sample, retain_graph=keep)
            self._count()
            return self._latents.spatial(pick(found, rows))
        leaves = [self.z, *(found for _, found in self._inner)]
        direct, *onward = torch.autograd.grad(loss.sum(), leaves, retain_graph=keep, allow_unused=True)
        total = torch.zeros_like(self.z) if direct is None else direct
        pairs = [(x, g) for (x, _), g in zip(self._inner, onward, strict=True) if g is not None]
        if not pairs:
            return total
        # With maps of all rows a gradient has several rows a sample.
        each = [g.unflatten(0, (-1, self._ran)) for _, g in pairs]
        sizes = [power_of_two(g.transpose(0, 1)).flatten() for g in each]
        size = torch.stack(sizes).amax(0) if len(sizes) > 1 else sizes[0]
        seeds = [
            torch.div(g, size.view(1, -1, *[1] * (g.ndim - 2)), out=torch.empty_like(g, dtype=x.dtype)).flatten(0, 1)
            for (x, _), g in zip(pairs, each, strict=True)
        ]
        (found,) = torch.autograd.grad([x for x, _ in pairs], sample, seeds, retain_graph=keep)
        self._count()
        return total + self._latents.spatial(pick(found, rows)).float() * pick(size, self.among).view(-1, 1, 1, 1)
