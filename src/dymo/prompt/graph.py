"""The semantic graph of a prompt: which things it names, with which attributes, at which characters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dymo.errors import PromptError

Span = tuple[int, int]


@dataclass(frozen=True)
class Attribute:
    """A word that describes an entity; `span` is its (start, end) character offsets into the prompt."""

    text: str
    span: Span

    def __post_init__(self) -> None:
        _check_word(self.text, self.span)
        object.__setattr__(self, "span", tuple(self.span))


@dataclass(frozen=True)
class Entity:
    """A thing the picture must show; `span` is its (start, end) character offsets, `attributes` what describes it."""

    text: str
    span: Span
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        _check_word(self.text, self.span)
        if not _all_of(self.attributes, Attribute):
            raise PromptError(f"the attributes of {self.text!r} must be Attribute objects, got {self.attributes!r}")
        object.__setattr__(self, "span", tuple(self.span))
        object.__setattr__(self, "attributes", tuple(self.attributes))


@dataclass(frozen=True)
class Relation:
    """How one entity stands to another ("holding", "to the left of").

    `span` is its (start, end) character offsets; `subject` and `object` are places in the graph's list of entities.
    """

    text: str
    span: Span
    subject: int
    object: int

    def __post_init__(self) -> None:
        _check_word(self.text, self.span)
        object.__setattr__(self, "span", tuple(self.span))


@dataclass(frozen=True)
class SemanticGraph:
    """A prompt, the entities it names, the words that describe the whole picture (`style`), and the entities' relations.

    Raises PromptError where a span lies outside the prompt or does not hold its text (upper and lower case are equal),
    and where a relation names an entity that is not there, or ties one to itself.
    """

    prompt: str
    entities: tuple[Entity, ...]
    style: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise PromptError(f"the prompt must be a string, got {self.prompt!r}")
        if not _all_of(self.entities, Entity):
            raise PromptError(f"the entities must be Entity objects, got {self.entities!r}")
        if not _all_of(self.style, str):
            raise PromptError(f"the style words must be strings, got {self.style!r}")
        object.__setattr__(self, "entities", tuple(self.entities))
        if not _all_of(self.relations, Relation):
            raise PromptError(f"the relations must be Relation objects, got {self.relations!r}")
        object.__setattr__(self, "style", tuple(self.style))
        object.__setattr__(self, "relations", tuple(self.relations))
        for relation in self.relations:
            _check_span(self.prompt, relation)
            _check_ends(relation, len(self.entities))
        for entity in self.entities:
            _check_span(self.prompt, entity)
            for attribute in entity.attributes:
                _check_span(self.prompt, attribute)

    def to_json(self) -> str:
        """The graph as a JSON object with every span, which `from_json` reads back to an equal graph."""
        entities = [
            {
                "text": entity.text,
                "span": list(entity.span),
                "attributes": [{"text": a.text, "span": list(a.span)} for a in entity.attributes],
            }
            for entity in self.entities
        ]
        return json.dumps({"prompt": self.prompt, "entities": entities, "style": list(self.style)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, source: str | dict[str, Any]) -> SemanticGraph:
        """The graph that a JSON text, or the object in it, describes.

        The form is `{"prompt": ..., "entities": [{"text": ..., "attributes": [...]}], "style": [...]}`; an attribute is
        a string or `{"text": ..., "span": [start, end]}`. A `span` left out is found by searching the prompt for whole
        words: the n-th entity of one text takes its n-th occurrence, an attribute the occurrence nearest its entity.
        Raises PromptError on malformed JSON, wrong types or keys, and words the prompt does not hold.
        """
        data = _fields(_decode(source), "the graph", required=("prompt",), optional=("entities", "style"))
        prompt = data["prompt"]
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt must be a string, got {prompt!r}")
        drafts = [_Draft.read(item) for item in _list(data.get("entities"), "entities")]
        spans = _place_entities(prompt, drafts)
        entities = tuple(_entity(prompt, draft, span) for draft, span in zip(drafts, spans, strict=True))
        return cls(prompt, entities, tuple(_list(data.get("style"), "style")))


@dataclass(frozen=True)
class _Draft:
    """An entity as a user wrote it: the span may be missing."""

    text: str
    span: Span | None
    attributes: tuple[tuple[str, Span | None], ...]

    @classmethod
    def read(cls, item: object) -> _Draft:
        data = _fields(item, "an entity", required=("text",), optional=("span", "attributes"))
        attributes = []
        for given in _list(data.get("attributes"), "attributes"):
            if isinstance(given, str):
                given = {"text": given}
            attribute = _fields(given, "an attribute", required=("text",), optional=("span",))
            attributes.append(_word(attribute))
        return cls(*_word(data), tuple(attributes))


def _decode(source: str | Mapping[str, Any]) -> object:
    if not isinstance(source, str):
        return source
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"the graph is not valid JSON: {error}") from error


def _fields(item: object, what: str, required: tuple[str, ...], optional: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise PromptError(f"{what} must be a JSON object, got {item!r}")
    missing = [key for key in required if key not in item]
    unknown = [key for key in item if key not in (*required, *optional)]
    if missing or unknown:
        problem = f"lacks {missing}" if missing else f"has unknown keys {unknown}"
        raise PromptError(f"{what} {problem}: its keys are {', '.join((*required, *optional))}; got {dict(item)!r}")
    return item


def _list(value: object, name: str) -> list[Any]:
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
    _check_word(text, span)
    return text, tuple(span)


def _all_of(items: object, kind: type) -> bool:
    return isinstance(items, (list, tuple)) and all(isinstance(item, kind) for item in items)


def _check_word(text: object, span: object) -> None:
    if not isinstance(text, str) or not text:
        raise PromptError(f"the text of a word must be a string with something in it, got {text!r}")
    # bool is an int to Python, but true is no offset.
    whole = isinstance(span, (list, tuple)) and len(span) == 2 and all(type(offset) is int for offset in span)
    if not whole:
        raise PromptError(f"the span of {text!r} must be two whole numbers (start, end), got {span!r}")


def _check_ends(relation: Relation, count: int) -> None:
    ends = relation.subject, relation.object
    if not all(type(end) is int and 0 <= end < count for end in ends) or ends[0] == ends[1]:
        raise PromptError(
            f"the relation {relation.text!r} ties entity {ends[0]!r} to entity {ends[1]!r}: give two different places "
            f"in the list of {count} entities, counted from 0"
        )


def _check_span(prompt: str, word: Attribute | Entity | Relation) -> None:
    start, end = word.span
    if not 0 <= start < end <= len(prompt):
        raise PromptError(f"the span {word.span} of {word.text!r} lies outside the prompt {prompt!r}")
    if prompt[start:end].lower() != word.text.lower():
        raise PromptError(
            f"the span {word.span} holds {prompt[start:end]!r}, not {word.text!r}, in the prompt {prompt!r}: "
            "correct the span, or leave it out to have it found"
        )


def _occurrences(prompt: str, text: str) -> list[Span]:
    # Any white space between the words of one text matches any other.
    pattern = r"\s+".join(re.escape(part) for part in text.split())
    found = [m.span() for m in re.finditer(rf"(?<!\w){pattern}(?!\w)", prompt, re.IGNORECASE)]
    if not found:
        raise PromptError(
            f"{text!r} is not in the prompt {prompt!r} as a whole word: write it as the prompt does, or remove it"
        )
    return found


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _place_entities(prompt: str, drafts: list[_Draft]) -> list[Span]:
    spans = {i: draft.span for i, draft in enumerate(drafts) if draft.span is not None}
    # Longer texts first, so that "ball" is not found inside "soccer ball".
    for i in sorted(range(len(drafts)), key=lambda i: -len(drafts[i].text)):
        if i in spans:
            continue
        text = drafts[i].text
        free = [o for o in _occurrences(prompt, text) if not any(_overlap(o, taken) for taken in spans.values())]
        if not free:
            raise PromptError(
                f"more entities than places: every {text!r} in the prompt {prompt!r} already belongs to an entity; "
                "remove the entity that is too many"
            )
        spans[i] = free[0]
    return [spans[i] for i in range(len(drafts))]


def _gap(a: Span, b: Span) -> int:
    return max(a[0] - b[1], b[0] - a[1], 0)


def _entity(prompt: str, draft: _Draft, span: Span) -> Entity:
    attributes: list[Attribute] = []
    for text, given in draft.attributes:
        # English puts attributes first, so of two equally near occurrences the earlier one is meant.
        options = [given] if given else sorted(_occurrences(prompt, text), key=lambda o: (_gap(o, span), o))
        taken = {attribute.span for attribute in attributes}
        chosen = next((option for option in options if option not in taken), None)
        if chosen is None:
            raise PromptError(f"{draft.text!r} names the attribute {text!r} more often than the prompt {prompt!r} does")
        attributes.append(Attribute(text if given else prompt[slice(*chosen)], chosen))
    return Entity(draft.text if draft.span else prompt[slice(*span)], span, tuple(attributes))
