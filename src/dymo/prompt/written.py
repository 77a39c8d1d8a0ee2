"""Graphs that somebody wrote as JSON: the project's own form, with or without spans, and the reference implementation's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dymo.errors import PromptError
from dymo.prompt.graph import Attribute, Entity, Relation, SemanticGraph, Span, check_word
from dymo.prompt.placing import find, gap, nearest, place_apart


def read_graph(source: str | dict[str, Any]) -> SemanticGraph:
    """The graph that a JSON text, or the object in it, describes.

    The form is `{"prompt": ..., "entities": [{"text": ..., "attributes": [...]}], "style": [...], "relations": [...]}`; an
    attribute is a string or `{"text": ..., "span": [start, end]}`, a relation `{"text": ..., "subject": 0, "object": 1}`
    with places in the list of entities. A `span` left out is found by searching the prompt for whole words: the n-th
    entity of one text takes its n-th occurrence, an attribute the occurrence nearest its entity, a relation the one
    nearest between its entities. `tokens`, which `dymo graph --tokenizer` adds, is passed over. An object with
    `knowledge` is read by `dymo.prompt.reference.read_reference`.

    Raises PromptError on malformed JSON, wrong types or keys, and words the prompt does not hold.
    """
    decoded = decode(source)
    if isinstance(decoded, Mapping) and "knowledge" in decoded:
        from dymo.prompt.reference import read_reference

        return read_reference(decoded)
    data = fields(decoded, "the graph", required=("prompt",), optional=("entities", "style", "relations", "tokens"))
    prompt = data["prompt"]
    if not isinstance(prompt, str):
        raise PromptError(f"the prompt must be a string, got {prompt!r}")
    drafts = [_Draft.read(item) for item in as_list(data.get("entities"), "entities")]
    spans = place_apart(prompt, [(draft.text, draft.span) for draft in drafts])
    entities = tuple(_entity(prompt, draft, span) for draft, span in zip(drafts, spans, strict=True))
    relations = [_relation(prompt, item, entities) for item in as_list(data.get("relations"), "relations")]
    return SemanticGraph(prompt, entities, tuple(as_list(data.get("style"), "style")), tuple(relations))


@dataclass(frozen=True)
class _Draft:
    """An entity as a user wrote it: the span may be missing."""

    text: str
    span: Span | None
    attributes: tuple[tuple[str, Span | None], ...]

    @classmethod
    def read(cls, item: object) -> _Draft:
        data = fields(item, "an entity", required=("text",), optional=("span", "attributes"))
        attributes = []
        for given in as_list(data.get("attributes"), "attributes"):
            if isinstance(given, str):
                given = {"text": given}
            attribute = fields(given, "an attribute", required=("text",), optional=("span",))
            attributes.append(_word(attribute))
        return cls(*_word(data), tuple(attributes))


def decode(source: str | Mapping[str, Any]) -> object:
    if not isinstance(source, str):
        return source
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"the graph is not valid JSON: {error}") from error


def fields(item: object, what: str, required: tuple[str, ...], optional: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise PromptError(f"{what} must be a JSON object, got {item!r}")
    missing = [key for key in required if key not in item]
    unknown = [key for key in item if key not in (*required, *optional)]
    if missing or unknown:
        problem = f"lacks {missing}" if missing else f"has unknown keys {unknown}"
        raise PromptError(f"{what} {problem}: its keys are {', '.join((*required, *optional))}; got {dict(item)!r}")
    return item


def as_list(value: object, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise PromptError(f"`{name}` must be a list, got {value!r}")
    return list(value)


def _word(data: Mapping[str, Any]) -> tuple[str, Span | None]:
    text, span = data["text"], data.get("span")
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"`text` must be a string with a word in it, got {text!r}")
    if span is None:
        return text, None
    check_word(text, span)
    return text, tuple(span)


def _entity(prompt: str, draft: _Draft, span: Span) -> Entity:
    attributes: list[Attribute] = []
    for text, given in draft.attributes:
        taken = {attribute.span for attribute in attributes}
        chosen = given if given not in taken else None
        if given is None:
            chosen = nearest(prompt, text, span, taken)
        if chosen is None:
            raise PromptError(f"{draft.text!r} names the attribute {text!r} more often than the prompt {prompt!r} does")
        attributes.append(Attribute(text if given else prompt[slice(*chosen)], chosen))
    return Entity(draft.text if draft.span else prompt[slice(*span)], span, tuple(attributes))


def _relation(prompt: str, item: object, entities: tuple[Entity, ...]) -> Relation:
    data = fields(item, "a relation", required=("text", "subject", "object"), optional=("span",))
    text, span = _word(data)
    subject, object_ = data["subject"], data["object"]
    ends = [entities[i].span for i in (subject, object_) if type(i) is int and 0 <= i < len(entities)]
    if span is None:
        # A wrong subject or object is told of by Relation and SemanticGraph.
        span = min(find(prompt, text), key=lambda o: (sum(gap(o, end) for end in ends), o))
        text = prompt[slice(*span)]
    return Relation(text, span, subject, object_)
