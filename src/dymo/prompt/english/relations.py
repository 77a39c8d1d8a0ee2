"""How the things of a prompt stand to each other: the verb or preposition between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dymo.prompt.english import lexicon
from dymo.prompt.english.things import Role, Thing
from dymo.prompt.english.words import Words

# Words of place between two things: "to the left of", "on top of", "in front of".
_LONGEST = 9


@dataclass(frozen=True)
class Link:
    """The words [start, end) relate the thing at place `subject` in the list of shown things to that at `object`."""

    start: int
    end: int
    subject: int
    object: int


def find_links(words: Words, things: Sequence[Thing], shown: Sequence[Thing]) -> list[Link]:
    """A link for each thing that a verb or preposition right before it ties to an earlier one.

    The subject is what the dependency tree says the preposition or verb belongs to, else the thing nearest before.
    """
    links = []
    for n, thing in enumerate(shown):
        start, end = _predicate(words, things, thing)
        subject = _subject(words, shown, start, end) if start < end else None
        if subject is not None and subject < n:
            links.append(Link(start, end, subject, n))
    return links


def _predicate(words: Words, things: Sequence[Thing], thing: Thing) -> tuple[int, int]:
    """The places of the verb and prepositions before a thing; (i, i) where there are none."""
    measures = {i for other in things if other.role is Role.MEASURE for i in other.places}
    places = measures.union(*(other.places for other in things if other.role is Role.PLACE))
    end = thing.start
    while words.kind(end - 1) == "D":
        end -= 1
    start = end
    while start > 0 and end - start < _LONGEST:
        word = words[start - 1]
        of_place = start - 1 in places or (word.kind == "D" and start in places)
        full = word.low == "full" and start < end and words[start].low == "of"
        if not (word.kind in "PVR" or of_place or full or word.low == "next"):
            break
        start -= 1
    while start < end and (words[start].low in lexicon.BE or words[start].kind in "RDN" or start in measures):
        start += 1
    # "wine and a piece of bread": the measure is no relation.
    measured = start < end and words[start].low == "of" and start - 1 in measures
    denied = any(words[i].low in lexicon.NEGATIONS | lexicon.COMPARISONS for i in range(start, end))
    relates = any(words[i].kind in "PV" for i in range(start, end)) or words[start].low == "next"
    return (start, end) if relates and not measured and not denied else (end, end)


def _subject(words: Words, shown: Sequence[Thing], start: int, end: int) -> int | None:
    heads = [start]
    for _ in range(4):
        place = words[heads[-1]].head
        if place < 0 or place in heads:
            break
        heads.append(place)
        # What a verb of the predicate itself has is its subject; another word may be within the thing, too.
        holders = [] if start <= place < end else [place]
        for holder in [*holders, *words.subjects(place)]:
            found = _holding(shown, holder)
            if found is not None:
                return found
    # Only where nothing but the thing's own words lie between.
    return next((n for n in reversed(range(len(shown))) if shown[n].end <= start), None)


def _holding(shown: Sequence[Thing], place: int) -> int | None:
    return next((n for n, thing in enumerate(shown) if place in thing), None)
