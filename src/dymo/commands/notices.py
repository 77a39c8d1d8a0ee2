"""Warnings as a reader of a terminal wants them: what they say, without the line of code that said it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within it, a warning is one yellow line on the standard error; what is filtered out stays so."""
    with warnings.catch_warnings():
        warnings.showwarning = _say
        yield


def _say(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    said = " ".join(line.strip() for line in str(message).splitlines())
    Console(stderr=True).print(Text(f"Warning: {said}", style="yellow"), soft_wrap=True)
