"""The parser and the tokenizer that the options name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..pipelines.variants import first_line
from .models import quiet_libraries
from .schema import Parsing
from .sources import check_source

if TYPE_CHECKING:
    from ..prompt import Parser


def check_parser(settings: Parsing) -> dict[str, Any]:
    """The settings of the parser that were given. Raises ConfigError on an unknown name, or where one is not its own."""
    from ..prompt import PARSERS

    names = ("parser_model", "base_url", "on_failure", "concurrency")
    given = {name: value for name in names if (value := getattr(settings, name, None)) is not None}
    if settings.parser not in PARSERS:
        raise ConfigError(f"--parser {settings.parser!r}: choose one of {', '.join(PARSERS)}")
    if settings.parser == "spacy" and given:
        said = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"--parser spacy asks no model: leave out {said}")
    if settings.parser == "transformers" and settings.parser_model is None:
        raise ConfigError("--parser transformers needs --parser-model ID_OR_PATH, of an instruct model")
    return {name.removeprefix("parser_"): value for name, value in given.items()}


def load_parser(settings: Parsing) -> Parser:
    """Raises ConfigError where an option does not belong to the parser, or it cannot be made."""
    from .. import prompt

    given = check_parser(settings)
    if settings.parser == "transformers":
        check_source("--parser-model", given["model"], ["config.json"])
        quiet_libraries()
    return prompt.load_parser(settings.parser, **given)


def load_tokenizer(name: str) -> Any:
    """A tokenizer by hub id, by folder (also of a whole diffusers pipeline), or "miniature". Raises ConfigError."""
    from transformers import AutoTokenizer

    from ..miniature import WEIGHTS

    folder = WEIGHTS / "pipeline" if name == "miniature" else Path(name).expanduser()
    inner = folder / "tokenizer"
    if not folder.is_dir():
        check_source("--tokenizer", name)
    place = inner if inner.is_dir() else folder if folder.is_dir() else name
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, ImportError, KeyError) as error:
        said = f"--tokenizer {name}: cannot be loaded ({first_line(error)})"
        raise ConfigError(f"{said}; give miniature, a hub id, or a folder") from error
