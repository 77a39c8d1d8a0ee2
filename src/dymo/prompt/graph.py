"""The semantic graph of a prompt: which entities it names, with which attributes, at which characters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from dymo.errors import PromptError
from dymo.prompt.align import Span
from dymo.prompt.numerals import is_numeral
from dymo.prompt.written import read_graph

__all__ = ["Attribute", "Entity", "Relation", "SemanticGraph", "Span"]


@dataclass(frozen=True)
class _Word:
    text: str
    span: Span

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            raise PromptError(f"the text of a word must be a string with something in it, got {self.text!r}")
        # bool is an int to Python, but true is no offset.
        whole = isinstance(self.span, (list, tuple)) and len(self.span) == 2 and all(type(n) is int for n in self.span)
        if not whole:
            raise PromptError(f"the span of {self.text!r} must be two whole numbers (start, end), got {self.span!r}")
        object.__setattr__(self, "span", tuple(self.span))


@dataclass(frozen=True)
class Attribute(_Word):
    """A word that describes an entity; `span` is its (start, end) character offsets into the prompt."""


@dataclass(frozen=True)
class Entity(_Word):
    """A thing the image must show; `span` is its (start, end) character offsets, `attributes` what describes it.

    part_of: the place in the graph's entities of what this is a part of, is worn by or is in: a jacket of its wearer.
    same_as: the place of an entity that names the same thing.
    """

    attributes: tuple[Attribute, ...] = ()
    part_of: int | None = None
    same_as: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "attributes", _all_of(self.attributes, Attribute, f"the attributes of {self.text!r}"))


@dataclass(frozen=True)
class Relation(_Word):
    """How one entity stands to another ("holding", "to the left of").

    `span` is its (start, end) character offsets; `subject` and `object` are places in the graph's list of entities.
    """

    subject: int
    object: int


@dataclass(frozen=True)
class SemanticGraph:
    """A prompt, the entities it names, the words that describe the whole image (`style`), and the entities' relations.

    Raises PromptError where a span lies outside the prompt or does not hold its text (upper and lower case are equal),
    where a relation names an entity that is not there or ties one to itself, and where entities are parts of each other.
    """

    prompt: str
    entities: tuple[Entity, ...]
    style: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise PromptError(f"the prompt must be a string, got {self.prompt!r}")
        for name, kind in (("entities", Entity), ("style", str), ("relations", Relation)):
            object.__setattr__(self, name, _all_of(getattr(self, name), kind, f"the graph's {name}"))
        for word in (*self.relations, *self.entities, *(a for entity in self.entities for a in entity.attributes)):
            start, end = word.span
            if not 0 <= start < end <= len(self.prompt):
                raise PromptError(f"the span {word.span} of {word.text!r} lies outside the prompt {self.prompt!r}")
            if self.prompt[start:end].lower() != word.text.lower():
                raise PromptError(
                    f"the span {word.span} holds {self.prompt[start:end]!r}, not {word.text!r}, in the prompt "
                    f"{self.prompt!r}: correct the span, or leave it out to have it found"
                )
        count = len(self.entities)
        for r in self.relations:
            if not all(type(end) is int and 0 <= end < count for end in (r.subject, r.object)) or r.subject == r.object:
                raise PromptError(
                    f"the relation {r.text!r} ties entity {r.subject!r} to entity {r.object!r}: give two different "
                    f"places in the list of {count} entities, counted from 0"
                )
        for n in range(count):
            self._kin(n)

    def bound(self, numerals: bool = False) -> Iterator[tuple[Entity, Attribute]]:
        """Each entity with each attribute that is to be drawn where it is: S_pos of arXiv 2412.00759.

        A number is left out without `numerals`: "two" describes no place, and no one of two dogs.
        """
        for entity in self.entities:
            for attribute in entity.attributes:
                if numerals or not is_numeral(attribute.text):
                    yield entity, attribute

    def opposed(self, wholes_and_parts: bool = False) -> Iterator[tuple[int, int]]:
        """The places (i, j), i < j, of the entities to be drawn apart: S_neg of arXiv 2412.00759.

        An entity is not opposed to one that names the same thing (`same_as`, or the same characters); nor, without
        `wholes_and_parts`, to what it is directly or indirectly a part of: by `part_of`, or by a relation of the same
        characters that also ties it to that ("a cat and a dog both wearing hats").
        """
        kin = [self._wholes(n) for n in range(len(self.entities))]
        for i, j in combinations(range(len(self.entities)), 2):
            same = kin[i][0] == kin[j][0] or self.entities[i].span == self.entities[j].span
            whole = kin[i][0] in kin[j] or kin[j][0] in kin[i]
            if not same and (wholes_and_parts or not whole):
                yield i, j

    def _kin(self, n: int) -> list[int]:
        """The first entity that names the same thing as entity n, then each that it is a part of. Raises PromptError."""
        at: int | None = n
        seen: list[int] = []
        while at is not None:
            if type(at) is not int or not 0 <= at < len(self.entities) or at in seen:
                raise PromptError(
                    f"part_of or same_as of {self.entities[n].text!r} leads to entity {at!r}: give places in the list of "
                    f"{len(self.entities)} entities, counted from 0, that do not lead back"
                )
            seen.append(at)
            entity = self.entities[at]
            at = entity.part_of if entity.same_as is None else entity.same_as
        return [at for at in seen if self.entities[at].same_as is None]

    def _wholes(self, n: int) -> list[int]:
        """The kin of entity n, and of what the same words tie to a part as they tie its whole to it."""
        kin = self._kin(n)
        for part in tuple(kin):
            ties = [r for r in self.relations if r.object == part]
            spans = {r.span for r in ties if r.subject == self.entities[part].part_of}
            kin += [whole for r in ties if r.span in spans for whole in self._kin(r.subject)]
        return kin

    def to_json(self) -> str:
        """The graph as a JSON object with every span, which `from_json` reads back to an equal graph."""
        whole = asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})
        return json.dumps(whole, ensure_ascii=False)

    @classmethod
    def from_json(cls, source: str | Mapping[str, Any]) -> SemanticGraph:
        """The graph that a JSON text, or the object in it, describes; the forms are told at `dymo.prompt.written.read_graph`.

        Raises PromptError on malformed JSON, wrong types or keys, and words the prompt does not hold.
        """
        return cls.placed(read_graph(source))

    @classmethod
    def placed(cls, data: Mapping[str, Any]) -> SemanticGraph:
        """The graph of an object in the JSON form that has every span. Raises PromptError."""
        entities = (Entity(**{**e, "attributes": [Attribute(**a) for a in e["attributes"]]}) for e in data["entities"])
        relations = (Relation(**relation) for relation in data["relations"])
        return cls(data["prompt"], tuple(entities), tuple(data["style"]), tuple(relations))


def _all_of(items: object, kind: type, what: str) -> tuple[Any, ...]:
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, kind) for item in items):
        raise PromptError(f"{what} must be a list of {kind.__name__}, got {items!r}")
    return tuple(items)
