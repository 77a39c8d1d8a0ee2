"""Read-only taps on cross-attention: hooks on the query and key projections, attention processors left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .attention import Lean

# Scores of attention, in bytes of float32, that are computed at once.
_AT_ONCE = 2**28


@dataclass
class AttentionTaps(AbstractContextManager):
    """Keeps the queries and keys of the chosen attention modules' last forward while the context is open.

    `modules`: name -> a diffusers `Attention` with `to_q`, `to_k`, `heads` and `scale`; their maps are of `grid` = (rows,
    columns), and after the block `last` nothing that is read depends on the latents. Under gradient checkpointing the
    hooks fire a second time in the backward; the first tensors, which belong to the graph, are kept.
    """

    modules: Mapping[str, nn.Module]
    grid: tuple[int, int] = (0, 0)
    last: nn.Module | None = None
    queries: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, Tensor] = field(default_factory=dict)
    _handles: list = field(default_factory=list)
    _lean: dict[str, Lean] = field(default_factory=dict)

    def __enter__(self) -> AttentionTaps:
        for name, module in self.modules.items():
            processor = getattr(module, "processor", None)
            if isinstance(processor, Lean):
                self._lean[name] = processor
                continue
            for projection, kept in (("to_q", self.queries), ("to_k", self.keys)):
                self._handles.append(getattr(module, projection).register_forward_hook(self._keep(name, kept)))
        return self

    def __exit__(self, *exc) -> None:
        for handle in self._handles:
            handle.remove()
        self.watch(False)
        self._handles.clear()
        self.clear()
        self._lean.clear()

    def watch(self, on: bool) -> None:
        """Whether the forward to come is read. What has compiled the attention has it with and without."""
        for processor in self._lean.values():
            processor.watched = on

    def clear(self) -> None:
        """Forget what was seen; call before each forward that is to be read."""
        self.queries.clear()
        self.keys.clear()
        for processor in self._lean.values():
            processor.seen = None

    def kept(self) -> list[Tensor]:
        """Queries and keys of each module, in order."""
        self._collect()
        return [x for name in self.modules for x in (self.queries[name], self.keys[name])]

    def keep(self, tensors: Sequence[Tensor]) -> int:
        """Take the last of `tensors` for what `kept` gives, and tell how many these are."""
        n = 2 * len(self.modules)
        for name, q, k in zip(self.modules, tensors[-n::2], tensors[1 - n :: 2], strict=True):
            self.queries[name], self.keys[name] = q, k
            if name in self._lean:
                self._lean[name].seen = (q, k)
        return n

    @staticmethod
    def _keep(name: str, kept: dict[str, Tensor]) -> Callable[..., None]:
        def hook(_module, _inputs, output):
            kept.setdefault(name, output)

        return hook

    def maps(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> Tensor:
        """softmax(q k^T scale) averaged over heads and modules, float32: (batch, pixels, tokens).

        change: applied to each module's q and k (batch, n, width) first, to cut the graph. rows: of the batch.
        """
        total: Tensor | None = None
        for scale, q, k in self._alike(rows):
            found = _softmax(change(q), change(k), scale).mean((1, 2))
            if q.shape[1] < len(self.modules):
                found = found * (q.shape[1] / len(self.modules))
            total = found if total is None else total + found
        assert total is not None
        return total

    def layers(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> dict[str, Tensor]:
        """`maps` of each module by itself."""
        self._collect()
        return {
            name: probabilities(change(self.queries[name][rows]), change(self.keys[name][rows]), module.heads, module.scale).mean(1)
            for name, module in self.modules.items()
        }

    def _collect(self) -> None:
        for name, processor in self._lean.items():
            assert processor.seen is not None
            self.queries[name], self.keys[name] = processor.seen

    def _alike(self, rows: slice) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Layers alike, as many as are read at once: their scale, queries (batch, layers, heads, n, d) and keys (.., m, d)."""
        self._collect()
        alike: dict[Any, list[str]] = {}
        for name, module in self.modules.items():
            alike.setdefault((self.queries[name].shape, self.keys[name].shape, module.heads, module.scale), []).append(
                name
            )
        for (queries, keys, heads, scale), names in alike.items():
            own = range(queries[0])[rows]
            at_once = max(1, _AT_ONCE // (4 * len(own) * heads * queries[1] * keys[1]))

            def of(
                kept: dict[str, Tensor],
                chosen: list[str],
                batch: int = queries[0],
                own: range = own,
                heads: int = heads,
            ) -> Tensor:
                several = [kept[name] if len(own) == batch else kept[name][own.start : own.stop] for name in chosen]
                return torch.stack(several, 1).unflatten(-1, (heads, -1)).transpose(2, 3)

            for first in range(0, len(names), at_once):
                chosen = names[first : first + at_once]
                yield scale, of(self.queries, chosen), of(self.keys, chosen)


def probabilities(q: Tensor, k: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(q k^T scale) of q (b, n, h d), k (b, m, h d): (b, h, n, m), each pixel's tokens summing to 1."""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
    return _softmax(q, k, scale)


def _softmax(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """softmax(q k^T scale) of q (..., n, d), k (..., m, d): (..., n, m).

    In float32, as fused attention accumulates: q k^T itself overflows in half precision where attention does not.
    """
    several, q, k = q.shape[:-2], q.float().flatten(0, -3), k.float().flatten(0, -3)
    # One operation scales and multiplies; with beta=0 it does not read its first argument.
    scores = torch.baddbmm(q.new_empty(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=scale)
    return torch.softmax(scores, dim=-1).unflatten(0, several)
