"""Words that a language model claims of a prompt, put where they stand in it: as written, or repaired where that is unambiguous."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from dymo.prompt.graph import Attribute, Entity, Relation, SemanticGraph, Span
from dymo.prompt.placing import gap, occurrences, overlap

_CLOSE = 0.8
"""The least likeness (difflib's ratio, 0..1) of a misspelt word and the prompt's own."""


@dataclass(frozen=True)
class Claim:
    """A thing and its attributes, as somebody says the prompt names them."""

    thing: str
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """How one claimed thing stands to another, by their texts."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True)
class Aligned:
    """The graph of what could be placed, and the words that could not."""

    graph: SemanticGraph
    missing: tuple[str, ...]


def align(prompt: str, claims: Sequence[Claim], links: Sequence[Link] = (), style: Iterable[str] = ()) -> Aligned:
    """The graph of the claims about a prompt.

    A word is found by `find_spans`. The n-th claim of a thing takes its n-th place; more claims than places are one
    thing, with the attributes of all. An attribute takes the place nearest its thing. What has no place is `missing`.
    """
    missing: list[str] = []
    places: list[Span] = []
    described: dict[Span, dict[Span, None]] = {}
    for claim in claims:
        options = find_spans(prompt, claim.thing)
        if not options:
            missing.append(claim.thing)
            continue
        free = [o for o in options if not any(overlap(o, taken) for taken in described)]
        if not free and not any(o in described for o in options):
            # Within another thing's words: "tea party" is claimed, and "party" too.
            continue
        span = free[0] if free else next(o for o in options if o in described)
        places.append(span)
        attributes = described.setdefault(span, {})
        for word in claim.attributes:
            near = sorted(find_spans(prompt, word), key=lambda o: (gap(o, span), o))
            if not near:
                missing.append(word)
            fitting = (o for o in near if not overlap(o, span))
            attributes.update(dict.fromkeys(list(fitting)[:1]))
    entities = tuple(
        Entity(prompt[slice(*span)], span, tuple(Attribute(prompt[slice(*a)], a) for a in sorted(attributes)))
        for span, attributes in described.items()
    )
    relations = _relations(prompt, links, entities, missing)
    words = [find_spans(prompt, word) for word in style]
    kept = dict.fromkeys(prompt[slice(*spans[0])] for spans in words if spans)
    return Aligned(SemanticGraph(prompt, entities, tuple(kept), relations), tuple(dict.fromkeys(missing)))


def find_spans(prompt: str, text: str) -> list[Span]:
    """The places in the prompt that a text can only mean; none where that is nothing or more than one word.

    As whole words, in any case; else without hyphens and white space, or inflected or misspelt ("potato" for
    "potatoes") if exactly one word of the prompt is like it; of a text of several words, else its last.
    """
    found = occurrences(prompt, text)
    if found or not text.strip():
        return found
    words = [(match.group(), match.span()) for match in re.finditer(r"\w+(?:['’-]\w+)*", prompt)]
    bare = re.sub(r"\W|_", "", text).lower()
    rows = [
        (words[i][1][0], words[j][1][1])
        for i in range(len(words))
        for j in range(i, min(i + 4, len(words)))
        if bare and re.sub(r"\W|_", "", "".join(word for word, _ in words[i : j + 1])).lower() == bare
    ]
    if rows:
        return rows
    parts = text.split()
    if len(parts) > 1:
        return find_spans(prompt, parts[-1])
    pieces = {match.group().lower() for match in re.finditer(r"[^\W_]+", prompt)}
    close = {piece for piece in pieces if _alike(bare, piece)}
    return occurrences(prompt, close.pop()) if len(close) == 1 else []


def _alike(a: str, b: str) -> bool:
    if min(len(a), len(b)) < 4:
        return False
    if a[0] == b[0] and SequenceMatcher(None, a, b, autojunk=False).ratio() >= _CLOSE:
        return True
    return False


def _relations(
    prompt: str, links: Sequence[Link], entities: Sequence[Entity], missing: list[str]
) -> tuple[Relation, ...]:
    found = []
    for link in links:
        ends = [_entity_of(prompt, text, entities) for text in (link.subject, link.object)]
        subject, object_ = ends
        if subject is None or object_ is None or subject == object_:
            continue
        spans = occurrences(prompt, link.relation)
        if not spans:
            missing.append(link.relation)
            continue
        near = min(spans, key=lambda o: (gap(o, entities[subject].span) + gap(o, entities[object_].span), o))
        relation = Relation(prompt[slice(*near)], near, subject, object_)
        if relation not in found:
            found.append(relation)
    return tuple(found)


def _entity_of(prompt: str, text: str, entities: Sequence[Entity]) -> int | None:
    spans = find_spans(prompt, text)
    return next((n for n, entity in enumerate(entities) if any(overlap(entity.span, s) for s in spans)), None)
