"""The parser and the tokenizer that the options name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .models import quiet_libraries

if TYPE_CHECKING:
    from ..prompt import Parser


@dataclass(frozen=True)
class ParserChoice:
    """`--parser`, and the options that only the parsers with a model have."""

    name: str = "spacy"
    model: str | None = None
    base_url: str | None = None
    on_failure: str | None = None
    concurrency: int | None = None

    def check(self) -> dict[str, Any]:
        """The settings that were given. Raises ConfigError on an unknown name, or where one does not belong to it."""
        from ..prompt import PARSERS

        given = {
            "model": self.model, "base_url": self.base_url, "on_failure": self.on_failure,
            "concurrency": self.concurrency,
        }  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        if self.name not in PARSERS:
            raise ConfigError(f"--parser {self.name!r}: choose one of {', '.join(PARSERS)}")
        if self.name == "spacy" and given:
            raise ConfigError(f"--parser spacy asks no model: leave out {', '.join(map(_option, given))}")
        if self.name == "transformers" and self.model is None:
            raise ConfigError("--parser transformers needs --parser-model ID_OR_PATH, of an instruct model")
        return given

    def load(self) -> Parser:
        """Raises ConfigError where an option does not belong to the parser, or it cannot be made."""
        from ..prompt import load_parser

        settings = self.check()
        if self.name == "transformers":
            quiet_libraries()
        return load_parser(self.name, **settings)


def _option(name: str) -> str:
    return "--parser-model" if name == "model" else "--" + name.replace("_", "-")


def load_tokenizer(name: str) -> Any:
    """A tokenizer by hub id, by folder (also of a whole diffusers pipeline), or "miniature". Raises ConfigError."""
    from transformers import AutoTokenizer

    from ..miniature import WEIGHTS

    folder = WEIGHTS / "pipeline" if name == "miniature" else Path(name).expanduser()
    inner = folder / "tokenizer"
    load: Callable[..., Any] = AutoTokenizer.from_pretrained
    try:
        return load(inner if inner.is_dir() else folder if folder.is_dir() else name)
    except (OSError, ValueError, ImportError, KeyError) as error:
        said = str(error).strip().splitlines()
        raise ConfigError(
            f"--tokenizer {name}: cannot be loaded ({said[0] if said else type(error).__name__}); give miniature, a hub id, "
            "or a folder"
        ) from error
