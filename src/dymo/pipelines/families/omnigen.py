"""OmniGen: a language model that denoises: one stream of the prompt's tokens, filled up in front, the timestep's and the image's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...guidance.loop import Rows
from ...parts import Argument
from ..kernel import Places
from . import Branches, Encoder
from .transformer import Transformer, longest

_MARK = "\ue000"


class OmniGen(Transformer):
    """The family of `OmniGenTransformer2DModel`, without pictures. The prompt's rows are first; there is guidance whatever its scale."""

    blocks, attention = "layers", "self_attn"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {32: (6, 10)}

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        if given.get("input_images") is not None:
            raise PipelineError(
                Argument("input_images"), " puts pictures among the prompt's tokens, told by the rows of the whole batch: leave it out",
            )
        return Branches(2, 0, 1)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return float(given["guidance_scale"])

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        """Its forward turns all rows by the positions of the first one, whichever these are."""
        first = kwargs["position_ids"][:1]
        args, kwargs = super().take(args, kwargs, rows, batch)
        return args, {**kwargs, "position_ids": first.expand(len(rows), -1)}

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        length = kwargs["input_ids"].shape[1]
        return Places(length + 1, 0, length)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The prompts of a call are filled up to the longest of them and of what is not wanted, which the pipeline's processor brings."""
        processor, tokenizer = pipe.multimodal_processor, pipe.tokenizer
        before, _, after = processor.add_prefix_instruction(_MARK).partition(_MARK)
        prompts, negative = given.get("prompt") or "", inspect.signature(processor.__call__).parameters["negative_prompt"].default
        each = [*([prompts] if isinstance(prompts, str) else prompts), negative]
        filled = longest(tokenizer, [before + one + after for one in each], tokenizer.model_max_length)
        return (Encoder(tokenizer, before=before, after=after, filled=filled),)
