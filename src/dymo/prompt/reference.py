"""Graphs in the reference implementation's format: {"prompt", "knowledge": [{thing: [attribute, ...]}], "global": [{"style": [...]}]}."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from dymo.errors import PromptError, PromptWarning
from dymo.prompt.align import Claim, align
from dymo.prompt.graph import SemanticGraph


def read_reference(data: Mapping[str, Any]) -> SemanticGraph:
    """The graph of one such object. Its words were written by a language model and may not be the prompt's own.

    They are repaired as `dymo.prompt.align.align` does; what cannot be placed is left out, with a PromptWarning that
    names it. Raises PromptError on wrong types or keys.
    """
    prompt, general = data.get("prompt"), data.get("global") or []
    knowledge: Any = data.get("knowledge")
    if not isinstance(prompt, str):
        raise PromptError(f"the prompt must be a string, got {prompt!r}")
    unknown = set(data) - {"prompt", "knowledge", "global"}
    if unknown or not _are_lists_of_words(knowledge) or not _are_lists_of_words(general):
        raise PromptError(
            'a graph in the reference format is {"prompt": "...", "knowledge": [{"thing": ["attribute"]}], '
            f'"global": [{{"style": ["word"]}}]}}; got {dict(data)!r}'
        )
    claims = [Claim(thing, tuple(attributes)) for item in knowledge for thing, attributes in item.items()]
    style = [word for item in general for words in item.values() for word in words]
    found = align(prompt, claims, style=style)
    if found.missing:
        words = ", ".join(map(repr, found.missing))
        warnings.warn(
            f"left out of the graph, since the prompt {prompt!r} does not hold them: {words}",
            PromptWarning,
            stacklevel=2,
        )
    return found.graph


def _are_lists_of_words(items: object) -> bool:
    return isinstance(items, list) and all(
        isinstance(item, dict)
        and all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in item.values())
        for item in items
    )
