"""Rows of a batch inside the nested arguments of a forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..guidance.loop import Rows, places


def map_tensors(f: Callable[[Tensor], Any], tree: Any) -> Any:
    """`tree` (tensors in dicts, lists, tuples) with `f` applied to each tensor."""
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, dict):
        return type(tree)((key, map_tensors(f, value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tensors(f, value) for value in tree)
    return tree


def take(tree: Any, rows: Rows, batch: int) -> Any:
    """The given rows of every tensor whose first dimension is the batch; the rest as it is."""
    return map_tensors(lambda x: rows_of(x, rows) if x.ndim and x.shape[0] == batch else x, tree)


def rows_of(x: Tensor, rows: Rows) -> Tensor:
    """Rows (n, ...) of a tensor; a view where they follow each other."""
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return x if len(rows) == len(x) else x[rows[0] : rows[0] + len(rows)]
    return x[places(rows, x.device)]
