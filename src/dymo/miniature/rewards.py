"""The miniature's rewards and its judge, registered under their names as any package's are (`dymo.plugins`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import RewardError
from ..rewards.base import Reward
from ..rewards.registry import Loader, Spec, lazily
from ..rewards.tower import TowerReward
from . import WEIGHTS
from .judge import Judge, satisfied
from .world import COLOURS, NOUNS, RELATIONS, Caption, Thing

_THING = re.compile(rf"an? ({'|'.join(COLOURS)}) ({'|'.join(NOUNS)})")


def caption_of(prompt: str) -> Caption:
    """The truth of a prompt in the miniature's words. Raises RewardError for any other, which the judge cannot read."""
    relation = next((r for r in (*RELATIONS, "and") if f" {r} " in prompt), "and")
    parts = prompt.split(f" {relation} ")
    things = [_THING.fullmatch(part.strip()) for part in parts]
    if len(parts) > 2 or not all(things):
        raise RewardError(
            f"the judge cannot read {prompt!r}: it knows captions as 'a red apple to the left of a green car', of the "
            f"colours {', '.join(COLOURS)} and the things {', '.join(NOUNS)}"
        )
    return Caption(tuple(Thing(noun=m[2], colour=m[1]) for m in things if m), relation)


class JudgeReward(TowerReward):
    """1 where an image shows every thing of its caption, in its colour and in its place, else 0. It cannot guide."""

    differentiable = False
    model: Judge

    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        """Raises RewardError on a prompt in other words (`caption_of`)."""
        captions = [caption_of(prompt) for prompt in prompts]
        if images.shape[-2:] != (64, 64):
            images = F.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
        verdicts = [satisfied(c, seen) for c, seen in zip(captions, self.model.read(images), strict=True)]
        return images.new_tensor([v.correct and v.relation is not False for v in verdicts])


def _judge(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **_: Any) -> JudgeReward:
    return JudgeReward(Judge.from_pretrained(source).to(dtype), spec.name, 64, (), scale=spec.scale)


def _conv(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **_: Any) -> Reward:
    from .preference import ConvPreference

    return ConvPreference.from_pretrained(source, dtype)  # too small for checkpointing to matter


def _ours(loader: Loader) -> Loader:
    """The loader, on the weights in this package where no others are given."""

    def load(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> Reward:
        return loader(spec, source or WEIGHTS / spec.name, dtype, **settings)

    return load


_ALL = (
    Spec("mini-pickscore", _ours(lazily("clip", "load_clip")), "the miniature's preference, CLIP's architecture",
         (5, 15), "Apache-2.0", 1.1, 0.8),
    Spec("mini-hps", _ours(_conv), "the miniature's preference, another architecture and data", (-8, 4), "Apache-2.0",
         0.5, 1.6, about="kept from guiding in the benchmarks"),
    Spec("mini-imagereward", _ours(lazily("image_reward", "load_image_reward")),
         "the miniature's ranking, ImageReward's architecture", (-1, 0.8), "Apache-2.0", 1.7, 0.25),
    Spec("mini-aesthetic", _ours(lazily("aesthetic", "load_aesthetic")),
         "how little an image is spoilt, whatever the prompt", (-0.3, 1.1), "Apache-2.0", 0.7, 0.25,
         guides="with another"),
    Spec("mini-step-aware", _ours(lazily("step_aware", "load_step_aware")),
         "mini-pickscore's preference on noisy one-step predictions", (5, 15), "Apache-2.0", 1.6, 0.8,
         reads_timestep=True),
    Spec("judge", _ours(_judge), "whether the miniature's image shows all things, in their colours and places", (0, 1),
         "Apache-2.0", 0.3, 0.5, guides="measure only", about="reads the miniature's own captions alone"),
)  # fmt: skip

PLUGINS = {spec.name: spec for spec in _ALL}
