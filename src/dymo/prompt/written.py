"""Graphs that somebody wrote as JSON, with every span filled in: this project's form, or the reference implementation's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dymo.errors import PromptError
from dymo.prompt.align import Span, align, find, gap, nearest, place_apart, warn_of_missing

_KINDS = {
    "model_type": "give an object", "missing": "it is not there", "extra_forbidden": "there is no such key", "string_type": "give a text",
    "list_type": "give a list", "tuple_type": "give a list",
}  # fmt: skip
"""pydantic's kinds of errors, which it says in words of Python."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Word(_Strict):
    text: Annotated[str, Field(pattern=r"\S")]
    span: Annotated[Span | None, BeforeValidator(lambda span: tuple(span) if isinstance(span, list) else span)] = None

    def place(self, prompt: str, span: Span) -> None:
        """Give the word its span. One that was given must hold the text as given; one that was found holds the prompt's."""
        if not self.span:
            self.text, self.span = prompt[slice(*span)], span


class _Entity(_Word):
    attributes: list[
        Annotated[_Word, BeforeValidator(lambda word: {"text": word} if isinstance(word, str) else word)]
    ] = []
    part_of: int | None = None
    same_as: int | None = None


class _Relation(_Word):
    subject: int
    object: int


class _Graph(_Strict):
    prompt: str
    entities: list[_Entity] = []
    style: list[str] = []
    relations: list[_Relation] = []
    tokens: Any = None  # what `dymo graph --tokenizer` adds; passed over


class _Reference(_Strict):
    prompt: str
    knowledge: list[dict[str, list[str]]]
    general: Annotated[list[dict[str, list[str]]], Field(alias="global")] = []


def read_graph(source: str | Mapping[str, Any]) -> dict[str, Any]:
    """The graph that a JSON text, or the object in it, describes, as such an object with every span.

    The form is `{"prompt": ..., "entities": [{"text": ..., "attributes": [...]}], "style": [...], "relations": [...]}`; an
    attribute is a string or `{"text": ..., "span": [start, end]}`, a relation `{"text": ..., "subject": 0, "object": 1}`
    with places in the list of entities; an entity may have `part_of` and `same_as`, places in that list too. A `span` left
    out is found by searching the prompt for whole words: the n-th entity of one text takes its n-th occurrence, an
    attribute the occurrence nearest its entity, a relation the one nearest between its entities.

    An object with `knowledge` is in the reference implementation's form, {"prompt": ..., "knowledge": [{entity:
    [attribute, ...]}], "global": [{"style": [...]}]}. Its words were written by a language model: they are repaired as
    `dymo.prompt.align.align` does; what cannot be placed is left out, with a PromptWarning that names it.

    Raises PromptError on malformed JSON, wrong types or keys, and words the prompt does not hold.
    """
    if isinstance(source, str):
        try:
            source = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise PromptError(f"the graph is not valid JSON: {error}") from error
    try:
        if isinstance(source, Mapping) and "knowledge" in source:
            data = _Reference.model_validate(source)
            claims = [claim for item in data.knowledge for claim in item.items()]
            style = [word for item in data.general for words in item.values() for word in words]
            graph, missing = align(data.prompt, claims, style=style)
            warn_of_missing(data.prompt, missing)
            return graph
        return _complete(_Graph.model_validate(source))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        said = _KINDS.get(first["type"], first["msg"])
        raise PromptError(f"no graph in the JSON form: {where}: {said}, got {first['input']!r:.200}") from None


def _complete(graph: _Graph) -> dict[str, Any]:
    prompt = graph.prompt
    spans = place_apart(prompt, [(entity.text, entity.span) for entity in graph.entities])
    for entity, span in zip(graph.entities, spans, strict=True):
        taken: list[Span] = []
        for word in entity.attributes:
            place = word.span or nearest(prompt, word.text, span, taken)
            if place is None or place in taken:
                raise PromptError(
                    f"{entity.text!r} names the attribute {word.text!r} more often than the prompt {prompt!r} does"
                )
            taken.append(place)
            word.place(prompt, place)
        entity.place(prompt, span)
    for relation in graph.relations:
        # A wrong subject or object is told of by SemanticGraph.
        ends = [spans[i] for i in (relation.subject, relation.object) if 0 <= i < len(spans)]
        near = relation.span or min(find(prompt, relation.text), key=lambda o: (sum(gap(o, end) for end in ends), o))
        relation.place(prompt, near)
    return graph.model_dump(exclude={"tokens"})
