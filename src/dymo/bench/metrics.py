"""What pictures are measured by: the rewards by name, and the miniature's judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import ConfigError, DyMOError
from ..miniature.world import RELATIONS, Caption, Thing
from ..rewards import load_reward
from .digest import weights_of

Metric = Callable[[Tensor, Sequence[str]], list[float]]
"""Pictures (B, 3, H, W) in [0, 1] and their prompts -> a number each, higher is better."""

JUDGE = "judge"
_THING = re.compile(r"an? (\w+) (\w+)")


def load_metric(name: str, device: str = "cpu") -> Metric:
    """The metric `name`: "judge" (1 where the miniature's judge finds every thing in its colour, else 0) or a reward.

    Raises RewardError where a reward cannot be loaded.
    """
    if name == JUDGE:
        return _judge()
    reward = load_reward(name, device=device)

    def measure(images: Tensor, prompts: Sequence[str]) -> list[float]:
        with torch.no_grad():
            return reward.score(images.to(device), list(prompts)).float().tolist()

    return measure


def shard_of(name: str) -> str:
    """The name of a metric in the store: with the weights, where they can change under it."""
    version = weights_of(name)
    return f"{name}@{version}" if version else name


def load_metrics(names: Sequence[str], device: str = "cpu") -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics that can be loaded, and for each that cannot the reason."""
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = load_metric(name, device)
        except (DyMOError, OSError) as error:
            missing[name] = (str(error).splitlines() or [type(error).__name__])[0]
    return found, missing


def caption_of(prompt: str) -> Caption:
    """The truth of a prompt in the miniature's words. Raises ConfigError for any other, which the judge cannot read."""
    relation = next((r for r in (*RELATIONS, "and") if f" {r} " in prompt), "and")
    parts = prompt.split(f" {relation} ")
    things = [_THING.fullmatch(part.strip()) for part in parts]
    if len(parts) > 2 or not all(things):
        raise ConfigError(
            f"the judge cannot read {prompt!r}: it knows captions as 'a red apple to the left of a green car'"
        )
    return Caption(tuple(Thing(noun=m[2], colour=m[1]) for m in things if m), relation)


def _judge() -> Metric:
    from ..miniature import load_judge
    from ..miniature.judge import satisfied

    judge = load_judge()

    def measure(images: Tensor, prompts: Sequence[str]) -> list[float]:
        seen = judge.read(images.cpu())
        return [float(satisfied(caption_of(p), s).correct) for p, s in zip(prompts, seen, strict=True)]

    return measure
