"""What weights are: so that a result of other weights is not taken for one of these."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from ..miniature import WEIGHTS

LARGE = 64 * 2**20
"""Bytes from which a file is told by its size and time in place of its content."""


def weights_of(name: str | None) -> str:
    """A digest of the weights that a local name stands for; "" for what lies on the hub, which its id tells.

    name: "miniature", the miniature's own scorers and judge, a file, or a folder of safetensors.
    """
    if not name:
        return ""
    own = WEIGHTS / ("pipeline" if name == "miniature" else name)
    path = own if own.exists() else Path(name)
    return _digest(path.resolve()) if path.exists() else ""


@cache
def _digest(path: Path) -> str:
    found = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*.safetensors")):
        found.update(file.name.encode())
        size = file.stat().st_size
        found.update(file.read_bytes() if size < LARGE else f"{size} {file.stat().st_mtime_ns}".encode())
    return found.hexdigest()[:16]
