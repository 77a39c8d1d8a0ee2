"""Counts floating-point operations, 2 a multiply-add: torch's counter with the attention kernel of the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def flop_counter() -> FlopCounterMode:
    """A context that counts; `get_total_flops` is the sum, and nothing is told by module.

    What tells by module hooks the inputs of each, which torch cannot where one is a leaf and the gradient asked for is its own.
    """
    aten = torch.ops.aten
    kernels = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    counter = FlopCounterMode(display=False, custom_mapping=kernels)
    counter.mod_tracker = _Whole()
    return counter


class _Whole:
    """In place of a tracker of modules."""

    parents = frozenset({"Global"})

    def __enter__(self) -> _Whole:
        return self

    def __exit__(self, *exc: Any) -> None:
        pass


def _attention(query: Any, key: Any, value: Any, *_args: Any, out_shape: Any = None, **_kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, *_args: Any, out_shape: Any = None, **_k: Any
) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)
