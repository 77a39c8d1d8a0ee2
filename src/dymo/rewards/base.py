"""The contract of a reward: a differentiable score of images for their prompts."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import RewardError


@runtime_checkable
class Reward(Protocol):
    """A score of images for their prompts, which guides or measures them; higher is better.

    Five more attributes are read where a reward has them: `scale`, by how many points images of one prompt usually differ, which is the
    unit that it guides in, alone and in a sum (1 by default); `typical`, the score of an ordinary image, read beside `cosine_scale`;
    `differentiable` (True by default); `reads_prompt` (True by default); and `device`, where its parameters are (that of the first one by
    default, for a module).
    """

    name: str
    resolution: int | None  # side in pixels that the images are brought to inside `score`; None where it takes any
    reads_timestep: bool
    cosine_scale: float | None  # points of score that one unit of a cosine is worth; None for a score that is no cosine

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1], one prompt each, t in 0..1000 or None for a clean image -> (B,)."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """Move what the score is computed with; what is returned is not read."""
        ...


TAKES = "(images, prompts) or (images, prompts, timestep), with images (B, 3, H, W) in [0, 1] and a list of B prompts"


class FunctionReward:
    """A plain function `f(images, prompts)` or `f(images, prompts, timestep)` as a reward; a module is moved by `to`.

    Its `scale` is the function's, where that has one.

    It is given the timestep where an argument of it has that name, or where its third one has no default. Raises
    RewardError where it cannot be called so, as far as its signature tells.
    """

    resolution: int | None = None
    cosine_scale: float | None = None
    differentiable = True

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function
        own = getattr(function, "scale", None)
        self.scale = own if isinstance(own, Real) else 1.0  # a module may have a tensor of that name
        self.name = getattr(function, "__name__", type(function).__name__)
        signature = signature_of(function)
        parameters = {} if signature is None else signature.parameters
        positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._named = "timestep" in parameters
        third = len(positional) > 2 and positional[2].default is inspect.Parameter.empty
        self._placed = third and not self._named
        self.reads_timestep = self._named or third
        if not can_take(signature, None, None, *self._time(None)[0], **self._time(None)[1]):
            raise RewardError(
                f"the reward {self.name}{signature} cannot be called so: a reward function takes {TAKES}, and returns a "
                "tensor (B,), one score an image, higher is better"
            )

    def _time(self, timestep: float | None) -> tuple[list[Any], dict[str, Any]]:
        """The timestep as the function takes it: by position, by name, or not."""
        return [timestep] * self._placed, {"timestep": timestep} if self._named else {}

    @property
    def device(self) -> torch.device | None:
        """Where the function is, as a module; None for a plain one."""
        return device_of(self.function)

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images as the function takes them -> (B,). Raises RewardError where the function returns anything else."""
        placed, named = self._time(timestep)
        scores = self.function(images, list(prompts), *placed, **named)
        check_scores(self.name, scores, len(prompts))
        return scores

    def to(self, device: torch.device | str) -> FunctionReward:
        """Move the function where it is a module; returns self."""
        if isinstance(self.function, nn.Module):
            self.function.to(device)
        return self


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes (of a module, what its `forward` takes); None where Python cannot tell."""
    try:
        return inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):
        return None


def can_take(signature: inspect.Signature | None, *given: Any, **named: Any) -> bool:
    """Whether a call with these arguments fits, as far as the signature tells."""
    try:
        return signature is None or bool(signature.bind(*given, **named))
    except TypeError:
        return False


def check_scores(name: str, scores: object, count: int) -> None:
    """Raises RewardError where `scores` is no tensor of one score an image."""
    if isinstance(scores, Tensor) and scores.shape == (count,):
        return
    shape = f"the shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else ""
    got = shape or f"{scores!r:.60} ({type(scores).__name__})"
    must = f"it must return a tensor ({count},), one score an image"
    raise RewardError(f"the reward {name} returned {got} for {count} images: {must}")


def scale_of(reward: Reward) -> float:
    """By how many points images of one prompt usually differ, as the reward declares it; 1 where it does not.

    Raises RewardError where that is no positive number.
    """
    scale: Any = getattr(reward, "scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, Real) or not 0 < float(scale) < math.inf:
        raise RewardError(f"{reward.name}: its scale is {scale!r}; give the points that images of one prompt differ by, a positive number")
    return float(scale)


def is_differentiable(reward: Reward) -> bool:
    """Whether a gradient can be taken through `score`, as the reward declares it."""
    return bool(getattr(reward, "differentiable", True))


def prompt_readers(reward: Reward) -> list[Reward]:
    """The rewards, of a sum too, in whose `score` the prompt plays a part, as they declare it."""
    return [leaf for leaf in _leaves(reward) if getattr(leaf, "reads_prompt", True)]


def device_of(reward: object) -> torch.device | None:
    """Where a reward (or a module) is; None where it does not tell, as for a plain function."""
    device = getattr(reward, "device", None)
    if device is None and isinstance(reward, nn.Module):
        device = next((parameter.device for parameter in reward.parameters()), None)
    return None if device is None else torch.device(device)


_VOUCHED: ContextVar[bool] = ContextVar("vouched", default=False)
"""Whether the caller of `score` vouches for the range of the images."""


@dataclass
class _Use:
    """Of a reward by runs of any thread: where it was before the first of them, where it is for them, and how many they are."""

    home: torch.device | None
    device: torch.device
    runs: int = 0


_USES: dict[int, _Use] = {}
_USES_LOCK = threading.Lock()


@contextmanager
def placed(rewards: Iterable[Reward], device: torch.device | str, compiled: bool = False) -> Iterator[None]:
    """For one run: the rewards are on `device` within, and afterwards, also after an exception, where they were.

    Runs in several threads may share a reward, which goes back at the end of the last one. Raises RewardError where another run has it
    on another device. A reward that does not tell where it is stays on `device`. The parts of a sum are moved one by one. Within, rewards do
    not read the range of their images back from the device, for which each evaluation would have to wait: the run decodes
    to [0, 1]. compiled: their layers will be compiled, and are left as they are.
    """
    leaves = [leaf for reward in rewards for leaf in _leaves(reward)]
    token = _VOUCHED.set(True)
    try:
        with ExitStack() as stack:
            for leaf in leaves:
                stack.enter_context(_used(leaf, torch.device(device)))
            for leaf in leaves:
                at_work = getattr(leaf, "at_work", None)
                if callable(at_work):
                    stack.enter_context(at_work(compiled) if can_take(signature_of(at_work), compiled) else at_work())
            yield
    finally:
        _VOUCHED.reset(token)


@contextmanager
def _used(reward: Reward, device: torch.device) -> Iterator[None]:
    """The reward is on `device` within; see `placed`."""
    with _USES_LOCK:
        use = _USES.get(id(reward)) or _Use(device_of(reward), device)
        if use.runs and not _same(use.device, device):
            raise RewardError(
                f"{reward.name} is on {use.device} for another run, and cannot be on {device} too: give each run a reward of its own (load it twice)"
            )
        if not use.runs:
            reward.to(device)
            _USES[id(reward)] = use
        use.runs += 1
    try:
        yield
    finally:
        with _USES_LOCK:
            use.runs -= 1
            if not use.runs:
                del _USES[id(reward)]
                if use.home is not None:
                    reward.to(use.home)


def _same(a: torch.device, b: torch.device) -> bool:
    """Whether two devices are one, where either may leave out its number."""
    return a.type == b.type and (a.index == b.index or None in (a.index, b.index))


def layers_of(rewards: Iterable[Reward]) -> list[nn.Module]:
    """The layers that the rewards' networks repeat, of the parts of sums too, as far as they tell."""
    return [layer for reward in rewards for leaf in _leaves(reward) for layer in getattr(leaf, "layers", ())]


def _leaves(reward: Reward) -> list[Reward]:
    """The rewards that a sum is made of, of sums too; else the reward itself."""
    return [leaf for part, _ in getattr(reward, "parts", ()) for leaf in _leaves(part)] or [reward]


OVERSHOOT = 0.01  # beyond [0, 1] by which an image is still taken for one: what resizing adds


def check_images(name: str, images: Tensor, prompts: Sequence[str]) -> None:
    """Raises RewardError unless images are (B, 3, H, W), B at least 1, floating, in [0, 1], with one prompt each."""
    if not isinstance(images, Tensor):
        raise RewardError(f"{name}: images are a {type(images).__name__}; give a tensor (B, 3, H, W) in [0, 1]")
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != 3:
        remedies = {1: "images.repeat(1, 3, 1, 1) for one channel", 4: "images[:, :3] without the alpha channel"}
        hint = "images[None] for one image"
        if images.ndim == 4:
            hint = remedies.get(shape[1], "channels before height and width")
        raise RewardError(f"{name}: images have the shape {shape}, not (B, 3, H, W); give {hint}")
    if 0 in shape:
        raise RewardError(f"{name}: images have the shape {shape}, which holds no image; give at least one")
    if len(prompts) != shape[0] or isinstance(prompts, str):
        given = f"the text {prompts!r:.60}" if isinstance(prompts, str) else f"{len(prompts)} prompts"
        raise RewardError(f"{name}: {shape[0]} images with {given}; give a list with one prompt each")
    if not images.is_floating_point():
        raise RewardError(f"{name}: images are {images.dtype}, not floating-point numbers; give images.float() / 255")
    if _VOUCHED.get() or images.is_meta:
        return
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:  # a NaN is passed on: the score says so
        remedy = "images / 255" if high > 2 else "(images + 1) / 2" if low < -0.5 else "images.clamp(0, 1)"
        raise RewardError(f"{name}: images lie in {low:.3g} to {high:.3g}, not in [0, 1]; give {remedy}")


def full_precision(x: Tensor) -> Tensor:
    """Half precision to float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
