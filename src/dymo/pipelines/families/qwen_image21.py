"""Qwen-Image 2.1: one stream of the prompt's tokens (Qwen3-VL's, in a chat) and the image's, which alone sees what follows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ...errors import PipelineError
from ...guidance.loop import Rows
from ...parts import Argument, Set
from ..kernel import Places
from ..rows import rows_of
from . import Encoder
from .flux import Flux


class QwenImage21(Flux):
    """The family of `QwenImage21Transformer2DModel`: guided as FLUX.1, its latents a sequence of pixels.

    The prompt's tokens do not depend on latents or noise level: the pipeline keeps their keys and values of the first step
    (`kv_cache`), and the later steps run the image's tokens alone.
    """

    read: ClassVar[Mapping[int, tuple[int, int]]] = {32: (6, 10)}
    patch = 1
    kernel_call = -1  # the prompt's tokens are queries of calls before

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        args, kwargs = super().take(args, kwargs, rows, batch)
        cache = kwargs.get("kv_cache")
        if cache is None:
            return args, kwargs
        if kwargs["kv_cache_mode"] == "extract":  # what is kept is that of all rows, and they ran before
            return args, {**kwargs, "kv_cache": None, "kv_cache_mode": None}
        own = type(cache)(len(cache.layer_caches))
        for layer, of_all in zip(own.layer_caches, cache.layer_caches, strict=True):
            layer.store(*(rows_of(x, rows) for x in of_all.get()))
        return args, {**kwargs, "kv_cache": own}

    def run(self, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """The image's tokens of the output, (B, tokens, channels); what is kept of the first step is kept without its graph."""
        tokens = math.prod(kwargs["img_shapes"][0][-1])
        cache = kwargs.get("kv_cache")
        if cache is None or kwargs["kv_cache_mode"] == "cached":
            return super().run(forward, args, kwargs)[:, -tokens:]
        if kwargs["encoder_hidden_states"].requires_grad:
            raise PipelineError(
                Argument("use_kv_cache", True), " keeps what the first step makes of the prompt, and no gradient to its embeddings: ",
                Set(Argument("use_kv_cache", False)),
            )
        own = type(cache)(len(cache.layer_caches))
        found = super().run(forward, args, {**kwargs, "kv_cache": own})
        for layer, new in zip(cache.layer_caches, own.layer_caches, strict=True):
            layer.store(*(x.detach() for x in new.get()))
        return found[:, -tokens:]

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        """Condition images lie before the prompt: four tokens for each of the text encoder's, of which `encoders` counts one an image."""
        *images, _ = map(math.prod, kwargs["img_shapes"][0])
        more = sum(images) - len(images)
        return Places(0, more, kwargs["encoder_hidden_states"].shape[1] - sum(images) // 4 + len(images))

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The chat's system message is taken off again."""
        images = given.get("image")
        count = len(images) if isinstance(images, list) else int(images is not None)
        before, after = pipe.prompt_template_t2i.split("{}")
        before += " ".join(f"<image{i + 1}><|vision_start|><|image_pad|><|vision_end|>" for i in range(count))
        return (Encoder(pipe.processor.tokenizer, 0, None, before=before, after=after, dropped=pipe._drop_idx),)
