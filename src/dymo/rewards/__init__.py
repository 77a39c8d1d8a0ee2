"""Rewards: what people like, as a differentiable score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import RewardError
from ..parts import OfReward
from .registry import SPECS, Spec, ready, spec_of

if TYPE_CHECKING:
    import torch

    from .base import FunctionReward, Reward, is_differentiable, layers_of, placed, prompt_readers, scale_of
    from .blackbox import BlackBoxReward
    from .combine import CombinedReward, Conflicts

RewardLike: TypeAlias = "str | Path | Spec | Reward | Callable[..., Any] | Mapping[Any, float]"

# Looked up when first asked for: torch takes seconds to import, and which rewards have a name is known without it.
_HOMES = {
    "base": ("FunctionReward", "Reward", "is_differentiable", "layers_of", "placed", "prompt_readers", "scale_of"),
    "blackbox": ("BlackBoxReward",),
    "combine": ("CombinedReward",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_reward(
    spec: RewardLike, source: str | Path | None = None, device: torch.device | str | None = None,
    dtype: torch.dtype | None = None, *, checkpointing: bool = False, conflicts: Conflicts = "sum",
) -> Reward:  # fmt: skip
    """A reward by name (`SPECS`), the folder of a CLIPModel, `file.py:name`, a `Reward`, a function, or a table of weights.

    source: another hub id, folder or weight file in the place of the name's own. device: None leaves an object where it
    is, and loads weights on the CPU. dtype: of the weights; None leaves what the file has. checkpointing: less memory in
    the towers' backward for a second forward. A table {name: weight, ...} gives the sum of the rewards, each in units of
    its own scale; conflicts: "project" keeps their gradients from working against each other (`CombinedReward`). Raises
    RewardError on an unknown name or files that do not fit.
    """
    from .combine import CombinedReward

    if isinstance(spec, Mapping):
        if source is not None:
            raise RewardError(OfReward("source", str(source)), f" cannot serve {len(spec)} rewards: load each with its own source")
        parts = [(load_reward(k, None, device, dtype, checkpointing=checkpointing), w) for k, w in spec.items()]
        return CombinedReward(parts, conflicts)
    if isinstance(spec, (str, Path, Spec)):
        known = spec if isinstance(spec, Spec) else spec_of(str(spec))
        reward = known.load(source, dtype, **({"checkpointing": True} if checkpointing else {}))
    elif source is not None:
        raise RewardError(OfReward("source", str(source)), " cannot serve a reward that is given as an object: leave it out")
    else:
        reward = ready(spec)
    if device is not None:
        reward.to(device)
    return reward


__all__ = [
    "SPECS", "BlackBoxReward", "CombinedReward", "FunctionReward", "Reward", "RewardLike", "Spec", "is_differentiable",
    "layers_of", "load_reward", "placed", "prompt_readers", "scale_of", "spec_of",
]  # fmt: skip
