"""Best-of-N: the best of N seeds by the reward. Any scorer will do, and the budget sets N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..errors import ConfigError
from ..parts import Argument, OfMethod, Set
from ..pipelines.schedulers import draws_noise
from .contract import Result
from .run import Run


def keep_best(best: Tensor, best_scores: Tensor, images: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Image by image the better of two: images (B, ...), scores (B,); the first where they are equal."""
    better = scores > best_scores
    shape = (-1, *[1] * (images.ndim - 1))
    return images.where(better.view(shape), best), scores.where(better, best_scores)


@dataclass(frozen=True)
class BestOfN:
    """n: seeds an image, the first of them the user's own; None takes what the budget affords, at least one.

    Raises ConfigError without n and without a budget.
    """

    needs_reward: ClassVar[bool] = True
    n: int | None = None

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise ConfigError(OfMethod("n", self.n), ": give a whole number from 1 on")

    def run(self, pipe, prompts, reward, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        with Run(pipe, prompts, reward, budget, generator, pipeline_kwargs) as run:
            run.need_reward()
            if self.n is None and run.budget.evaluations is None and run.budget.seconds is None:
                raise ConfigError("best-of-n without n and without a budget has no end: give ", OfMethod("n", 8), ", or a Budget")
            if self.n != 1 and run.kwargs.get("latents") is not None and not draws_noise(pipe.scheduler, run.kwargs):
                raise ConfigError(
                    Argument("latents"),
                    f" says where the image begins, and {type(pipe.scheduler).__name__} draws no noise, so that all seeds would be one image: "
                    "leave out ", Argument("latents"), ", or ", Set(OfMethod("n", 1)),
                )
            best = run.generate()
            if self.n == 1 or not run.affords():
                return run.result(best)
            scores = run.score(best)
            done = 1
            while (self.n is None or done < self.n) and run.affords():
                # One at a time, so that a later seed does not depend on how many there are.
                images = run.generate(generator=run.others(done)[-1])
                best, scores = keep_best(best, scores, images, run.score(images))
                done += 1
            run.trace.config = {"n": done}
            return run.result(best)
