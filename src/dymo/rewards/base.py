"""The contract of a reward: a differentiable score of images for their prompts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import RewardError


@runtime_checkable
class Reward(Protocol):
    """What guides, or measures. Higher is better.

    Three more attributes are read where a reward has them: `scale`, the points of score that one unit is worth in a sum
    of rewards (about the spread among images of one prompt; 1 by default), `differentiable` (True by default), and
    `device`, where its parameters are (that of the first one by default, for a module).
    """

    name: str
    resolution: int | None
    """Side in pixels that the images are brought to inside `score`; None where it takes any."""
    reads_timestep: bool
    cosine_scale: float | None
    """Points of score that one unit of a cosine is worth; None for a score that is no cosine."""

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1], one prompt each, t in 0..1000 or None for a clean image -> (B,)."""
        ...

    def to(self, device: torch.device | str) -> Any: ...


TAKES = "(images, prompts) or (images, prompts, timestep), with images (B, 3, H, W) in [0, 1] and a list of B prompts"


class FunctionReward:
    """A plain function `f(images, prompts)` or `f(images, prompts, timestep)` as a reward; a module is moved by `to`.

    It is given the timestep where an argument of it has that name, or where its third one has no default. Raises
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
                "tensor (B,), one score an image, higher is better"
            )

    @property
    def _third(self) -> bool:
        """Whether the timestep is given by position."""
        return self.reads_timestep and not self._named

    @property
    def device(self) -> torch.device | None:
        return device_of(self.function)

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images as the function takes them -> (B,). Raises RewardError where the function returns anything else."""
        words = list(prompts)
        if self._named:
            scores = self.function(images, words, timestep=timestep)
        else:
            scores = self.function(images, words, *[timestep] * self._third)
        check_scores(self.name, scores, len(words))
        return scores

    def to(self, device: torch.device | str) -> FunctionReward:
        if isinstance(self.function, nn.Module):
            self.function.to(device)
        return self


_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes (of a module, what its `forward` takes); None where Python cannot tell."""
    called = function.forward if isinstance(function, nn.Module) else function
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
    """Whether there is a third positional argument, and no default for it."""
    placed = [p for p in parameters if p.kind in _PLACED]
    return len(placed) > 2 and placed[2].default is inspect.Parameter.empty


def check_scores(name: str, scores: object, count: int) -> None:
    """Raises RewardError where `scores` is no tensor of one score an image."""
    if isinstance(scores, Tensor) and scores.shape == (count,):
        return
    got = (
        f"the shape {tuple(scores.shape)}"
        if isinstance(scores, Tensor)
        else f"{scores!r:.60} ({type(scores).__name__})"
    )
    raise RewardError(
        f"the reward {name} returned {got} for {count} images: it must return a tensor ({count},), one score an image"
    )


def scale_of(reward: Reward) -> float:
    """Points of score that one unit of a sum is worth, as the reward declares it; 1 where it does not."""
    return float(getattr(reward, "scale", 1.0))


def is_differentiable(reward: Reward) -> bool:
    """Whether a gradient can be taken through `score`, as the reward declares it."""
    return bool(getattr(reward, "differentiable", True))


def device_of(reward: object) -> torch.device | None:
    """Where a reward (or a module) is; None where it does not tell, as for a plain function."""
    device = getattr(reward, "device", None)
    if device is None and isinstance(reward, nn.Module):
        device = next((parameter.device for parameter in reward.parameters()), None)
    return None if device is None else torch.device(device)


_VOUCHED: ContextVar[bool] = ContextVar("vouched", default=False)
"""Whether the caller of `score` vouches for the range of the images."""


@contextmanager
def placed(rewards: Iterable[Reward], device: torch.device | str) -> Iterator[None]:
    """For one run: the rewards are on `device` within, and afterwards, also after an exception, where they were.

    A reward that does not tell where it is stays on `device`. The parts of a sum are moved one by one. Within, rewards do
    not read the range of their images back from the device, for which each evaluation would have to wait: the run decodes
    to [0, 1].
    """
    homes = [(leaf, device_of(leaf)) for reward in rewards for leaf in _leaves(reward)]
    token = _VOUCHED.set(True)
    try:
        for reward, _ in homes:
            reward.to(device)
        yield
    finally:
        _VOUCHED.reset(token)
        for reward, home in homes:
            if home is not None:
                reward.to(home)


def _leaves(reward: Reward) -> list[Reward]:
    """The rewards that a sum is made of, of sums too; else the reward itself."""
    return [leaf for part, _ in getattr(reward, "parts", ()) for leaf in _leaves(part)] or [reward]


OVERSHOOT = 0.01
"""Beyond [0, 1] by which an image is still taken for one: what resizing adds."""


def check_images(name: str, images: Tensor, prompts: Sequence[str]) -> None:
    """Raises RewardError unless images are (B, 3, H, W), B at least 1, floating, in [0, 1], with one prompt each."""
    if not isinstance(images, Tensor):
        raise RewardError(f"{name}: images are a {type(images).__name__}; give a tensor (B, 3, H, W) in [0, 1]")
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != 3:
        remedies = {1: "images.repeat(1, 3, 1, 1) for one channel", 4: "images[:, :3] without the alpha channel"}
        hint = (
            remedies.get(shape[1], "channels before height and width")
            if images.ndim == 4
            else "images[None] for one image"
        )
        raise RewardError(f"{name}: images have the shape {shape}, not (B, 3, H, W); give {hint}")
    if 0 in shape:
        raise RewardError(f"{name}: images have the shape {shape}, which holds no image; give at least one")
    if len(prompts) != shape[0] or isinstance(prompts, str):
        given = f"the text {prompts!r:.60}" if isinstance(prompts, str) else f"{len(prompts)} prompts"
        raise RewardError(f"{name}: {shape[0]} images with {given}; give a list with one prompt each")
    if not images.is_floating_point():
        raise RewardError(
            f"{name}: images are {images.dtype}, not floating-point numbers in [0, 1]; give images.float() / 255"
        )
    if _VOUCHED.get() or images.is_meta:
        return
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:  # a NaN is passed on: the score says so
        remedy = "images / 255" if high > 2 else "(images + 1) / 2" if low < -0.5 else "images.clamp(0, 1)"
        raise RewardError(f"{name}: images lie in {low:.3g} to {high:.3g}, not in [0, 1]; give {remedy}")


def full_precision(x: Tensor) -> Tensor:
    """Half precision to float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
