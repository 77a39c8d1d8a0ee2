"""A prompt and its graph as the page shows and edits them, and what it calls the settings that messages name."""

from __future__ import annotations

import json
import re
from typing import Any

from ..config import SETTINGS
from ..errors import ConfigError
from ..parts import Argument, Limit, OfMethod, OfParser, OfReward, Option, Setting, surface
from ..prompt import parse
from ..prompt.graph import SemanticGraph
from ..prompt.reading import read

LABELS = {
    "prompt": "Prompt", "negative_prompt": "Negative prompt", "graph": "Correct it by hand", "pipeline": "Pipeline",
    "reward": "Reward that guides", "intent": "What matters", "spending": "Budget", "seed": "First seed", "count": "Images", "steps": "Steps",
    "guidance_scale": "Guidance scale", "seconds": "Seconds at most", "numbers": "All numbers",
}  # fmt: skip
"""What the page calls each of the settings."""
NUMBERS = {name: name.replace("_", " ") for name in SETTINGS if name != "record_maps"}
"""What it calls the settings of the method that can be changed on it."""
_CALLED = {name: LABELS[name] for name in ("prompt", "graph", "reward", "seed", "guidance_scale", "negative_prompt")}
_CALLED |= {"num_inference_steps": LABELS["steps"], "preset": LABELS["intent"]}
_LIMITS = {"evaluations": LABELS["spending"], "seconds": LABELS["seconds"]}
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


def _label(of: Setting) -> str | None:
    if isinstance(of, Limit):
        return _LIMITS.get(of.name)
    if isinstance(of, (OfMethod, OfParser, OfReward, Option)):  # options of `dymo studio` itself stay so
        return None
    return _CALLED.get(of.name) or (None if isinstance(of, Argument) else NUMBERS.get(of.name))


def _say(of: Setting) -> str | None:
    label = _label(of)
    return label if label is None or of.value is ... else f"{label} {of.value!r}"


words = surface(_say, _label, "set {}")


def not_known(prompt: str) -> str:
    """What is said of the words of a prompt that the miniature does not know, and which it knows; "" where there are none."""
    from ..miniature.world import COLOURS, NOUNS, unknown_words

    words = unknown_words(read(prompt).text)
    if not words:
        return ""
    named = ", ".join(repr(word if len(word) <= 30 else word[:29] + "…") for word in words[:5])
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return (
        f"The miniature does not know {named}{more}. It draws one to three things in a colour: {', '.join(NOUNS)}; {', '.join(COLOURS)}. "
        "Other models: dymo studio --model NAME"
    )
