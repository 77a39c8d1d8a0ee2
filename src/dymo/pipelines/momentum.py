"""What a pipeline's guidance keeps from step to step, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..guidance.loop import Rows, pick, put
from .families import Family


class Momentum:
    """A step that is evaluated again begins with what its first evaluation began with, the next step with what was left by this one.

    Guidance updates what it keeps at every evaluation, for the whole batch: without this, a step taken twice would count twice, and
    gradients would go on from step to step. A family that keeps nothing (`Family.kept`) is left alone.
    """

    def __init__(self, family: Family, pipe: Any, given: Mapping[str, Any]):
        self.family, self.of = family, (pipe, given)
        self._before: Tensor | None = None
        self._after: Tensor | None = None
        self._is_known = False
        """Whether what a step begins with is known; before the first step the pipeline itself sees to it."""

    def begin(self) -> None:
        """The pipeline is about to evaluate at a noise level, for the first time or again."""
        if self._is_known:
            self.family.keep(*self.of, self._before)

    def take(self, rows: Rows) -> None:
        """The samples `rows` have taken their step from the last evaluation."""
        found = self.family.kept(*self.of)
        if found is not None:
            found = found.detach()
            self._after = put(found if self._after is None else self._after, rows, pick(found, rows))

    def accept(self, origin: Rows | None) -> None:
        """The step is over. origin: whose past each sample goes on from, where not its own."""
        self._before = self._after if self._after is None or origin is None else self._after[origin]
        self._after, self._is_known = self._before, True

    def end(self) -> None:
        """The run is over: what is kept stays with the pipeline, and no graph with it."""
        found = self.family.kept(*self.of)
        if found is not None:
            self.family.keep(*self.of, found.detach())
