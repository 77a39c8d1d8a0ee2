"""Words: a prompt, the things and attributes it names, and the tokens that stand for them."""

from __future__ import annotations

from dymo.prompt.graph import Attribute, Entity, SemanticGraph
from dymo.prompt.tokens import TokenPairs, token_pairs

__all__ = ["Attribute", "Entity", "SemanticGraph", "TokenPairs", "parse", "token_pairs"]


def parse(prompt: str) -> SemanticGraph:
    """The semantic graph of an English prompt; see `dymo.prompt.spacy.parse`."""
    # Imported here: spaCy takes seconds, and a graph given as JSON needs none of it.
    from dymo.prompt.spacy import parse as parse_with_spacy

    return parse_with_spacy(prompt)
