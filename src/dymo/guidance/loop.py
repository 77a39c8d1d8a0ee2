"""What an algorithm asks of a denoising loop, whoever owns it.

A loop stands at one noise level after another. At each, the algorithm asks for predictions, takes the sampler's own
step from one of them, and accepts a z_{t-1}. `dymo.pipelines.loop` makes such a loop of a diffusers pipeline; a closed
form serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from .levels import Level

Through = Literal["none", "maps", "conditional", "full"]
Rows = list[int]


@dataclass(frozen=True)
class Timestep:
    """Where the loop stands. `t` is in 0..1000 by signal-to-noise ratio, on the scale of the model's training."""

    index: int
    steps: int
    """Steps of this run."""
    t: float
    here: Level
    """Of z_t."""
    there: Level
    """Of z_{t-1}."""
    done: float
    """Fraction of the whole schedule behind this step, 0..1 (with img2img more than index / steps)."""
    calls: int = 1
    """Evaluations of the denoiser that one round of this step takes: the first is seen, the others are the sampler's own."""
    ahead: int | None = None
    """Evaluations of the steps after this one; None: one each."""
    whole: int | None = None
    """Steps of the whole schedule, of which this run may take a part (img2img, SDXL's `denoising_end`); None: by `done`."""
    t_64: float | None = None
    """`t` of the level at which latents of 64 x 64 pixels are hidden as these are here; None: t itself."""

    @property
    def left(self) -> int:
        """Steps of this run from this one on."""
        return self.steps - self.index


@dataclass(frozen=True)
class Need:
    """What an evaluation must give besides the prediction.

    maps: the cross-attention maps of the conditional rows. through: how far a gradient reaches: "none" stops at the
    denoiser (z0' still depends on z_t by its formula), "maps" passes through the denoiser up to the maps, "full"
    through all of it, "conditional" through its conditional rows alone. output: False where only the maps count, and
    the rest of the denoiser need not run. Raises ConfigError on another `through`.
    """

    maps: bool = False
    through: Through = "none"
    output: bool = True

    def __post_init__(self) -> None:
        if self.through not in get_args(Through):
            raise ConfigError(f"Need(through={self.through!r}): choose one of {', '.join(map(repr, get_args(Through)))}")


PREDICTION = Need()


class Pull(Protocol):
    """(loss, keep=False) -> gradient; see `Seen`."""

    def __call__(self, loss: Tensor, keep: bool = False, /) -> Tensor: ...


@dataclass
class Seen:
    """One evaluation of the samples `rows`: n of them, in float32.

    z, z0, eps (n, c, h, w): z_t, its one-step prediction, and the noise. of_guidance: computes `residual`. maps (n, pixels,
    tokens): attention of the conditional rows, averaged over heads and layers, over a grid of `grid` = (rows, columns); None
    unless asked for. `pull(loss, keep)` is d loss.sum() / d z, (n, c, h, w): samples do not mix, so each row is its own
    sample's; keep=True leaves the graph for another pull. It passes through the denoiser as far as the evaluation's `Need` says.
    """

    rows: Rows
    timestep: Timestep
    z: Tensor
    z0: Tensor
    eps: Tensor
    of_guidance: Callable[[], Tensor | None] | None
    maps: Tensor | None
    grid: tuple[int, int]
    decode: Callable[[Tensor], Tensor]
    pull: Pull
    notes: dict[str, Tensor] = field(default_factory=dict)
    """What objectives leave for the record, (n,) each."""

    @cached_property
    def residual(self) -> Tensor | None:
        """eps_cond - eps_uncond (n, c, h, w); None without guidance."""
        return None if self.of_guidance is None else self.of_guidance()

    @cached_property
    def images(self) -> Tensor:
        """x0' = D(z0'), (n, 3, H, W) in [0, 1] but for the decoder's overshoot, with a graph to z0'."""
        return self.decode(self.z0)


class Loop(Protocol):
    """A run of several images; everything is per sample."""

    @property
    def samples(self) -> int:
        """Images of the run."""
        ...

    def __iter__(self) -> Iterator[Timestep]:
        """From noise to image. Each level must be left by `accept`."""
        ...

    def predict(self, z: Tensor | None = None, rows: Rows | None = None, need: Need = PREDICTION) -> Seen:
        """Evaluate the denoiser at this level: where the loop stands, or, later, again from z (n, c, h, w) of `rows`.

        After a `sampler_step` from this level, z is taken to have come back to it by noise drawn anew: a sampler that
        builds on earlier predictions then takes its step at first order.
        """
        ...

    def sampler_step(self, seen: Seen, noise: Tensor | None = None) -> Tensor:
        """The sampler's own z_{t-1} (n, c, h, w) float32 of what was seen last, with its own noise or the one given.

        Where a step takes several evaluations (`Timestep.calls`), the others are made here, without a gradient.
        """
        ...

    def accept(self, z: Tensor, origin: Rows | None = None) -> None:
        """Go on with z_{t-1} = z (samples, c, h, w). origin: whose past each sample goes on from, where not its own."""
        ...

    def noise(self, rows: Rows) -> Tensor:
        """Standard normal noise (n, c, h, w) float32 from the samples' generators."""
        ...


def put(whole: Tensor | None, rows: Rows, part: Tensor) -> Tensor:
    """`whole` (samples, ...) with `part` (n, ...) in the places `rows`; `part` itself where it is all there is."""
    if whole is None or len(rows) == len(whole):
        return part
    return whole.index_copy(0, places(rows, part.device), part)


def pick(whole: Tensor, rows: Rows) -> Tensor:
    """The samples `rows` of `whole` (samples, ...), (n, ...)."""
    return whole if len(rows) == len(whole) else whole[places(rows, whole.device)]


def places(rows: Rows, device: torch.device) -> Tensor:
    """`rows` as an index on a device, brought there once: an upload makes the host wait."""
    return _places(tuple(rows), device)


@lru_cache(maxsize=1024)
def _places(rows: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(rows, dtype=torch.int64, device=device)
