"""Settings of a pipeline's modules that hold for one run, and are put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def frozen(pipe: Any) -> Iterator[None]:
    """No parameter of the pipeline needs a gradient inside: `from_pretrained` leaves them on, and graphs would grow."""
    modules = [component for component in pipe.components.values() if isinstance(component, nn.Module)]
    thawed = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in thawed:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


@contextmanager
def checkpointed(modules: Iterable[Any]) -> Iterator[None]:
    """The modules' own gradient checkpointing is on inside, where they have one that was off."""
    switched = []
    try:
        for module in modules:
            if getattr(module, "_supports_gradient_checkpointing", False) and not module.is_gradient_checkpointing:
                module.enable_gradient_checkpointing()
                switched.append(module)
        yield
    finally:
        for module in switched:
            module.disable_gradient_checkpointing()
