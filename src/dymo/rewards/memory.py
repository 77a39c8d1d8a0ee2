"""Gradient checkpointing of a frozen tower: less memory, a second forward."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_layers(layers: Iterable[nn.Module]) -> None:
    """Let each layer keep only its input for the backward, and compute the rest again.

    transformers' own switch acts in training mode alone; a frozen reward is never in it.
    """
    for layer in layers:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)
