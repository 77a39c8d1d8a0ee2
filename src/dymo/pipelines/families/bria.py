"""Bria 3.2 and FIBO: FLUX.1's form with one batch for guidance; FIBO's blocks have each a layer of SmolLM3 for half of the prompt's width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ..packing import Packing
from . import Encoder
from .flux import Flux, Packed
from .transformer import filled


class Bria(Packed):
    """The family of `BriaTransformer2DModel`: T5's tokens, without a mask; behind them zeros fill up."""

    read: ClassVar[Mapping[int, tuple[int, int]]] = Flux.read

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> Packing:
        """The pipeline's own factor is that of its packed latents."""
        rows, columns = (2 * (int(given[side]) // pipe.vae_scale_factor) for side in ("height", "width"))
        return Packing(rows, columns, 2)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 128),)


class Fibo(Packed):
    """The family of `BriaFiboTransformer2DModel`: what fills up is masked; latents are a sequence of pixels, or of patches of 2 x 2."""

    read: ClassVar[Mapping[int, tuple[int, int]]] = Flux.read
    patch = None

    def doubled(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        return bool(given["guidance_scale"] > 1)

    def side(self, pipe: Any) -> int:
        """As many as make its channels of the VAE's."""
        return 1 if pipe.transformer.config.in_channels == pipe.vae.config.z_dim else 2

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> Packing:
        rows, columns = (int(given[side]) // pipe.vae_scale_factor for side in ("height", "width"))
        return Packing(rows, columns, self.side(pipe))

    def reworded(self, encoded: tuple, change: Callable[[Tensor], Tensor]) -> tuple:
        """Blocks read layers of their own, each (B, tokens, channels)."""
        prompt, *between, layers, negative_layers = encoded
        return change(prompt), *between, [change(layer) for layer in layers], negative_layers

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The prompts of a call are filled up to the longest of them by the tokenizer, on its side, and then behind."""
        window = given.get("max_sequence_length") or 3000
        return (Encoder(pipe.tokenizer, 0, window, filled=filled(pipe.tokenizer, given.get("prompt"), window)),)
