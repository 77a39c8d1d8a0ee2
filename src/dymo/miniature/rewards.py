"""The miniature's judge and its second preference model, as rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..rewards.preprocess import resized
from ..rewards.registry import Spec
from ..rewards.tower import TowerReward
from .judge import Judge, satisfied
from .preference import ConvPreference
from .world import read_caption

PIXELS = 128
"""The side of the miniature's images."""


class JudgeReward(TowerReward):
    """1 where an image shows all that its caption says (things, colours, counts, places), else 0. It cannot guide."""

    differentiable = False
    model: Judge

    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        """Raises RewardError on a prompt in other words (`read_caption`)."""
        captions = [read_caption(prompt) for prompt in prompts]
        images = resized(images, (PIXELS, PIXELS), "bilinear")
        verdicts = [satisfied(c, seen) for c, seen in zip(captions, self.model.read(images), strict=True)]
        return images.new_tensor([v.correct for v in verdicts])


def load_judge(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **_: Any) -> JudgeReward:
    """The judge of a folder. Raises RewardError."""
    return JudgeReward(Judge.from_pretrained(source).to(dtype), spec.name, PIXELS, (), **spec.of_scores)


def load_conv(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **_: Any) -> ConvPreference:
    """The second preference model of a folder. Raises RewardError."""
    return ConvPreference.from_pretrained(source, dtype)  # too small for checkpointing to matter
