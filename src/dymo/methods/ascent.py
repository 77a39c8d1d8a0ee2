"""What DNO, ReNO and embedding optimisation share: gradient ascent of the image's reward on what goes into a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..guidance.loop import Loop
from ..guidance.step import finite, norms, per_sample
from ..pipelines.decode import power_of_two
from .best_of_n import keep_best
from .run import Run
from .unguided import unguided

Keep = Literal["best", "last"]


class Leaves:
    """The tensors that a run is optimised over: after the first trajectory `leaves` holds them, (n, ...) each."""

    leaves: list[Tensor]

    def start(self, noise: Tensor) -> Tensor:
        """The initial noise (n, c, h, w), standard normal -> what to start from."""
        return noise

    def words(self, kind: int, embeddings: Tensor) -> Tensor:
        """The conditional token embeddings of one kind (n, ..., tokens, d), as of one text encoder -> what to condition on."""
        return embeddings

    def steps(self, loop: Loop) -> None:
        """Run the loop."""
        unguided(loop)

    def penalty(self) -> Tensor:
        """What is added to -reward, (n,)."""
        raise TypeError(f"{type(self).__name__} has no penalty")


def clip_each(gradients: Sequence[Tensor], longest: float) -> list[Tensor]:
    """Gradients of several tensors (n, ...) scaled so that each sample's joint norm is at most `longest`.

    A sample whose gradient is not finite gets none.
    """
    joint = torch.cat([g.float().flatten(1) for g in gradients], 1)
    usable = finite(joint)
    factor = (longest / norms(joint).clamp_min(1e-30)).clamp_max(1.0)
    return [
        torch.where(per_sample(usable, g), g * per_sample(factor, g), 0.0)
        for g in gradients
    ]


def ascend(
    run: Run, over: Leaves, optimiser: Callable[[list[Tensor]], torch.optim.Optimizer], iterations: int, clip: float, keep: Keep
) -> Tensor:
    """Raise reward - penalty for `iterations` updates, or as many as the budget affords -> images (n, 3, H, W).

    keep: the images with the highest reward seen, each by itself, or the last. The last trajectory, which no update
    follows, is run without a graph.
    """
    run.need_gradient()
    best = scores = steps = None
    # Not every pipeline lets its words be changed, nor begins at noise.
    words = None if type(over).words is Leaves.words else over.words
    start = None if type(over).start is Leaves.start else over.start
    for i in range(iterations + 1):
        if i and not run.affords():
            break
        last = i == iterations or not run.affords(2)
        images = run.generate(over.steps, start=start, words=words, whole=not last)
        if last and keep == "last":
            return images
        with torch.set_grad_enabled(not last):
            found = run.score(images)
        if best is None or keep == "last":
            best, scores = images.detach(), found.detach()
        else:
            assert scores is not None
            best, scores = keep_best(best, scores, images.detach(), found.detach())
        if last:
            break
        with torch.enable_grad():
            loss = over.penalty() - found
            (pixels,) = torch.autograd.grad(found.sum(), images, retain_graph=True)
            # Half precision holds gradients of size 1: the reward's go through the trajectory at that size.
            size = power_of_two(pixels).flatten() if run.pipe.dtype == torch.float16 else torch.ones_like(loss)
            gradients = torch.autograd.grad((loss / size).sum(), over.leaves, allow_unused=True)
        steps = steps or optimiser(over.leaves)
        given = [
            torch.zeros_like(x) if g is None else g * per_sample(size, g)
            for x, g in zip(over.leaves, gradients, strict=True)
        ]
        for leaf, gradient in zip(over.leaves, clip_each(given, clip), strict=True):
            leaf.grad = gradient
        steps.step()
        run.trace.config["updates"] = i + 1
    assert best is not None
    return best
