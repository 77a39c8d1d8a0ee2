"""Whether a folder can take the results, asked before any work is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ..errors import ConfigError

NEEDED_MB = 20  # free space that a run asks for, in MB (10**6 bytes)


def check_outdir(path: str | Path, option: str = "--outdir") -> Path:
    """The folder, if it is there or can be made, can be written, and has `NEEDED_MB` free. Leaves nothing behind.

    option: which names it. Raises ConfigError naming the folder and the remedy.
    """
    path = Path(path)
    existing = next(parent for parent in (path, *path.absolute().parents) if os.path.exists(parent))
    if not existing.is_dir():
        raise ConfigError(f"output folder {path}: {existing} is a file; choose another {option}, or move the file away")
    try:
        # A trial file, not os.access: the latter says yes to root and to some network drives that then refuse.
        with tempfile.TemporaryFile(dir=existing) as trial:
            trial.write(b"0" * 4096)
    except OSError as error:
        why, remedy = error.strerror or error, f"choose another {option}, or make this one writable"
        raise ConfigError(f"output folder {path}: cannot write in {existing} ({why}); {remedy}") from error
    if (free := shutil.disk_usage(existing).free / 1e6) < NEEDED_MB:
        remedy = f"make room, or choose an {option} on another disk"
        raise ConfigError(f"output folder {path}: {free:.1f} MB free, {NEEDED_MB} MB needed; {remedy}")
    return path
