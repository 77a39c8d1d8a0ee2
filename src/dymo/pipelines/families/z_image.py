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

_MULTIPLE = 32  # tokens of the image are filled up to a multiple of it


class ZImage(Transformer):
    """The family of `ZImageTransformer2DModel`. Guidance is positive rows first, and counts from 0: pos + w (pos - neg)."""

    blocks, attention = "layers", "attention"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {30: (5, 9)}
    patch = 2

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

        return tuple(of(x) for x in args), {name: of(x) for name, x in kwargs.items()}

    def joined(self, output: Any) -> Tensor:
        return torch.stack(output)

    def returned(self, output: Tensor) -> Any:
        return list(output.unbind())

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        prompts = args[2] if len(args) > 2 else kwargs["cap_feats"]
        image = tokens[0] * tokens[1]
        return Places(0, image + -image % _MULTIPLE, max(len(x) for x in prompts))

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        before, after = around(pipe.tokenizer, add_generation_prompt=True, enable_thinking=True)
        return (Encoder(pipe.tokenizer, 0, given.get("max_sequence_length") or 512, before=before, after=after),)
