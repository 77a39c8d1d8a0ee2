"""The contract of a reward: a differentiable score of pictures for their prompts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import RewardError


@runtime_checkable
class Reward(Protocol):
    """What guides, or measures. Higher is better.

    Two more attributes are read where a reward has them: `scale`, the points of score that one unit is worth in a sum
    of rewards (about the spread among pictures of one prompt; 1 if it says nothing), and `differentiable` (True).
    """

    name: str
    resolution: int | None
    """Side in pixels that the pictures are brought to inside `score`; None where it takes any."""
    reads_timestep: bool
    cosine_scale: float | None
    """Points of score that one unit of a cosine is worth; None for a score that is no cosine."""

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1], one prompt each, t in 0..1000 or None for a clean picture -> (B,)."""
        ...

    def to(self, device: torch.device | str) -> Any: ...


TAKES = "(images, prompts) or (images, prompts, timestep), with images (B, 3, H, W) in [0, 1] and a list of B prompts"


class FunctionReward:
    """A plain function `f(images, prompts)` or `f(images, prompts, timestep)` as a reward.

    It is given the timestep where an argument of it is called so, or where its third one must be given. Raises
    RewardError where it cannot be called so, as far as its signature tells.
    """

    resolution: int | None = None
    cosine_scale: float | None = None
    scale = 1.0
    differentiable = True

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        signature = signature_of(function)
        parameters = {} if signature is None else signature.parameters
        self._named = "timestep" in parameters
        self.reads_timestep = self._named or _must_have_third(parameters.values())
        named = {"timestep": None} if self._named else {}
        if signature is not None and not can_take(signature, *[None] * (2 + self._third), **named):
            raise RewardError(
                f"the reward {self.name}{signature} cannot be called so: a reward function takes {TAKES}, and returns a "
                "tensor (B,), one score a picture, higher is better"
            )

    @property
    def _third(self) -> bool:
        """Whether the timestep is given by its place."""
        return self.reads_timestep and not self._named

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> (B,). Raises RewardError where the function returns anything else."""
        words = list(prompts)
        if self._named:
            scores = self.function(images, words, timestep=timestep)
        else:
            scores = self.function(images, words, *[timestep] * self._third)
        check_scores(self.name, scores, len(words))
        return scores

    def to(self, device: torch.device | str) -> FunctionReward:
        return self


_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes (of a module, what its `forward` takes); None where Python cannot tell."""
    called = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        return inspect.signature(called)
    except (TypeError, ValueError):
        return None


def can_take(signature: inspect.Signature, *given: Any, **named: Any) -> bool:
    """Whether a call with these arguments fits."""
    try:
        signature.bind(*given, **named)
    except TypeError:
        return False
    return True


def _must_have_third(parameters: Iterable[inspect.Parameter]) -> bool:
    """Whether there is a third argument by place, and no default for it."""
    placed = [p for p in parameters if p.kind in _PLACED]
    return len(placed) > 2 and placed[2].default is inspect.Parameter.empty


def check_scores(name: str, scores: object, count: int) -> None:
    """Raises RewardError where `scores` is no tensor of one score a picture."""
    if isinstance(scores, Tensor) and scores.shape == (count,):
        return
    got = (
        f"the shape {tuple(scores.shape)}"
        if isinstance(scores, Tensor)
        else f"{scores!r:.60} ({type(scores).__name__})"
    )
    raise RewardError(
        f"the reward {name} returned {got} for {count} pictures: it must return a tensor ({count},), one score a picture"
    )


def scale_of(reward: Reward) -> float:
    """Points of score that one unit of a sum is worth, as the reward declares it; 1 where it does not."""
    return float(getattr(reward, "scale", 1.0))


def is_differentiable(reward: Reward) -> bool:
    """Whether a gradient can be taken through `score`, as the reward declares it."""
    return bool(getattr(reward, "differentiable", True))


def check_pairs(name: str, images: Tensor, prompts: Sequence[str]) -> None:
    """Raises RewardError where there is not one prompt a picture."""
    if len(prompts) != images.shape[0]:
        raise RewardError(f"{name}: {images.shape[0]} pictures with {len(prompts)} prompts; give one each")


def full_precision(x: Tensor) -> Tensor:
    """Half precision to float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
