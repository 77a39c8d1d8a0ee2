"""Rewards: what people like, as a differentiable score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from ..errors import RewardError, did_you_mean
from ..miniature import WEIGHTS
from .base import FunctionReward, Reward, is_differentiable, scale_of
from .blackbox import BlackBoxReward
from .combine import CombinedReward, Conflicts
from .registry import SPECS, Spec

RewardLike: TypeAlias = "str | Path | Reward | Callable[..., Any] | Mapping[Any, float]"


_REMEDY = (
    f"choose {', '.join(map(repr, SPECS))}, give the folder of a CLIPModel, or a function f(images, prompts) -> scores"
)


_WITHOUT_HUB = "Without the hub, reward='mini-pickscore' is in the package; it is trained on the miniature's pictures"


def load_reward(
    spec: RewardLike,
    source: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    checkpointing: bool = False,
    conflicts: Conflicts = "sum",
) -> Reward:
    """A reward by name (`SPECS`), by path (the folder of a CLIPModel), a `Reward`, a function, or a table of weights.

    source: another hub id, folder or weight file in the place of the name's own. dtype: of the weights; None leaves what
    the file has. checkpointing: less memory in the towers' backward for a second forward. A table {name: weight, ...}
    gives the sum of the rewards, each in units of its own scale; conflicts: "project" keeps their gradients from working
    against each other (`CombinedReward`). Raises RewardError on an unknown name or files that do not fit.
    """
    if isinstance(spec, Mapping):
        if source is not None:
            raise RewardError(f"source={str(source)!r} cannot serve {len(spec)} rewards: load each with its own source")
        parts = [(load_reward(k, None, device, dtype, checkpointing=checkpointing), w) for k, w in spec.items()]
        return CombinedReward(parts, conflicts)
    if isinstance(spec, type):
        raise RewardError(f"{spec.__name__} is a class: give one of its objects, as {spec.__name__}(...)")
    if isinstance(spec, Reward):
        return spec.to(device)
    if callable(spec):
        return FunctionReward(spec)
    if not isinstance(spec, (str, Path)):
        several = isinstance(spec, (list, tuple, set))
        remedy = "several rewards are a dictionary, as {'pickscore': 1.0, 'hpsv2.1': 0.5}" if several else _REMEDY
        raise RewardError(f"{spec!r:.80} is no reward: {remedy}")
    name = str(spec)
    settings = {"checkpointing": checkpointing} if checkpointing else {}
    if name in SPECS:
        known = SPECS[name]
        try:
            return known.load(known, source or known.source or WEIGHTS / name, dtype, settings).to(device)
        except RewardError as error:
            if source is None and known.source and isinstance(error.__cause__, OSError):
                raise RewardError(f"{error}. {_WITHOUT_HUB}") from error
            raise
    if Path(name).is_dir():
        from .clip import load_clip

        return load_clip(name, Path(name).name, None, dtype, **settings).to(device)
    raise RewardError(f"unknown reward {name!r}{did_you_mean(name, SPECS)}: {_REMEDY}")


__all__ = [
    "SPECS", "BlackBoxReward", "CombinedReward", "FunctionReward", "Reward", "RewardLike", "Spec", "is_differentiable",
    "load_reward", "scale_of",
]  # fmt: skip
