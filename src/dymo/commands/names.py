"""File names made of prompts, and names that are still free."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ConfigError

LONGEST = 60


def file_stems(prompts: Sequence[str]) -> list[str]:
    """For each prompt a readable file name without ending, the same in every run; different prompts never share one."""
    stems = [_slug(prompt) for prompt in prompts]
    return [
        f"{stem}-{_mark(prompt)}" if _ambiguous(prompt, stem) else stem
        for prompt, stem in zip(prompts, stems, strict=True)
    ]


def numbered(path: Path, endings: Iterable[str] = ("",), overwrite: bool = False) -> Path:
    """`path`, else path-2, path-3, ...: the first of which no file with any of the `endings` is there.

    `path` itself where `overwrite`.
    """
    endings = list(endings)
    for n in itertools.count(1):
        free = path if n == 1 else path.with_name(f"{path.name}-{n}")
        if overwrite or not any(free.with_name(free.name + ending).exists() for ending in endings):
            return free
    raise AssertionError("there is always a free number")


def check_free(option: str, path: Path | None, overwrite: bool) -> None:
    """Raises ConfigError where the file that an option names is there already."""
    if path is not None and path.exists() and not overwrite:
        raise ConfigError(f"{option} {path}: this file is there already; name another, or add --overwrite")


def _slug(prompt: str) -> str:
    plain = unicodedata.normalize("NFKD", prompt.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].rstrip("-") or "prompt"


def _ambiguous(prompt: str, stem: str) -> bool:
    """Whether the name does not say the whole prompt, so that another prompt could have it as well."""
    return stem.replace("-", " ") != prompt


def _mark(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8")).hexdigest()[:6]
