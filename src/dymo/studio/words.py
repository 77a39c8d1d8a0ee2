"""A prompt and its graph as the page shows and edits them."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import ConfigError
from ..prompt import parse
from ..prompt.graph import SemanticGraph
from ..prompt.reading import read

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def understood(prompt: str, graph: Any = None) -> dict[str, Any]:
    """The graph of a prompt (or the one given, checked), its words in order, and what is drawn together and apart.

    Raises PromptError; ConfigError where the graph is another prompt's.
    """
    found = parse(prompt) if graph is None else SemanticGraph.from_json(graph)
    if found.prompt != prompt:
        raise ConfigError("the graph belongs to another prompt: read the prompt again")
    return {
        "graph": json.loads(found.to_json()),
        "words": _words(found),
        "together": [[a.text, e.text] for e, a in found.bound()],
        "apart": [[found.entities[i].text, found.entities[j].text] for i, j in found.opposed()],
    }


def _words(graph: SemanticGraph) -> list[dict[str, Any]]:
    """The graph's words and the other words of the prompt, in its order: text, start, end."""
    own = {e.span for e in graph.entities} | {a.span for e in graph.entities for a in e.attributes}
    others = {match.span() for match in _WORD.finditer(graph.prompt)}
    said = set(read(graph.prompt).places)  # what a weight is written with is no word
    free = {(start, end) for start, end in others if start in said and not any(start < b and a < end for a, b in own)}
    return [{"text": graph.prompt[a:b], "start": a, "end": b} for a, b in sorted(own | free)]


def unknown_to_miniature(prompt: str) -> list[str]:
    """The words of a prompt that the embedded miniature was not trained on."""
    from ..miniature.world import WORDS

    return [word for word in dict.fromkeys(_WORD.findall(read(prompt).text)) if word.lower() not in WORDS]
