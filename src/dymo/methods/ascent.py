"""What DNO, ReNO and embedding optimisation share: gradient ascent of the picture's reward on what goes into a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..guidance.guide import HALF_PRECISION_SCALE
from ..guidance.step import failures, norms
from .base import Run
from .best_of_n import keep_best

Keep = Literal["best", "last"]


class Leaves(Protocol):
    """Hooks of a run with the tensors they put in: after the first painting `leaves` holds them, (n, ...) each."""

    leaves: list[Tensor]

    def penalty(self) -> Tensor:
        """What is added to -reward, (n,)."""
        ...


def clip_each(gradients: Sequence[Tensor], longest: float) -> list[Tensor]:
    """Gradients of several tensors (n, ...) scaled so that each sample's joint norm is at most `longest`.

    A sample whose gradient is not finite gets none.
    """
    joint = torch.cat([g.float().flatten(1) for g in gradients], 1)
    usable = torch.tensor([why not in ("nan", "infinite") for why in failures(joint)], device=joint.device)
    factor = (longest / norms(joint).clamp_min(1e-30)).clamp_max(1.0)
    return [
        torch.where(usable.view(-1, *[1] * (g.ndim - 1)), g * factor.view(-1, *[1] * (g.ndim - 1)), 0.0)
        for g in gradients
    ]


def ascend(
    run: Run, hooks: Leaves, optimiser: Callable[[list[Tensor]], torch.optim.Optimizer], iterations: int, clip: float,
    keep: Keep,
) -> Tensor:  # fmt: skip
    """Raise reward - penalty for `iterations` updates, or as many as the budget affords -> pictures (n, 3, H, W).

    keep: the pictures with the highest reward seen, each by itself, or the last. The last painting, which no update
    follows, is made without a graph.
    """
    run.need_gradient()
    best = scores = steps = None
    scale = HALF_PRECISION_SCALE if run.pipe.dtype == torch.float16 else 1.0
    for i in range(iterations + 1):
        if i and not run.affords():
            break
        last = i == iterations or not run.affords(2)
        images = run.paint(hooks, gradient=not last)  # type: ignore[arg-type]
        if last and keep == "last":
            return images
        with torch.set_grad_enabled(not last):
            found = run.score(images)
        if best is None or keep == "last":
            best, scores = images.detach(), found.detach()
        else:
            best, scores = keep_best(best, scores, images.detach(), found.detach())
        if last:
            break
        with torch.enable_grad():
            loss = (hooks.penalty() - found).sum() * scale
            gradients = torch.autograd.grad(loss, hooks.leaves, allow_unused=True)
        steps = steps or optimiser(hooks.leaves)
        given = [torch.zeros_like(x) if g is None else g / scale for x, g in zip(hooks.leaves, gradients, strict=True)]
        for leaf, gradient in zip(hooks.leaves, clip_each(given, clip), strict=True):
            leaf.grad = gradient
        steps.step()
        run.trace.config["updates"] = i + 1
    assert best is not None
    return best
