"""The latents of a run: where the pipeline makes the first ones, what it starts from in their place, and their form."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import PipelineError
from ..parts import Argument
from .families import Family
from .packing import Packing
from .schedulers import initial_scale

Change = Callable[[Tensor], Tensor]


class Latents:
    """Known once the pipeline has made them.

    given: the arguments of the pipeline's call. start: the initial standard normal noise (B, c, h, w) -> what to start from.
    whole: the graph of the whole trajectory is kept.
    """

    def __init__(self, pipe: Any, family: Family, given: Mapping[str, Any], start: Change | None, whole: bool):
        self.pipe, self.family, self.given, self.start, self.whole = pipe, family, given, start, whole
        self._own = getattr(pipe, "prepare_latents", None)
        self.packing: Packing | None = None
        """Where the pipeline keeps them as a sequence."""
        self.known = False
        self.shape: tuple[int, ...] = ()
        """(samples, c, h, w), unpacked."""
        self.dtype = torch.float32

    @property
    def samples(self) -> int:
        """Images of the run."""
        assert self.known
        return self.shape[0]

    def spatial(self, x: Tensor) -> Tensor:
        """The pipeline's latents as (B, c, h, w)."""
        return x if self.packing is None else self.packing.unpack(x)

    def packed(self, z: Tensor) -> Tensor:
        """Latents (B, c, h, w) as the pipeline keeps them."""
        return z if self.packing is None else self.packing.pack(z)

    def prepare(self, *args: Any, **kwargs: Any) -> Any:
        """The pipeline's own `prepare_latents`, and what to start from in place of its latents."""
        assert self._own is not None
        found = self._own(*args, **kwargs)
        first = found[0] if isinstance(found, tuple) else found
        if first.ndim != 4:
            own = inspect.signature(self._own).bind(*args, **kwargs)
            own.apply_defaults()
            self.packing = self.family.packing(self.pipe, {**self.given, **own.arguments})
        first = self._first(first)
        return (first, *found[1:]) if isinstance(found, tuple) else first

    def drawn(self, call: types.FunctionType, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """For a pipeline whose call makes its first latents itself: what is another in that call, global names and arguments."""
        if self._own is not None:
            return {}, {}
        if kwargs.get("latents") is not None:
            return {}, {"latents": self._first(kwargs["latents"])}
        if "randn_tensor" not in call.__code__.co_names:
            raise PipelineError(f"{type(self.pipe).__name__} makes its first latents in a way that is not known: give ", Argument("latents"))
        draw = call.__globals__["randn_tensor"]

        def first_draw(*args: Any, **kwargs: Any) -> Tensor:
            noise = draw(*args, **kwargs)
            return noise if self.known else self._first(noise)

        return {"randn_tensor": first_draw}, {}

    def _first(self, first: Tensor) -> Tensor:
        """What the pipeline starts from in place of its first latents."""
        spatial = self.spatial(first)
        self.known, self.shape, self.dtype = True, tuple(spatial.shape), first.dtype
        if self.start is not None:
            scale = initial_scale(self.pipe.scheduler)
            first = self.packed(self.start(spatial / scale) * scale).to(first.dtype)
        elif not self.whole:
            # The first evaluation's input must be a leaf, or it would have to be repeated.
            first = (first.clone() if first.is_inference() else first.detach()).requires_grad_()
        return first
