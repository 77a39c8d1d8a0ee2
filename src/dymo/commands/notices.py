"""What a reader of a terminal is told: errors, warnings and log records, each on a line, on the standard error."""

from __future__ import annotations

import ast
import dataclasses
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from ..config import Config
from .schema import Common

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
# Keywords of the library that have an option of their own; other settings of Config are given with --set.
_OPTIONS = {
    "num_inference_steps": "steps",
    **{
        name: name.replace("_", "-")
        for name in (
            "truncation", "on_hacking", "watch", "reward", "preset", "graph", "preview_vae", "parser", "guidance_scale",
            "negative_prompt", "height", "width",
        )
    },
}  # fmt: skip
_SETTINGS = [field.name for field in dataclasses.fields(Config) if field.name not in _OPTIONS]
_KEYWORD = re.compile(
    rf"(?<![\w.'\"-])(?<!--set )({'|'.join([*_OPTIONS, *_SETTINGS])})=('[^']*'|\[[^\]]*\]|\([^)]*\)|[^\s,;:()]*[^\s,;:().])?"
)


def in_words_of_options(text: str) -> str:
    """A message of the library as the command line says it: truncation='report' becomes --truncation report.

    A setting without an option of its own becomes --set k=-1.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        if name not in _OPTIONS:
            return f"--set {name}={value}"
        try:
            read = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            read = value
        values = read if isinstance(read, (list, tuple)) else [read]
        return " ".join(f"--{_OPTIONS[name]} {one}".rstrip() for one in values)

    return _KEYWORD.sub(option, text)


def show_error(error: Exception) -> None:
    """One red line."""
    said = in_words_of_options(_one_line(error))
    Console(stderr=True).print(Text.assemble(("Error: ", "bold red"), (said, "red")), soft_wrap=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within it, a warning is one yellow line without the code that raised it; what is filtered out stays so."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        yield


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    text = in_words_of_options(_one_line(message))
    Console(stderr=True).print(Text(f"Warning: {text}", style="yellow"), soft_wrap=True)


def start_logging(settings: Common) -> None:
    """Send the records of the library's loggers to the standard error, from the level that the options name on."""
    level = settings.log_level or logging.getLevelName(_LEVELS[min(settings.verbose, 2)])
    logger = logging.getLogger("dymo")
    logger.setLevel(level.upper())
    console = Console(stderr=True)
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.handlers = [handler]


def _one_line(message: object) -> str:
    return " ".join(line.strip() for line in str(message).splitlines())
