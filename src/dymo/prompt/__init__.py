"""Words: a prompt, the things and attributes it names, and the tokens that stand for them."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

from dymo.errors import ConfigError
from dymo.parts import Setting
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

PARSERS = {"spacy": "spacy:SpacyParser", "llm": "llm:LLMParser", "transformers": "local:LocalParser"}


@runtime_checkable
class Parser(Protocol):
    """What reads prompts: one at a time, or many, in their order."""

    def __call__(self, prompt: str) -> SemanticGraph: ...

    def parse_many(self, prompts: Iterable[str]) -> Iterable[SemanticGraph]:
        """The graph of each prompt, in their order."""
        ...


def load_parser(name: str = "spacy", **settings: Any) -> Parser:
    """The parser of a name: "spacy" (no settings), "llm" or "transformers" (see `LLMParser`, `LocalParser`).

    Raises ConfigError on an unknown name or setting, or where what the parser needs is not installed.
    """
    if name not in PARSERS:
        raise ConfigError(Setting("parser", name), f" is not known: choose one of {', '.join(PARSERS)}, or give a function")
    # Imported where it is chosen: each takes seconds, and a graph given as JSON needs none of them.
    kind = resolve_name(f"dymo.prompt.{PARSERS[name]}")
    try:
        signature(kind).bind(**settings)
    except TypeError as error:
        known = ", ".join(signature(kind).parameters) or "none"
        raise ConfigError(Setting("parser", name), f": {error}; its settings are: {known}") from error
    return kind(**settings)


def parse(prompt: str) -> SemanticGraph:
    """The entities, their attributes and relations, and the style words of an English prompt, by the spaCy parser.

    An entity is the noun that names a thing; the words of its compound are attributes ("tea party": party, tea). Spans
    are offsets into the prompt as given, with the markup of web UIs in it. Raises PromptError where the prompt is empty
    or no English model is installed; warns with PromptWarning where it is clearly not English.
    """
    return load_parser()(prompt)
