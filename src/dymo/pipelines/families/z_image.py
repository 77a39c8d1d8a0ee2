"""Z-Image: one stream of the image's tokens and the prompt's (Qwen3's, in a chat); lists in place of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...guidance.loop import Rows
from ..kernel import Places
from ..rows import rows_of
from . import Branches, Encoder
from .transformer import Transformer, around

_MULTIPLE = 32  # tokens of the image, and those of the prompt, are filled up to a multiple of it


class ZImage(Transformer):
    """The family of `ZImageTransformer2DModel`. Guidance is positive rows first, and counts from 0: pos + w (pos - neg)."""

    blocks, attention = "layers", "attention"
    sign = -1.0
    by_image = ("mask_image",)
    read: ClassVar[Mapping[int, tuple[int, int]]] = {30: (5, 9)}
    patch = 2
    unguided_scale = 0.0

    def patches(self, pipe: Any) -> Sequence[tuple[Any, str, Any]]:
        """Its ControlNet asks for this flag where there are gradients, and diffusers sets it nowhere."""
        net = getattr(pipe, "controlnet", None)
        return [] if net is None or hasattr(net, "gradient_checkpointing") else [(net, "gradient_checkpointing", False)]

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        return Branches(2, 0, 1, truncated=True) if pipe.do_classifier_free_guidance else Branches(1, 0, None)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return 1.0 + float(pipe.guidance_scale)

    def sample(self, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
        return torch.stack(args[0] if args else kwargs["x"])

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        def of(x: Any) -> Any:
            if isinstance(x, list) and len(x) == batch:
                return [x[i] for i in rows]
            if isinstance(x, dict):
                return {name: of(value) for name, value in x.items()}
            return rows_of(x, rows) if isinstance(x, Tensor) and x.ndim and len(x) == batch else x

        args, kwargs = tuple(of(x) for x in args), {name: of(x) for name, x in kwargs.items()}
        if control := kwargs.get("controlnet_block_samples"):
            # A ControlNet's are as long as the longest of the batch, which may be another row.
            image, prompts = (args[i] if len(args) > i else kwargs[name] for i, name in ((0, "x"), (2, "cap_feats")))
            length = max(_filled(x[0].numel() // self.patch**2) + _filled(len(prompt)) for x, prompt in zip(image, prompts, strict=True))
            kwargs["controlnet_block_samples"] = {layer: x[:, :length] for layer, x in control.items()}
        return args, kwargs

    def joined(self, output: Any) -> Tensor:
        return torch.stack(output)

    def returned(self, output: Tensor, kwargs: Mapping[str, Any]) -> Any:
        return list(output.unbind())

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        prompts = args[2] if len(args) > 2 else kwargs["cap_feats"]
        return Places(0, _filled(tokens[0] * tokens[1]), max(len(x) for x in prompts))

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        before, after = around(pipe.tokenizer, add_generation_prompt=True, enable_thinking=True)
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 512, before=before, after=after),)


def _filled(tokens: int) -> int:
    return tokens + -tokens % _MULTIPLE
