"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ..errors import ConfigError


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write `content` to `path`, making its folder; what was there before stays whole until the new file is.

    Raises ConfigError where the folder is read-only, full, or no folder at all.
    """
    path = Path(path)
    beside = path.parent / f".{path.name[:80]}.{uuid.uuid4().hex[:8]}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not tempfile: its files are private (0600), and a report is meant to be shared.
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        remedy = "choose another folder, or make room in this one"
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error
    return path


def write_text(path: str | Path, content: str) -> Path:
    """`write_bytes` in UTF-8."""
    return write_bytes(path, content.encode("utf-8"))
