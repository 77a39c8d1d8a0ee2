"""What a loop over a pipeline may be opened with: which attention maps are read, and how its denoiser is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .graphed import Graphs


@dataclass(frozen=True)
class MapChoice:
    """size: rows of the maps, and layers: numbers of the attention layers, None: as the family says. all_rows: the mean over all rows
    of the guidance, in place of the conditional ones."""

    size: int | None = None
    layers: Sequence[int] | None = None
    all_rows: bool = False


@dataclass(frozen=True)
class Execution:
    """How the denoiser is run, which changes the last bits of its output at most.

    lean: fewer operations, and a few more bytes: attention by `Lean` where it can be, rows of guidance with and without a graph in one
    forward. backend: of torch.compile, for the denoiser's repeated blocks; with `graphs`, which captures its forwards, for its small
    functions (`fused`).
    """

    lean: bool = False
    backend: str | None = None
    graphs: Graphs | None = None

    @property
    def fixed(self) -> bool:
        """All samples run whichever are asked for, so that shapes stay."""
        return self.backend is not None or self.graphs is not None

    @property
    def at_once(self) -> bool:
        """Rows of guidance that have no graph run in one forward with those that have one: not through compiled blocks."""
        return self.lean and (self.backend is None or self.graphs is not None)


USUAL_MAPS = MapChoice()
PLAIN = Execution()
"""As the pipeline itself runs it."""
