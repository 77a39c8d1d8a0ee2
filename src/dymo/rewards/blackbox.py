"""A scorer that is not differentiable: any Python callable on PIL images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from ..errors import RewardError
from ..pixels import to_pil
from .base import can_take, check_images, signature_of

Scorer = Callable[[list[Image.Image], list[str]], Sequence[float]]


class BlackBoxReward:
    """A reward by any function of images and prompts, without a gradient: `scorer(images, prompts) -> one number an image`, higher is better.

    It can measure (`dymo score`), be watched (`DyMO(..., watch=[...])`) and choose among images; it cannot guide.
    scale: points of score that one unit is worth where it is compared with other rewards. Raises RewardError where the
    scorer does not take two arguments.
    """

    resolution: int | None = None
    reads_timestep = False
    cosine_scale: float | None = None
    differentiable = False

    def __init__(self, scorer: Scorer, name: str | None = None, scale: float = 1.0):
        self.scorer, self.scale = scorer, scale
        self.name = name or str(getattr(scorer, "__name__", type(scorer).__name__))
        if not can_take(signature := signature_of(scorer), None, None):
            raise RewardError(
                f"the scorer {self.name}{signature} cannot be called with 2 arguments: it takes (images, prompts), a list of "
                "PIL images and one of their prompts, and returns one number an image"
            )

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1], given to the scorer as 8-bit RGB -> (B,). Raises RewardError on a wrong return."""
        check_images(self.name, images, prompts)
        returned = self.scorer(to_pil(images), list(prompts))
        must = f"for {len(prompts)} images: it must return one number an image, as [0.5, ...]"
        try:
            found = torch.as_tensor(returned, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RewardError(f"{self.name} returned {returned!r:.60} ({type(returned).__name__}) {must}") from error
        if found.shape != (len(prompts),):
            raise RewardError(f"{self.name} returned the shape {tuple(found.shape)} {must}")
        return found.to(images.device)

    def to(self, device: torch.device | str) -> BlackBoxReward:
        """Nothing is moved: the scorer is given PIL images. Returns self."""
        return self
