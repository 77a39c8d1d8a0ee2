"""Libraries that only some users have."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import ConfigError

_EXTRAS = {"pydantic": "bench", "pyarrow.parquet": "bench", "yaml": "bench", "datasets": "hub", "ray": "ray"}


def need(module: str) -> Any:
    """The module. Raises ConfigError naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        name, extra = module.partition(".")[0], _EXTRAS[module]
        raise ConfigError(f"{name} is not installed: pip install 'dymo-diffusion[{extra}]'") from error
