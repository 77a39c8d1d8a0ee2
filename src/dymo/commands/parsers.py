"""The parser and the tokenizer that the options name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .models import quiet_libraries
from .schema import Parsing
from .sources import check_source

if TYPE_CHECKING:
    from ..prompt import Parser


def check_parser(settings: Parsing) -> dict[str, Any]:
    """The settings of the parser that were given. Raises ConfigError on an unknown name, or where one is not its own."""
    from ..prompt import PARSERS

    names = {"model": "parser_model", **{name: name for name in ("base_url", "on_failure", "concurrency")}}
    given = {name: getattr(settings, held, None) for name, held in names.items()}
    given = {name: value for name, value in given.items() if value is not None}
    if settings.parser not in PARSERS:
        raise ConfigError(f"--parser {settings.parser!r}: choose one of {', '.join(PARSERS)}")
    if settings.parser == "spacy" and given:
        said = ", ".join("--" + names[name].replace("_", "-") for name in given)
        raise ConfigError(f"--parser spacy asks no model: leave out {said}")
    if settings.parser == "transformers" and settings.parser_model is None:
        raise ConfigError("--parser transformers needs --parser-model ID_OR_PATH, of an instruct model")
    return given


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
    load: Callable[..., Any] = AutoTokenizer.from_pretrained
    try:
        return load(inner if inner.is_dir() else folder if folder.is_dir() else name)
    except (OSError, ValueError, ImportError, KeyError) as error:
        said = str(error).strip().splitlines()
        raise ConfigError(
            f"--tokenizer {name}: cannot be loaded ({said[0] if said else type(error).__name__}); give miniature, a hub id, "
            "or a folder"
        ) from error
