"""What is special to an architecture: one file a family, one line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from ...errors import PipelineError


@dataclass(frozen=True)
class Branches:
    """The rows that guidance makes of each sample, in blocks of one row a sample: their number and two of their places."""

    count: int
    conditional: int
    unconditional: int | None
    joint: bool = False
    """Attention mixes the blocks, so they can only be run together."""


class Family(Protocol):
    """One architecture. `pipe` is the user's diffusers pipeline throughout."""

    def check(self, pipe: Any) -> None:
        """Raises PipelineError, with the true reason and a remedy, where the pipeline cannot be steered."""
        ...

    def denoiser(self, pipe: Any) -> nn.Module:
        """The module whose `forward(sample, ...)` predicts."""
        ...

    def branches(self, pipe: Any) -> Branches:
        """The rows of guidance at this moment: callbacks may switch guidance off."""
        ...

    def scale(self, pipe: Any) -> float:
        """The factor that guidance puts on the conditional rows at this moment."""
        ...

    def packed(self, output: Any) -> Any:
        """A tensor as the denoiser's own output class."""
        ...

    def attention(self, pipe: Any, latents: Sequence[int], map_size: int | None) -> tuple[dict[str, nn.Module], tuple[int, int]]:
        """The cross-attentions whose maps are read, for latents (rows, columns), and the maps' (rows, columns)."""
        ...

    def last_block(self, pipe: Any, name: str) -> nn.Module:
        """The block that holds the attention `name`: after it, nothing that is read depends on the latents any more."""
        ...

    def tokenizer(self, pipe: Any) -> Any:
        """The tokenizer whose positions the maps' tokens have. Raises PipelineError where there is none."""
        ...


def family_of(pipe: Any) -> Family:
    """The family of a pipeline. Raises PipelineError where it is none that can be steered."""
    from .unet import UNet

    family: Family = UNet()
    if not isinstance(getattr(pipe, "unet", None), nn.Module):
        raise PipelineError(
            f"{type(pipe).__name__} has no UNet: pipelines of the SD1.5, SD2 and SDXL families can be steered"
        )
    family.check(pipe)
    return family
