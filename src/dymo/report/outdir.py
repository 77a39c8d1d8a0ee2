"""Whether a folder can take the results, asked before any work is done."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from ..errors import ConfigError

NEEDED_MB = 20
"""Free space that a run asks for, in MB (10**6 bytes)."""


def check_outdir(path: str | Path, needed_mb: float = NEEDED_MB) -> Path:
    """The folder, if it is there or can be made, can be written, and has `needed_mb` MB free. Leaves nothing behind.

    Raises ConfigError naming the folder and the remedy.
    """
    path = Path(path)
    ground = _nearest_existing(path)
    if not ground.is_dir():
        raise ConfigError(f"output folder {path}: {ground} is a file; choose another --outdir, or move the file away")
    # A trial file, not os.access: the latter says yes to root and to some network drives that then refuse.
    trial = ground / f".dymo-{uuid.uuid4().hex[:8]}.trial"
    try:
        trial.write_bytes(b"0" * 4096)
    except OSError as error:
        raise ConfigError(
            f"output folder {path}: cannot write in {ground} ({error.strerror or error}); "
            "choose another --outdir, or make this one writable"
        ) from error
    finally:
        try:
            trial.unlink()
        except OSError:
            pass  # it was never made
    free_mb = shutil.disk_usage(ground).free / 1e6
    if free_mb < needed_mb:
        raise ConfigError(
            f"output folder {path}: {free_mb:.1f} MB free, {needed_mb:g} MB needed; "
            "make room, or choose an --outdir on another disk"
        )
    return path


def _nearest_existing(path: Path) -> Path:
    """The path itself or its nearest ancestor that exists."""
    for candidate in (path, *path.absolute().parents):
        try:
            if candidate.exists():
                return candidate
        except OSError as error:
            raise ConfigError(f"output folder {path}: {error.strerror or error}; choose another --outdir") from error
    return Path(path.absolute().anchor)
