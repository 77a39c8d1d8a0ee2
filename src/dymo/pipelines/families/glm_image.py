"""GLM-Image: a language model writes tokens of a picture, which the denoiser paints; of the prompt it is given texts in quotes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import PipelineError
from ...parts import Argument, Set, Setting
from ..decode import Form
from . import Branches, Encoder
from .flux2 import Flux2


class GlmImage(Flux2):
    """The family of `GlmImageTransformer2DModel`, guided as FLUX.2 klein, without pictures: the preference guides it, words have no maps."""

    read: ClassVar[Mapping[int, tuple[int, int]]] = {}
    patch = None
    form = Form(scaled=False)

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        if given.get("image") is not None:
            raise PipelineError(
                f"{type(pipe).__name__} keeps the keys of its pictures by the rows of the whole batch: leave ", Argument("image"),
                " out, or edit with QwenImageEditPipeline",
            )
        return super().branches(pipe, given, call)

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        raise PipelineError(
            f"the prompt of {type(pipe).__name__} is read by a language model, and its denoiser is given that model's tokens of a picture, so "
            "that words have no maps: ", Set(Setting("semantic_weight", 0)),
        )
