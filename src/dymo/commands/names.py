"""File names made of prompts."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

LONGEST = 60


def file_stems(prompts: Sequence[str]) -> list[str]:
    """For each prompt a readable file name without ending, the same in every run; different prompts never share one."""
    stems = [_slug(prompt) for prompt in prompts]
    return [
        f"{stem}-{_mark(prompt)}" if _ambiguous(prompt, stem) else stem
        for prompt, stem in zip(prompts, stems, strict=True)
    ]


def _slug(prompt: str) -> str:
    plain = unicodedata.normalize("NFKD", prompt.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].rstrip("-") or "prompt"


def _ambiguous(prompt: str, stem: str) -> bool:
    """Whether the name does not say the whole prompt, so that another prompt could have it as well."""
    return stem.replace("-", " ") != prompt


def _mark(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8")).hexdigest()[:6]
