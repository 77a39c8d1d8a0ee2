"""Qwen-Image: joint attention, the prompt's tokens (Qwen2.5-VL's, in a chat) before the image's; packed latents; two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...parts import Argument
from ..calls import loop_call, undecorated
from . import Encoder
from .flux import Flux


class QwenImage(Flux):
    """The family of `QwenImageTransformer2DModel`: packed and guided as FLUX.1."""

    read: ClassVar[Mapping[int, tuple[int, int]]] = {60: (12, 20)}

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The chat's first tokens are taken off again; in Edit's chat the pictures come before the prompt."""
        before, after = pipe.prompt_template_encode.split("{}")
        dropped = pipe.prompt_template_encode_start_idx
        if hasattr(pipe, "processor"):
            before, further = _with_pictures(pipe, before, given)
            return (Encoder(pipe.tokenizer, further, before=before, after=after, dropped=dropped),)
        window = min(pipe.tokenizer_max_length, given.get("max_sequence_length") or pipe.tokenizer_max_length)
        return (Encoder(pipe.tokenizer, 0, window, before=before, after=after, dropped=dropped),)


def _with_pictures(pipe: Any, before: str, given: Mapping[str, Any]) -> tuple[str, int]:
    """What is written before the prompt, and how many tokens more the pictures take there: each as many as its size makes.

    As the pipelines do, by their own functions: Edit brings its picture to a million pixels, Edit-Plus each to a number that it names.
    Raises PipelineError where they are no PIL images.
    """
    images = given["image"] if isinstance(given["image"], list) else [given["image"]]
    if not all(isinstance(getattr(image, "size", None), tuple) for image in images):
        raise PipelineError(
            Argument("image"), f": the tokens of its pictures are counted by their sizes, for which {type(pipe).__name__} takes PIL images",
        )
    scope = undecorated(loop_call(type(pipe))).__globals__
    pixels = scope.get("CONDITION_IMAGE_SIZE")
    if pixels is None:
        images, pixels = images[:1], 1024 * 1024
    else:
        before += "".join(f"Picture {i + 1}: <|vision_start|><|image_pad|><|vision_end|>" for i in range(len(images)))
    sizes = [scope["calculate_dimensions"](pixels, image.size[0] / image.size[1])[:2] for image in images]
    seen = [pipe.image_processor.resize(image, height, width) for image, (width, height) in zip(images, sizes, strict=True)]
    read = pipe.processor(text=[before], images=seen, padding=True, return_tensors="pt")["input_ids"]
    return before, read.shape[1] - len(pipe.tokenizer(before)["input_ids"])
