"""What images are measured by: the rewards by name, and the miniature's judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError, did_you_mean
from ..miniature.world import RELATIONS, Caption, Thing
from ..rewards import SPECS, load_reward

Metric = Callable[[Tensor, Sequence[str]], list[float]]
"""Images (B, 3, H, W) in [0, 1] and their prompts -> a number each, higher is better."""

JUDGE = "judge"
_OBJECT = re.compile(r"an? (\w+) (\w+)")


def check_reward(name: str) -> None:
    """Raises ConfigError where `name` is no reward: neither known, nor a CLIP folder, nor a plugin. Loads no weights."""
    if name in SPECS or Path(name).is_dir():
        return
    from .. import plugins

    known = [*SPECS, *plugins.names("dymo.rewards")]
    if name in known:
        return
    if not plugins.is_reference(name):
        raise ConfigError(
            f"unknown reward {name!r}{did_you_mean(name, known)}: choose one of {', '.join(known)}, the folder of a CLIP model, "
            "or FILE.py:NAME"
        )
    plugins.load(name, "dymo.rewards")


def check_metric(name: str, prompts: Sequence[str] = ()) -> None:
    """Raises ConfigError where `name` is neither "judge" nor a reward, or the judge cannot read one of the prompts."""
    if name != JUDGE:
        check_reward(name)
    for prompt in prompts if name == JUDGE else ():
        caption_of(prompt)


def load_metric(name: str, device: str = "cpu") -> Metric:
    """The metric `name`: "judge" (100 where the miniature's judge finds every object in its colour, else 0) or a reward.

    Raises RewardError where a reward cannot be loaded.
    """
    if name == JUDGE:
        return _judge()
    reward = load_reward(name, device=device)

    def measure(images: Tensor, prompts: Sequence[str]) -> list[float]:
        with torch.no_grad():
            return reward.score(images.to(device), list(prompts)).float().tolist()

    return measure


def caption_of(prompt: str) -> Caption:
    """The objects and the relation that a prompt in the miniature's words names. Raises ConfigError for any other."""
    relation = next((r for r in (*RELATIONS, "and") if f" {r} " in prompt), "and")
    parts = prompt.split(f" {relation} ")
    objects = [_OBJECT.fullmatch(part.strip()) for part in parts]
    if len(parts) > 2 or not all(objects):
        raise ConfigError(
            f"the judge cannot read the prompt {prompt!r}: it knows the miniature's, as 'a red apple to the left of a green car'; "
            "leave it out of the metrics"
        )
    return Caption(tuple(Thing(noun=m[2], colour=m[1]) for m in objects if m), relation)


def _judge() -> Metric:
    from ..miniature import load_judge
    from ..miniature.judge import satisfied

    judge = load_judge()

    def measure(images: Tensor, prompts: Sequence[str]) -> list[float]:
        seen = judge.read(images.cpu())
        return [100.0 * satisfied(caption_of(p), s).correct for p, s in zip(prompts, seen, strict=True)]

    return measure
