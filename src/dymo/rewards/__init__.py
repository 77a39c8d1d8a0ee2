"""Rewards: what people like, as a differentiable score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import RewardError
from .base import FunctionReward, Reward

PICKSCORE = "yuvalkirstain/PickScore_v1"
PICKSCORE_TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def load_reward(
    spec: str | Path | Reward | Callable[..., Any],
    source: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Reward:
    """A reward by name ("pickscore", "mini-pickscore", "mini-hps"), by path (a CLIPModel folder), or a callable.

    `source` puts another hub id or local folder in the place of the name's own. Raises RewardError on an unknown name
    or files that do not fit.
    """
    if isinstance(spec, Reward):
        return spec.to(device)
    if callable(spec):
        return FunctionReward(spec)
    name = str(spec)
    if name in ("mini-pickscore", "mini-hps"):
        from ..miniature import load_scorer

        return load_scorer(name).to(device)
    from .clip import load_clip

    if name == "pickscore":
        origin = source or PICKSCORE
        # The tokenizer lies beside the weights in some copies, not in the hub's own.
        beside = Path(origin) / "tokenizer_config.json"
        return load_clip(origin, name, None if beside.is_file() else PICKSCORE_TOKENIZER, dtype).to(device)
    if Path(name).is_dir():
        return load_clip(name, Path(name).name, None, dtype).to(device)
    raise RewardError(
        f"unknown reward {name!r}: choose 'pickscore', 'mini-pickscore', 'mini-hps', give the folder of a CLIPModel, "
        "or a function f(images, prompts) -> scores"
    )


__all__ = ["FunctionReward", "Reward", "load_reward"]
