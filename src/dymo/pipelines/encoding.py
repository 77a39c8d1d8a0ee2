"""The prompt of a run: its embeddings may be changed, and its encoders leave the accelerator once they have read it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from ..errors import PipelineError
from .families import Family
from .hold import parked

Words = Callable[[int, Tensor], Tensor]
"""(i, the i-th kind of the conditional token embeddings, samples first) -> what to condition on."""


class Encoding:
    """words: None, where the pipeline's own embeddings are used. frees: whether the text encoders are parked, as a part of `stack`.

    Raises PipelineError where embeddings are to be changed, and the pipeline has no method that makes them.
    """

    def __init__(self, pipe: Any, family: Family, words: Words | None, frees: bool, stack: ExitStack):
        self.pipe, self.family, self.words, self.stack = pipe, family, words, stack
        if words is not None and not hasattr(pipe, "encode_prompt"):
            raise PipelineError(f"{type(pipe).__name__} has no encode_prompt, so that its prompt's embeddings cannot be optimised")
        self._own = getattr(pipe, "encode_prompt", None)
        self._frees = frees
        self._calls, self._kinds = 0, itertools.count()

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """The pipeline's own `encode_prompt`, with what `words` makes of the prompt's embeddings."""
        assert self._own is not None
        found, words = self._own(*args, **kwargs), self.words
        self._calls += 1
        if words is None or self._calls > self.family.prompt_calls:
            return found
        if isinstance(found, list) or not isinstance(found[0], Tensor):
            raise PipelineError(f"{type(self.pipe).__name__} keeps the embeddings of its prompts apart, so that they cannot be optimised")
        return self.family.reworded(found, lambda embeddings: words(next(self._kinds), embeddings))

    def done(self) -> None:
        """The prompt is read: the text encoders leave the accelerator, once, where that is asked for."""
        if self._frees:
            self._frees = False
            encoders = [m for name, m in self.pipe.components.items() if name.startswith("text_encoder") and m is not None]
            self.stack.enter_context(parked(encoders))
