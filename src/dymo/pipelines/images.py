"""Images of what a pipeline returns, the choice between two returns, and the state of the random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..guidance.step import per_sample
from ..pixels import from_pil, opaque

Generators = Any  # torch.Generator, one or a list of them, or None


class Noise:
    """The state of the random numbers that a call will draw, to be drawn again."""

    def __init__(self, generator: Generators):
        self.generators = [] if generator is None else generator if isinstance(generator, list) else [generator]
        self.states = [one.get_state() for one in self.generators]
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def rewind(self) -> None:
        """From here on the same numbers come again."""
        for one, state in zip(self.generators, self.states, strict=True):
            one.set_state(state)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


def copied(generator: torch.Generator) -> torch.Generator:
    """Another generator that stands where this one does."""
    made = torch.Generator(generator.device)
    made.set_state(generator.get_state())
    return made


def further(generator: torch.Generator, n: int) -> list[torch.Generator]:
    """`n` other generators, a fixed function of where this one stands, which it moves by one draw."""
    seeds = torch.randint(2**62, (n,), generator=generator, device=generator.device).tolist()
    return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]


def images_of(output: Any, decode: Callable[[Tensor], Tensor], channels: int = 3) -> Tensor:
    """The images of a pipeline's return, in any output type, as (B, 3, H, W) in [0, 1] on the CPU or the latents' device.

    decode: of latents (output_type="latent") -> images. channels: of the pipeline's images, 4 where they have a transparency.
    """
    images = images_in(output)
    if isinstance(images, Tensor):
        return opaque(images).float() if images.shape[1] == channels else decode(images.float())
    if isinstance(images, np.ndarray):
        return opaque(torch.from_numpy(images).permute(0, 3, 1, 2)).float()
    return from_pil(images)


def one_an_image(pictures: Any, rows: int) -> Any:
    """A picture, or a list or batch (n, c, H, W) of them, as so many: each as often as the others, one behind the other."""
    if isinstance(pictures, Tensor) and pictures.ndim == 4:
        return pictures.repeat_interleave(rows // len(pictures), 0)
    each = pictures if isinstance(pictures, list) else [pictures]
    return [picture for picture in each for _ in range(rows // len(each))]


def returned(images: Any, as_output: bool) -> Any:
    """Images as a pipeline returns them: an output of diffusers, or under `return_dict=False` a tuple."""
    from diffusers import ImagePipelineOutput

    return ImagePipelineOutput(images=images) if as_output else (images,)


def with_images(output: Any) -> Any:
    """A pipeline's output, its images under the name `images` too where its class calls them `image`, as Kandinsky 5's."""
    if hasattr(output, "image") and not hasattr(output, "images"):
        output.images = output.image
    return output


def exchange(output: Any, other: Any, take: Sequence[bool]) -> Any:
    """`output` with the images of `other` (and what the safety checker said of them) where `take` is True."""
    mixed = _mixed(images_in(output), images_in(other), take)
    if isinstance(output, tuple) and not hasattr(output, "images"):
        return (mixed, *(_mixed(a, b, take) for a, b in zip(output[1:], other[1:], strict=True)))
    output.images = mixed
    if hasattr(output, "image"):
        output.image = mixed
    if getattr(output, "nsfw_content_detected", None) is not None:
        output.nsfw_content_detected = _mixed(output.nsfw_content_detected, other.nsfw_content_detected, take)
    return output


def images_in(output: Any) -> Any:
    """The images of a pipeline's return, as it has them."""
    return output.images if hasattr(output, "images") else output[0]


def _mixed(mine: Any, theirs: Any, take: Sequence[bool]) -> Any:
    if isinstance(mine, Tensor):
        where = per_sample(torch.tensor(take, device=mine.device), mine)
        return torch.where(where, theirs, mine)
    if isinstance(mine, np.ndarray):
        return np.where(np.asarray(take).reshape(-1, *[1] * (mine.ndim - 1)), theirs, mine)
    if isinstance(mine, list):
        return [b if other else a for a, b, other in zip(mine, theirs, take, strict=True)]
    return mine
