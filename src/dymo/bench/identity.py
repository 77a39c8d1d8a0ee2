"""What tells weights, files and settings from others: short names and hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..miniature import MINIATURE, WEIGHTS
from ..pipelines.variants import read_lora
from .rows import loras_of

LARGE = 64 * 2**20  # bytes from which a weight file is told by its size and time instead of its content


def lora_words(lora: str | Sequence[str] | None) -> list[str]:
    """LoRAs by their short names, with the strength where it is not 1."""
    found = ((short_name(source), strength) for source, strength in map(read_lora, loras_of(lora)))
    return [str(name) if strength == 1 else f"{name}:{strength:g}" for name, strength in found]


def short_name(source: str | None) -> str | None:
    """A file or folder of this machine by its last name; anything else as it is."""
    return Path(source).name if source and Path(source).exists() else source


def digest(name: str | None) -> str:
    """A hash of the weights or code that a local name stands for; "" for what is on the hub, which its id tells.

    name: "miniature", a folder of its weights, another file or folder of safetensors, or FILE.py:NAME.
    """
    if not name:
        return ""
    own = WEIGHTS / ("pipeline" if name == MINIATURE else name)
    path = own if own.exists() else Path(name.rpartition(":")[0] if ".py:" in name else name)
    return _digest(path.resolve()) if path.exists() else ""


@cache
def _digest(path: Path) -> str:
    found = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*.safetensors")):
        found.update(file.name.encode())
        size = file.stat().st_size
        found.update(file.read_bytes() if size < LARGE else f"{size} {file.stat().st_mtime_ns}".encode())
    return found.hexdigest()[:16]


def hashed(value: Any) -> str:
    """Sixteen letters that tell a JSON value from others."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
