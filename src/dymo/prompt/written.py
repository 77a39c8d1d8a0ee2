"""Graphs that somebody wrote as JSON, with every span filled in: this project's form, or the reference implementation's."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dymo.errors import PromptError, PromptWarning
from dymo.prompt.align import align
from dymo.prompt.placing import Span, find, gap, nearest, place_apart


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Word(_Strict):
    text: Annotated[str, Field(pattern=r"\S")]
    span: tuple[int, int] | None = None

    @field_validator("span", mode="before")
    @classmethod
    def _listed(cls, span: object) -> object:
        return tuple(span) if isinstance(span, list) else span


class _Entity(_Word):
    attributes: list[_Word] = []
    part_of: int | None = None
    same_as: int | None = None

    @field_validator("attributes", mode="before")
    @classmethod
    def _as_words(cls, items: object) -> object:
        return (
            [{"text": item} if isinstance(item, str) else item for item in items] if isinstance(items, list) else items
        )


class _Relation(_Word):
    subject: int
    object: int


class _Graph(_Strict):
    prompt: str
    entities: list[_Entity] = []
    style: list[str] = []
    relations: list[_Relation] = []
    tokens: Any = None
    """What `dymo graph --tokenizer` adds; passed over."""


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
            return _from_reference(_Reference.model_validate(source))
        return _complete(_Graph.model_validate(source))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise PromptError(f"no graph in the JSON form: {where}: {first['msg']}, got {first['input']!r:.200}") from None


def _complete(graph: _Graph) -> dict[str, Any]:
    prompt = graph.prompt
    spans = place_apart(prompt, [(entity.text, entity.span) for entity in graph.entities])
    entities = []
    for entity, span in zip(graph.entities, spans, strict=True):
        attributes: list[dict[str, Any]] = []
        for word in entity.attributes:
            taken = [attribute["span"] for attribute in attributes]
            place = word.span or nearest(prompt, word.text, span, taken)
            if place is None or place in taken:
                raise PromptError(
                    f"{entity.text!r} names the attribute {word.text!r} more often than the prompt {prompt!r} does"
                )
            attributes.append(_placed(prompt, word, place))
        kin = {"part_of": entity.part_of, "same_as": entity.same_as}
        entities.append({**_placed(prompt, entity, span), "attributes": attributes, **kin})
    relations = []
    for relation in graph.relations:
        # A wrong subject or object is told of by SemanticGraph.
        ends = [spans[i] for i in (relation.subject, relation.object) if 0 <= i < len(spans)]
        place = relation.span or min(find(prompt, relation.text), key=lambda o: (sum(gap(o, end) for end in ends), o))
        relations.append({**_placed(prompt, relation, place), "subject": relation.subject, "object": relation.object})
    return {"prompt": prompt, "entities": entities, "style": graph.style, "relations": relations}


def _placed(prompt: str, word: _Word, span: Span) -> dict[str, Any]:
    # A span that was given must hold the text as given, which is checked later; one that was found holds the prompt's.
    return {"text": word.text if word.span else prompt[slice(*span)], "span": span}


def _from_reference(data: _Reference) -> dict[str, Any]:
    claims = [claim for item in data.knowledge for claim in item.items()]
    style = [word for item in data.general for words in item.values() for word in words]
    graph, missing = align(data.prompt, claims, style=style)
    if missing:
        warnings.warn(
            f"left out of the graph, since the prompt {data.prompt!r} does not hold them: {', '.join(map(repr, missing))}",
            PromptWarning,
            stacklevel=2,
        )
    return graph
