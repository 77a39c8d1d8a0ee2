"""LongCat-Image: FLUX.1's form with the prompt's tokens of Qwen2.5-VL, in a chat that is cut off again; guidance in two calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...parts import Argument, Set, Setting
from ..kernel import Places
from . import Encoder
from .flux import TwoCalls


class LongCatImage(TwoCalls):
    """The family of `LongCatImageTransformer2DModel`."""

    # As deep as FLUX.1's.
    read: ClassVar[Mapping[int, tuple[int, int]]] = {10: (5, 9)}

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        """Before the prompt's tokens, filled up to their greatest number, lie those of a picture that is to be edited."""
        length = kwargs["encoder_hidden_states"].shape[1]
        window = min(length, pipe.tokenizer_max_length)
        return Places(length, length - window, window)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The chat around the prompt is tokenised by itself, so that its tokens are all before or behind the prompt's."""
        if given.get("enable_prompt_rewrite"):
            raise PipelineError(
                Argument("enable_prompt_rewrite", True),
                ", the default, has the text encoder write another prompt, whose words are not known before the run: ",
                Set(Argument("enable_prompt_rewrite", False)),
                " and, to keep what it writes, give pipe.rewire_prompt(prompt, pipe.device) as the prompt; or ", Set(Setting("semantic_weight", 0)),
            )
        tokenizer = Spelling(pipe.tokenizer)
        prompts = given.get("prompt") or []
        for prompt in [prompts] if isinstance(prompts, str) else prompts:
            if (read := "".join(tokenizer.pieces(prompt))) != prompt:
                raise PipelineError(
                    f"the pipeline makes {read!r} of the apostrophes in the prompt, so that its words cannot be found: write at most one word "
                    "with an apostrophe inside, or ", Set(Setting("semantic_weight", 0)),
                )
        return (Encoder(tokenizer, 0, pipe.tokenizer_max_length),)


class Spelling:
    """The pipeline's way to read: a quotation is read letter by letter, its marks too, and no special tokens are added."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def pieces(self, text: str) -> Iterator[str]:
        """What is tokenised by itself."""
        from diffusers.pipelines.longcat_image.pipeline_longcat_image import split_quotation

        for part, quoted in split_quotation(text):
            yield from part if quoted else [part]

    def __call__(self, text: str, **settings: Any) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {"input_ids": [], "offset_mapping": []}
        start = 0
        for piece in self.pieces(text):
            own = self.tokenizer(piece, add_special_tokens=False, **settings)
            found["input_ids"] += own["input_ids"]
            found["offset_mapping"] += [(a + start, b + start) for a, b in own.get("offset_mapping", ())]
            start += len(piece)
        return found
