"""The semantic graph of a prompt: which things it names, with which attributes, at which characters."""

from __future__ import annotations

import json
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
        check_word(self.text, self.span)
        object.__setattr__(self, "span", tuple(self.span))


@dataclass(frozen=True)
class Entity:
    """A thing the picture must show; `span` is its (start, end) character offsets, `attributes` what describes it."""

    text: str
    span: Span
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        check_word(self.text, self.span)
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
        check_word(self.text, self.span)
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
        relations = [
            {"text": r.text, "span": list(r.span), "subject": r.subject, "object": r.object} for r in self.relations
        ]
        whole = {"prompt": self.prompt, "entities": entities, "style": list(self.style), "relations": relations}
        return json.dumps(whole, ensure_ascii=False)

    @classmethod
    def from_json(cls, source: str | dict[str, Any]) -> SemanticGraph:
        """The graph that a JSON text, or the object in it, describes; see `dymo.prompt.written.read_graph`.

        Raises PromptError on malformed JSON, wrong types or keys, and words the prompt does not hold.
        """
        # Imported here: reading a graph builds on what a graph is.
        from dymo.prompt.written import read_graph

        return read_graph(source)


def _all_of(items: object, kind: type) -> bool:
    return isinstance(items, (list, tuple)) and all(isinstance(item, kind) for item in items)


def check_word(text: object, span: object) -> None:
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
