"""File names made of prompts, and names that are still free."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError

LONGEST = 60


def file_stems(prompts: Sequence[str]) -> list[str]:
    """For each prompt a readable file name without ending, the same in every run; different prompts never share one."""
    return [_stem(prompt) for prompt in prompts]


def _stem(prompt: str) -> str:
    plain = unicodedata.normalize("NFKD", prompt.lower()).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].rstrip("-") or "prompt"
    # Where the name does not say the whole prompt, another prompt could have it as well.
    whole = stem.replace("-", " ") == prompt
    return stem if whole else f"{stem}-{hashlib.sha256(prompt.encode('utf-8')).hexdigest()[:6]}"


def numbered(path: Path, endings: Sequence[str] = ("",), overwrite: bool = False) -> Path:
    """`path`, else path-2, path-3, ...: the first of which no file with any of the `endings` is there.

    `path` itself where `overwrite`.
    """
    free, n = path, 1
    while not overwrite and any(free.with_name(free.name + ending).exists() for ending in endings):
        n += 1
        free = path.with_name(f"{path.name}-{n}")
    return free


def check_free(option: str, path: Path | None, overwrite: bool) -> None:
    """Raises ConfigError where the file that an option names is there already."""
    if path is not None and path.exists() and not overwrite:
        raise ConfigError(f"{option} {path}: this file is there already; name another, or add --overwrite")
