"""What a reward makes of a prompt, made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST = 4096
"""Prompts that are kept; the oldest goes first."""


class PromptCache:
    """Features of prompts under a frozen text encoder: `encode` maps n prompts to n tensors of one shape, once each."""

    def __init__(self, encode: Callable[[list[str]], Sequence[Tensor]]):
        self._encode = encode
        self._kept: dict[str, Tensor] = {}

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """(B, ...) for B prompts, without a gradient."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._kept]
        if new:
            with torch.no_grad():
                self._kept.update(zip(new, self._encode(new), strict=True))
        found = torch.stack([self._kept[prompt] for prompt in prompts])
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return found

    def to(self, device: torch.device | str) -> None:
        self._kept = {prompt: features.to(device) for prompt, features in self._kept.items()}
