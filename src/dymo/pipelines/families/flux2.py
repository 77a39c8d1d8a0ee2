"""FLUX.2: joint attention, the prompt's tokens (Mistral's or Qwen3's, in a chat) before the image's; latents of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...parts import Argument, Set, Setting
from ..packing import Packing
from . import Branches, Encoder
from .flux import TwoCalls
from .transformer import around


class Flux2(TwoCalls):
    """The family of `Flux2Transformer2DModel`: dev has one row a sample, klein's guidance is a second call."""

    # All of dev's double blocks but the first two; klein has five.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {8: (2, 7), 5: (1, 4)}
    patch: int | None = 1

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        if given.get("image") is not None and any(kind.__name__ == "Flux2KleinKVPipeline" for kind in type(pipe).__mro__):
            raise PipelineError(
                f"{type(pipe).__name__} keeps the keys of its pictures from the first step, which its denoiser gives out beside the prediction: "
                "leave ", Argument("image"), " out, or use Flux2KleinPipeline, which reads the pictures at each step",
            )
        return super().branches(pipe, given, call)

    def packing(self, pipe: Any, given: Mapping[str, Any]) -> Packing:
        rows, columns = (int(given[side]) // (pipe.vae_scale_factor * 2) for side in ("height", "width"))
        return Packing(rows, columns, 1)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        if given.get("caption_upsample_temperature"):
            raise PipelineError(
                Argument("caption_upsample_temperature"), " has the prompt written anew, so that its words cannot be found: leave it out, or ",
                Set(Setting("semantic_weight", 0)),
            )
        window, tokenizer = given.get("max_sequence_length") or 512, pipe.tokenizer
        if not hasattr(pipe, "system_message"):
            before, after = around(tokenizer, add_generation_prompt=True, enable_thinking=False)
            return (Encoder(tokenizer, 0, window, before=before, after=after),)
        said = [{"role": "system", "content": [{"type": "text", "text": pipe.system_message}]}]
        before, after = around(tokenizer, said, parts=True, add_generation_prompt=False)
        inner = getattr(tokenizer, "tokenizer", tokenizer)  # a processor's
        # The chat brings its own start token, and the tokenizer may add another where it is given a text.
        twice = len(inner(before)["input_ids"]) - len(inner(before, add_special_tokens=False)["input_ids"])
        start = inner.bos_token is not None and before.startswith(inner.bos_token)
        return (Encoder(inner, -twice if start else 0, window, before=before, after=after),)
