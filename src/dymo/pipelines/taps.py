"""Read-only taps on cross-attention: hooks on the query and key projections, attention processors left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import PipelineError
from ..parts import Set, Setting
from .attention import Lean

# Scores of attention, in bytes of float32, that are computed at once: an SDXL image's.
_AT_ONCE = 2**29


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
    _given: list[_Group] = field(default_factory=list)

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
        self._given.clear()
        for processor in self._lean.values():
            processor.seen = None

    def kept(self) -> list[Tensor]:
        """Queries and keys of the modules that are alike, one after the other, in order."""
        return [x for group in self._groups() for x in (group.q, group.k)]

    def keep(self, tensors: Sequence[Tensor]) -> int:
        """Take the last of `tensors` for what `kept` gives, and tell how many these are."""
        alike = self._alike()
        n = 2 * len(alike)
        self._given = [
            _Group(names, self.modules[names[0]].scale, q, k)
            for names, q, k in zip(alike, tensors[-n::2], tensors[1 - n :: 2], strict=True)
        ]
        return n

    @staticmethod
    def _keep(name: str, kept: dict[str, Tensor]) -> Callable[..., None]:
        def hook(_module, _inputs, output):
            kept.setdefault(name, output)

        return hook

    def maps(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> Tensor:
        """softmax(q k^T scale) averaged over heads and modules, float32: (batch, pixels, tokens).

        change: applied to q (batch, modules, heads, n, d) and k (.., m, d) of modules alike first, to cut the graph. rows: of the batch.
        """
        total: Tensor | None = None
        for group in self._groups(rows):
            q, k = change(group.q), change(group.k)
            batch, layers, heads, n, _ = q.shape
            at_once = max(1, _AT_ONCE // (4 * batch * heads * n * k.shape[-2]))
            # The gradient of a part is a copy.
            parts = [(q, k)] if layers <= at_once else zip(q.split(at_once, 1), k.split(at_once, 1), strict=True)
            for some, keys in parts:
                found = softmax(some, keys, group.scale).mean((1, 2))
                if some.shape[1] < len(self.modules):
                    found = found * (some.shape[1] / len(self.modules))
                total = found if total is None else total + found
        assert total is not None
        return total

    def layers(self, change: Callable[[Tensor], Tensor] = lambda x: x, rows: slice = slice(None)) -> dict[str, Tensor]:
        """`maps` of each module by itself."""
        found = {
            name: softmax(change(group.q[:, i]), change(group.k[:, i]), group.scale).mean(1)
            for group in self._groups(rows) for i, name in enumerate(group.names)
        }  # fmt: skip
        return {name: found[name] for name in self.modules}

    def _alike(self) -> list[list[str]]:
        """The names of the modules whose queries and keys can be stacked, group by group: all are of one grid, and of the same words."""
        found: dict[Any, list[str]] = {}
        for name, module in self.modules.items():
            found.setdefault((module.heads, module.scale, getattr(module.to_q, "out_features", None)), []).append(name)
        return list(found.values())

    def _groups(self, rows: slice = slice(None)) -> list[_Group]:
        if not self._given:
            for name, processor in self._lean.items():
                assert processor.seen is not None
                self.queries[name], self.keys[name] = processor.seen
            if silent := next((name for name in self.modules if name not in self.queries or name not in self.keys), None):
                raise PipelineError(
                    f"the attention processor of {silent}, {type(getattr(self.modules[silent], 'processor', None)).__name__}, does not call the "
                    "modules to_q and to_k, so its maps cannot be read: call them in it, set the default attention processors "
                    "(pipe.unet.set_default_attn_processor()), or ", Set(Setting("semantic_weight", 0)),
                )
            return [self._group(names, rows) for names in self._alike()]
        return [group._replace(q=_rows(group.q, rows), k=_rows(group.k, rows)) for group in self._given]

    def _group(self, names: list[str], rows: slice) -> _Group:
        heads, scale = self.modules[names[0]].heads, self.modules[names[0]].scale
        # Copied to the order of the product while in half precision.
        q, k = (
            torch.stack([_rows(kept[name], rows) for name in names], 1).unflatten(-1, (heads, -1)).transpose(2, 3).contiguous()
            for kept in (self.queries, self.keys)
        )
        return _Group(names, scale, q, k)


class _Group(NamedTuple):
    """Modules alike: their queries (batch, modules, heads, n, d) and keys (batch, modules, heads, m, d)."""

    names: list[str]
    scale: float
    q: Tensor
    k: Tensor


def _rows(x: Tensor, rows: slice) -> Tensor:
    """Rows of a batch; the batch itself where these are all, as the gradient of a part is a copy."""
    return x if range(len(x))[rows] == range(len(x)) else x[rows]


def softmax(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """softmax(q k^T scale) of q (..., n, d), k (..., m, d): (..., n, m).

    In float32, as fused attention accumulates: q k^T itself overflows in half precision where attention does not.
    """
    several, q, k = q.shape[:-2], q.float().flatten(0, -3), k.float().flatten(0, -3)
    # The keys are scaled, which are few: the scores' gradient would be scaled with them.
    return torch.softmax(q @ (k * scale).transpose(1, 2), dim=-1).unflatten(0, several)
