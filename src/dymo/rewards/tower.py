"""What rewards that are a frozen network share: its device and precision, its memory, and prompts encoded once."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .base import check_images, full_precision
from .joined import joined

MOST = 4096  # prompts whose features are kept; the oldest goes first


class TowerReward(ABC):
    """A reward that is a network, frozen here, differentiable from the images on. A subclass adds `_score`.

    layers: those that `checkpointing` lets keep only their input for the backward, for a second forward.
    """

    reads_timestep = False
    differentiable = True
    cosine_scale: float | None = None

    def __init__(
        self, model: nn.Module, name: str, resolution: int | None, layers: Iterable[nn.Module], *, scale: float = 1.0,
        typical: float | None = None, checkpointing: bool = False,
    ):  # fmt: skip
        self.model = model.eval().requires_grad_(False)
        self.name, self.scale, self.typical = name, scale, typical
        self.resolution = resolution
        self._joins = not checkpointing
        self.layers = list(layers)
        # transformers' own switch acts in training mode alone; a frozen reward is never in it.
        for layer in self.layers if checkpointing else ():
            layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights, in which images are scored."""
        return next(self.model.parameters()).dtype

    def to(self, device: torch.device | str) -> TowerReward:
        """Move the model; returns self."""
        self.model.to(device)
        return self

    def at_work(self, compiled: bool = False) -> AbstractContextManager[None]:
        """For one run, when the model is where it is to be: fewer operations, for a copy of some of its weights.

        compiled: the layers are compiled, and stay as they are.
        """
        return joined(self.model, attention=self._joins and not compiled)

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1], one prompt each -> (B,). Raises RewardError on anything else."""
        check_images(self.name, images, prompts)
        return full_precision(self._score(full_precision(images), prompts, timestep))

    @abstractmethod
    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        """The scores (B,) of images in full precision."""


class PromptTowerReward(TowerReward):
    """One whose reading of a prompt does not depend on the image, and is kept. A subclass adds `_encode`."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._kept: dict[str, Tensor] = {}

    def to(self, device: torch.device | str) -> PromptTowerReward:
        """Move the model and what is kept; returns self."""
        self._kept = {prompt: features.to(device) for prompt, features in self._kept.items()}
        super().to(device)
        return self

    def _prompts(self, prompts: Sequence[str]) -> Tensor:
        """What `_encode` makes of B prompts, once of each: (B, ...), without a gradient."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._kept]
        if new:
            with torch.no_grad():
                self._kept.update(zip(new, self._encode(new), strict=True))
        found = torch.stack([self._kept[prompt] for prompt in prompts])
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return found

    @abstractmethod
    def _encode(self, prompts: list[str]) -> Sequence[Tensor]:
        """What is kept of n prompts, one tensor each."""
