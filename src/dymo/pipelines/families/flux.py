"""FLUX.1: joint attention, the prompt's tokens (T5's) before the image's; packed latents; guidance distilled, or in two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from ..kernel import Places
from ..packing import Packing
from . import Branches, Encoder, inner
from .transformer import Transformer


class Packed(Transformer):
    """Latents as a sequence of patches of 2 x 2, in an attention where the prompt's tokens lie before the image's."""

    patch: int | None = 2

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> Packing:
        rows, columns = (2 * (int(given[side]) // (pipe.vae_scale_factor * 2)) for side in ("height", "width"))
        return Packing(rows, columns, self.side(pipe))

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        length = kwargs["encoder_hidden_states"].shape[1]
        return Places(length, 0, length)


class Flux(Packed):
    """The family of `FluxTransformer2DModel`: dev and schnell have one row a sample; true guidance is a second call."""

    # Of the 19 double blocks those that localise words best (arXiv 2502.04320); the single ones have mixed them by then.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {19: (10, 17)}

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        return Branches(1, None, 0) if call else Branches(1, 0, None)

    def guided(self, pipe: Any, given: Mapping[str, Any]) -> bool:
        return self.scale(pipe, given) > 1

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        negative = given.get("negative_prompt") is not None or given.get("negative_prompt_embeds") is not None
        return max(1.0, float(given.get("true_cfg_scale") or 1.0)) if negative else 1.0

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """CLIP gives one vector for the whole prompt, and no keys."""
        if pipe.tokenizer_2 is None:
            return ()
        return (Encoder(pipe.tokenizer_2, 0, given.get("max_sequence_length") or 512, text_name="prompt_2"),)


class TwoCalls(Flux):
    """FLUX.1's form where the pipeline itself says whether it runs with guidance, which is a second call."""

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return float(pipe.guidance_scale) if getattr(pipe, "do_classifier_free_guidance", False) else 1.0


def every_block(pipe: Any) -> list[nn.Module]:
    """The double blocks and the single ones, to be run again where diffusers' own switch does not pass them all of their arguments."""
    denoiser = inner(pipe.transformer)
    return [*denoiser.transformer_blocks, *denoiser.single_transformer_blocks]
