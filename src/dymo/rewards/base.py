"""The contract of a reward: a differentiable score of pictures for their prompts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Reward(Protocol):
    """What guides, or measures. Higher is better."""

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
