"""PRX: the image's tokens look at the prompt's (T5Gemma's) and at each other, the prompt's at nothing; one batch for guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ...parts import Argument, Set
from ..kernel import Places
from . import Encoder
from .transformer import Transformer, check_read


class PRX(Transformer):
    """The family of `PRXTransformer2DModel`: queries are the image's alone, keys the prompt's before the image's."""

    blocks, attention = "blocks", "attention"
    read: ClassVar[Mapping[int, tuple[int, int]]] = {16: (4, 6)}

    def run(self, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """The pipeline tells the timestep, which is one for all, for as many rows as one image has."""
        times = kwargs["timestep"]
        fits = len(times) in (1, len(kwargs["hidden_states"]))
        return super().run(forward, args, kwargs if fits else {**kwargs, "timestep": times[:1]})

    def places(self, pipe: Any, args: tuple, kwargs: Mapping[str, Any], tokens: tuple[int, int]) -> Places:
        return Places(0, 0, kwargs["encoder_hidden_states"].shape[1])

    def encoders(self, pipe: Any, given: Mapping[str, Any]) -> Sequence[Encoder]:
        """The prompt is cleaned first: into small letters, or of its entities alone."""
        plain = bool(given.get("skip_text_cleaning"))
        clean = pipe.text_preprocessor.basic_clean if plain else pipe.text_preprocessor.clean_text
        if plain:
            check_read(given, clean)
        else:
            check_read(given, clean, lambda prompt: prompt.lower().strip(), Set(Argument("skip_text_cleaning", True)))
        return (Encoder(pipe.tokenizer, 0, given.get("tokenizer_max_length") or pipe.tokenizer.model_max_length, lower=not plain),)
