"""The contract of a reward: a differentiable score of pictures for their prompts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import RewardError


@runtime_checkable
class Reward(Protocol):
    """What guides, or measures. Higher is better.

    Two more attributes are read where a reward has them: `scale`, the points of score that one unit is worth in a sum
    of rewards (about the spread among pictures of one prompt; 1 if it says nothing), and `differentiable` (True).
    """

    name: str
    resolution: int | None
    """Side in pixels that the pictures are brought to inside `score`; None where it takes any."""
    reads_timestep: bool
    cosine_scale: float | None
    """Points of score that one unit of a cosine is worth; None for a score that is no cosine."""

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1], one prompt each, t in 0..1000 or None for a clean picture -> (B,)."""
        ...

    def to(self, device: torch.device | str) -> Any: ...


class FunctionReward:
    """A plain function `f(images, prompts)` or `f(images, prompts, timestep)` as a reward."""

    resolution: int | None = None
    cosine_scale: float | None = None
    scale = 1.0
    differentiable = True

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        try:
            parameters = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            parameters = []
        self.reads_timestep = "timestep" in parameters or len(parameters) >= 3

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        return (
            self.function(images, list(prompts), timestep)
            if self.reads_timestep
            else self.function(images, list(prompts))
        )

    def to(self, device: torch.device | str) -> FunctionReward:
        return self


def scale_of(reward: Reward) -> float:
    """Points of score that one unit of a sum is worth, as the reward declares it; 1 where it does not."""
    return float(getattr(reward, "scale", 1.0))


def is_differentiable(reward: Reward) -> bool:
    """Whether a gradient can be taken through `score`, as the reward declares it."""
    return bool(getattr(reward, "differentiable", True))


def check_pairs(name: str, images: Tensor, prompts: Sequence[str]) -> None:
    """Raises RewardError where there is not one prompt a picture."""
    if len(prompts) != images.shape[0]:
        raise RewardError(f"{name}: {images.shape[0]} pictures with {len(prompts)} prompts; give one each")


def full_precision(x: Tensor) -> Tensor:
    """Half precision to float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
