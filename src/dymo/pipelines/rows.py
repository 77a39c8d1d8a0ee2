"""Rows of a batch inside the nested arguments of a forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(f: Callable[[Tensor], Any], tree: Any) -> Any:
    """`tree` (tensors in dicts, lists, tuples) with `f` applied to each tensor."""
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, dict):
        return type(tree)((key, map_tensors(f, value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tensors(f, value) for value in tree)
    return tree


def take(tree: Any, rows: Tensor, batch: int) -> Any:
    """The given rows of every tensor whose first dimension is the batch; the rest as it is."""
    return map_tensors(lambda x: x[rows] if x.ndim and x.shape[0] == batch else x, tree)
