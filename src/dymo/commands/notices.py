"""What a reader of a terminal is told: errors, warnings and log records, each on a line, on the standard error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from ..errors import DyMOError, Message
from ..parts import Words
from .schema import Common


def show(kind: str, style: str, message: object) -> None:
    """ "Error: what was wrong", in a colour, on one line."""
    said = " ".join(line.strip() for line in str(message).splitlines())
    Console(stderr=True).print(Text.assemble((f"{kind}: ", f"bold {style}"), (said, style)), soft_wrap=True)


@contextmanager
def in_words(words: Words) -> Iterator[None]:
    """Within it, errors of dymo are in these words, and so is a warning, which is one yellow line without the code that raised it.

    What is filtered out stays so.
    """

    def warn(message: object, *place: object, **more: object) -> None:
        show("Warning", "yellow", message.in_words(words) if isinstance(message, Message) else message)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn
            yield
    except DyMOError as error:
        said = error.in_words(words)
        if str(said) == str(error):
            raise
        raise said from error


def start_logging(settings: Common) -> None:
    """Send the records of the library's loggers to the standard error, from the level that the options name on."""
    level = settings.log_level or ("warning", "info", "debug")[min(settings.verbose, 2)]
    logger = logging.getLogger("dymo")
    logger.setLevel(level.upper())
    console = Console(stderr=True)
    on_screen = console.is_terminal
    logger.handlers = [
        RichHandler(console=console, show_path=False) if on_screen else logging.StreamHandler(console.file)
    ]
    form = "%(name)s: %(message)s" if on_screen else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logger.handlers[0].setFormatter(logging.Formatter(form))
