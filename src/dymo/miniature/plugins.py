"""The names of the miniature's rewards and its judge, as any package has them (`dymo.plugins`). Imports no library."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..rewards.registry import Loader, Spec
from . import WEIGHTS

if TYPE_CHECKING:
    import torch

    from ..rewards import Reward


def _ours(module: str, function: str) -> Loader:
    """A loader of `dymo`, imported when it is first called, on the weights in this package where no others are given.

    These are kept in half precision, and computed with in float32.
    """

    def load(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> Reward:
        import torch

        loader = getattr(import_module(f"..{module}", __package__), function)
        return loader(spec, source or WEIGHTS / spec.name, dtype or torch.float32, **settings)

    return load


_ALL = (
    Spec("mini-pickscore", _ours("rewards.clip", "load_clip"), "the miniature's preference, CLIP's architecture",
         (10, 18), "Apache-2.0", 1.7, 0.8),
    Spec("mini-hps", _ours("miniature.rewards", "load_conv"), "the miniature's preference, another architecture and data", (2, 12), "Apache-2.0",
         0.6, 1.6, about="kept from guiding in the benchmarks"),
    Spec("mini-imagereward", _ours("rewards.image_reward", "load_image_reward"),
         "the miniature's ranking, ImageReward's architecture", (-1, 1.1), "Apache-2.0", 1.8, 0.25),
    Spec("mini-aesthetic", _ours("rewards.aesthetic", "load_aesthetic"),
         "how little an image is spoilt, whatever the prompt", (-0.1, 1.2), "Apache-2.0", 1.2, 0.25,
         guides="with another"),
    Spec("mini-step-aware", _ours("rewards.step_aware", "load_step_aware"),
         "mini-pickscore's preference on noisy one-step predictions", (9, 17), "Apache-2.0", 2.2, 0.8,
         reads_timestep=True),
    Spec("judge", _ours("miniature.rewards", "load_judge"), "whether the miniature's image shows all that the prompt says", (0, 1),
         "Apache-2.0", 0.3, 0.5, guides="measure only", about="reads the miniature's own captions alone", gradient=False),
)  # fmt: skip

PLUGINS = {spec.name: spec for spec in _ALL}
