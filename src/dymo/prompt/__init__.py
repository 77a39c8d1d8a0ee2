"""Words: a prompt, the things and attributes it names, and the tokens that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from dymo.errors import ConfigError
from dymo.prompt.graph import Attribute, Entity, Relation, SemanticGraph
from dymo.prompt.tokens import TokenPairs, token_pairs

__all__ = [
    "Attribute",
    "Entity",
    "Parser",
    "Relation",
    "SemanticGraph",
    "TokenPairs",
    "load_parser",
    "parse",
    "token_pairs",
]

PARSERS = ("spacy", "llm", "transformers")


@runtime_checkable
class Parser(Protocol):
    """What reads prompts: one at a time, or many, in their order."""

    def __call__(self, prompt: str) -> SemanticGraph: ...

    def parse_many(self, prompts: Iterable[str]) -> Iterable[SemanticGraph]: ...


def load_parser(name: str = "spacy", **settings: Any) -> Parser:
    """The parser of a name: "spacy" (no settings), "llm" or "transformers" (see `LLMParser`, `LocalParser`).

    Raises ConfigError on an unknown name or setting, or where what the parser needs is not installed.
    """
    # Imported where they are chosen: each takes seconds, and a graph given as JSON needs none of them.
    if name == "spacy":
        from dymo.prompt.spacy import SpacyParser

        if settings:
            raise ConfigError(f"parser='spacy' has no settings, got {', '.join(settings)}")
        return SpacyParser()
    if name == "llm":
        from dymo.prompt.llm import LLMParser

        return _made(LLMParser, name, settings)
    if name == "transformers":
        from dymo.prompt.local import LocalParser

        return _made(LocalParser, name, settings)
    raise ConfigError(f"parser={name!r} is not known: choose one of {', '.join(PARSERS)}, or give a function")


def _made(kind: Callable[..., Parser], name: str, settings: dict[str, Any]) -> Parser:
    try:
        signature(kind).bind(**settings)
    except TypeError as error:
        raise ConfigError(
            f"parser={name!r}: {error}; its settings are {', '.join(signature(kind).parameters)}"
        ) from error
    return kind(**settings)


def parse(prompt: str) -> SemanticGraph:
    """The semantic graph of an English prompt; see `dymo.prompt.spacy.parse`."""
    from dymo.prompt.spacy import parse as parse_with_spacy

    return parse_with_spacy(prompt)
