"""Which thing does or has what a verb or preposition says: whom "wearing a hat" and "with blue eyes" are said of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dymo.prompt.english import lexicon
from dymo.prompt.english.things import Thing
from dymo.prompt.english.words import Words

if TYPE_CHECKING:
    from dymo.prompt.english.relations import Link

Named = tuple[Thing, int]  # a mention, and the place of its thing among those that are shown
# Before a predicate that is of each thing in a list.
_OF_SEVERAL = ("both", "all", "each", "they", "are", "were")
# Prepositions that say of a garment or a part itself what it has or is; the others say where its wearer or whole is.
_NO_PLACES = ("of", "with", "from", "for", "to", "as", "like", "without")
# How many mentions before a predicate may be its list.
_LONGEST = 9


def tied_to(
    words: Words, named: Sequence[Named], thing: Thing, links: Sequence[Link], start: int, end: int
) -> Named | None:
    """The mention that the words [start, end) tie a thing to."""
    own = next((one for one in named if one[0].end == start), None)
    if own is not None and (words.low(start) == "full" or _is_on_ones_body(words, thing, start, end)):
        return own
    subject = _apart(words, named, links, start) or _subject(words, named, links, start, end)
    first = words[start].low
    if subject is not None and first in lexicon.WEARING and not _may_wear(words, subject[0]):
        # "looking through a microscope wearing a coat".
        above = _linked_to(named, links, subject)
        subject = above if above is not None and _is_living(words, above[0]) else subject
    if subject is not None and any((link.subject, words[link.start].low) == (subject[1], first) for link in links):
        # "a dog in a car and a cat in a tree": no dog is in both.
        subject = next((one for one in named if one[0].end == start and _is_joined(words, one[0])), subject)
    return _bearer(words, named, thing, links, start) or subject


def all_of(words: Words, named: Sequence[Named], subject: Named, thing: Thing, start: int) -> list[Named]:
    """ "a cat and a dog both wearing hats", "a cat and a dog are in a car": each mention of the list that is tied to a thing."""
    i = start - 1
    while words.kind(i) not in "NW" and words.low(i) not in _OF_SEVERAL and i > 0:
        i -= 1
    which = words.kind(i) == "W" or (words.low(i) in ("are", "were") and words.kind(i - 1) == "W")
    of_several = words.low(i) in _OF_SEVERAL or words[start].tag == "VBP"
    if which or not (of_several or _are_clothes(words, thing, start)):
        # "a boy and two cats that are on a sofa".
        return [subject]
    before = [one for one in named if one[0].end <= start][-_LONGEST:]
    first = _list_head(words, before, subject[0])
    several = [one for one in before if _list_head(words, before, one[0]) is first]
    between = range(several[0][0].start, start) if several else ()
    apart = any(words.kind(n) not in "DANMC," for n in between) or not all(_may_wear(words, one[0]) for one in several)
    if not of_several and apart:
        # "a boy in a coat and a girl in boots", "a woman in a hat and a dog in boots".
        return [subject]
    return several[-2:] if words.low(i) == "both" and several else several or [subject]


def _are_clothes(words: Words, thing: Thing, start: int) -> bool:
    """ "a cat and a dog wearing hats", "a man and a dog with matching scarves": several that each of a list may wear."""
    worn = words.low(start) in lexicon.WEARING or (words.low(start) == "in" and _is_a(words, thing, "worn"))
    worn = worn or any(words.low(i) in ("matching", "identical") for i in thing.before_head)
    return worn and words[thing.head].tag == "NNS"


def _list_head(words: Words, named: Sequence[Named], thing: Thing) -> Thing:
    """The first mention of the list that a mention is in, by the dependency tree."""
    for _ in named:
        word = words[thing.head]
        above = next((one[0] for one in named if word.head in one[0]), None)
        if above is not None and _is_a(words, above, "worn", "body") and not _is_a(words, thing, "worn", "body"):
            # "a man with a cap and a woman": taken for "a cap and a woman".
            bearer = words[words[above.head].head].head
            above = next((one[0] for one in named if bearer in one[0]), above)
        if word.dependency not in ("conj", "appos") or above is None or above.start >= thing.start:
            return thing
        thing = above
    return thing


def _apart(words: Words, named: Sequence[Named], links: Sequence[Link], start: int) -> Named | None:
    """ "a girl with silver hair and green eyes, wearing a coat": behind a comma, a participle is of what the phrase is about."""
    if words.kind(start - 1) != "," or words.kind(start) != "V" or words[start].tag not in ("VBG", "VBN"):
        return None
    before = [one for one in named if one[0].end < start][-_LONGEST:]
    if not before or any(words.kind(i) == "." for i in range(before[-1][0].end, start)):
        return None
    found = before[-1]
    for _ in before:
        first = _list_head(words, before, found[0])
        listed = next((one for one in before if one[0] is first), found)
        above = _linked_to(before, links, found) or _linked_to(before, links, listed)
        if above is None:
            break
        found = above
    if not _is_a(words, found[0], "body", "worn"):
        return found
    others = [one for one in before if not _is_a(words, one[0], "body", "worn")]
    return next((one for one in reversed(others) if _is_living(words, one[0])), found)


def _linked_to(named: Sequence[Named], links: Sequence[Link], one: Named) -> Named | None:
    """The mention that a link ties another one to."""
    above = next((link.subject for link in reversed(links) if link.object == one[1]), None)
    return next((other for other in reversed(named) if other[1] == above and other[0].start < one[0].start), None)


def _is_on_ones_body(words: Words, thing: Thing, start: int, end: int) -> bool:
    """ "a parrot on his shoulder", "a tiara on her head"."""
    own = words.low(thing.start - 1) in ("his", "her", "its", "their") and _is_a(words, thing, "body", "part")
    return own and end - start == 1 and words.kind(start) == "P" and words.low(start) != "with"


def _may_wear(words: Words, thing: Thing) -> bool:
    living = _is_living(words, thing) or words.low(thing.head) in lexicon.HUMANLIKE | lexicon.CREATURES
    return living or _is_a(words, thing, "likeness")


def _meant(words: Words, named: Sequence[Named], pronoun: int) -> Named | None:
    """Whom "he" or "she" or "it" is about: the first one of the nearest sentence before that names any such thing."""
    said = words.low(pronoun)
    if said not in ("he", "she", "it"):
        return None
    his, not_his = (lexicon.FEMALE, lexicon.MALE) if said == "she" else (lexicon.MALE, lexicon.FEMALE)
    before = [one for one in named if one[0].end <= pronoun and not _is_a(words, one[0], "body", "worn")]
    people = [one for one in before if _is_a(words, one[0], "person") or words.low(one[0].head) in lexicon.PEOPLE]
    if said == "it":
        pools = [[one for one in before if one not in people]]
    else:
        told = [one for one in people if words.low(one[0].head) in his]
        pools = [told, [one for one in people if words.low(one[0].head) not in not_his], [one for one in before if _may_wear(words, one[0])]]
    pool = next(filter(None, pools), [])
    ends = [i for i in range(pronoun) if words.low(i) in (".", "!", "?", ";")]
    return next((one for one in pool if not any(one[0].end <= i < pool[-1][0].start for i in ends)), None)


def _subject(words: Words, named: Sequence[Named], links: Sequence[Link], start: int, end: int) -> Named | None:
    """The mention that is the subject of a predicate, with the place of its thing."""
    own = [place for i in range(start, end) for place in reversed(words.subjects(i))]
    ones_own = _ones_own(words, named, start)
    named = [one for one in named if not any(one[0] is thing for thing in ones_own)]
    if not own and words[start].tag in ("VBZ", "VBP", "VBD"):
        # "the king has a crown and the queen has a robe": taken for "a crown and the queen"; "the cat has orange fur": "has" for
        # a part of another verb.
        own = [one[0].head for one in named if one[0].end == start and (_is_joined(words, one[0]) or words[start].dependency == "aux")]
    heads = [start]
    for _ in range(5):
        found = next((one for holder in own for one in named if holder in one[0]), None)
        found = found or next((meant for holder in own if (meant := _meant(words, named, holder))), None)
        if found is not None:
            return found
        place = words[heads[-1]].head
        # "sitting on a bench next to a dog": whoever sits there.
        does = next((link.subject for link in links if link.start <= place < link.end and place < start), None)
        standing = next((one for one in reversed(named) if one[1] == does and one[0].end <= start), None)
        if standing is not None and words.low(start) not in ("from", "of", "for"):
            return standing
        if place < 0 or place in heads:
            break
        heads.append(place)
        # What a verb of the predicate itself has is its subject; another word may be within the thing, too.
        own = [*([] if start <= place < end else [place]), *reversed(words.subjects(place))]
    # Only where nothing but the thing's own words lie between.
    return next((one for one in reversed(named) if one[0].end <= start), None)


def _bearer(words: Words, named: Sequence[Named], thing: Thing, links: Sequence[Link], start: int) -> Named | None:
    """ "a dog chasing a cat with a blue ribbon": the mention right before "with", if it is of a kind that has such a thing."""
    end = thing.start - (words.kind(thing.start - 1) == "D")
    if end - start > 1 or words.low(start) != "with" or words.low(end) in ("its", "his", "her", "their"):
        return None
    before = next((one for one in named if one[0].end == start), None)
    if before is None:
        return None
    head, bearer = words.low(before[0].head), before[0]
    living = _is_living(words, bearer) or head in lexicon.HUMANLIKE | lexicon.CREATURES
    room = head in lexicon.ROOMS and (_is_a(words, thing, "body", "worn") or words.low(thing.head) in ("wheel", "wheels"))
    if room or (head in lexicon.GROUND and _is_a(words, thing, "body", "worn", "part")):
        standing = _standing(words, named, links, before)
        return None if standing and _is_living(words, standing[0]) and _is_a(words, thing, "part") else standing
    if _is_a(words, thing, "body", "worn"):
        return before if living else None
    # "driving a car with big wheels".
    acted_on = words.kind(_governor(words, bearer)) == "V" and not living and not _is_a(words, bearer, "body", "worn")
    return before if acted_on and _is_a(words, thing, "part") else None


def _standing(words: Words, named: Sequence[Named], links: Sequence[Link], ground: Named) -> Named | None:
    """ "a house on a hill with a red door": what is no ground and stands where the ground is."""
    at: int | None = ground[1]
    for _ in range(len(links) + 1):
        standing = next((one for one in named if one[1] == at), ground)
        if words.low(standing[0].head) not in lexicon.GROUND and standing is not ground:
            return standing
        at = next((link.subject for link in reversed(links) if link.object == at and words.kind(link.start) in "PV"), None)
        if at is None:
            break
    return None


def _is_living(words: Words, thing: Thing) -> bool:
    return _is_a(words, thing, "person", "animal") or words.low(thing.head) in lexicon.PEOPLE


def _is_a(words: Words, thing: Thing, *kinds: str) -> bool:
    return any(lexicon.is_kind(words.low(thing.head), kind) for kind in kinds)


def _ones_own(words: Words, named: Sequence[Named], end: int) -> list[Thing]:
    """What somebody has or wears that is not the subject of the word at `end`.

    "a robot with glowing eyes holding a flower": it does nothing; "a girl in a red dress in a garden": a garment, or a part, is where she is.
    """
    thing = next((one[0] for one in named if one[0].end == end), None)
    if thing is not None and words.kind(end) == "P" and words.low(_governor(words, thing)) in {"with", "in"} | lexicon.WEARING:
        return [thing] if _is_a(words, thing, "worn", "part") and _stands(words, named, end) else []
    if thing is None or words.kind(end) != "V":
        return []
    stands = words.low(end) in lexicon.STANCES | lexicon.STANDS and _is_a(words, thing, "part")
    # "a dog with a head made with wires": what is done to it is said of it.
    passive = words[end].tag in ("VBN", "VBD") and words.low(end) not in lexicon.STANCES
    if passive or not (stands or _is_a(words, thing, "body", "worn")):
        return []
    governor = _governor(words, thing)
    own = [thing]
    for other, _ in reversed(named):
        # "wearing a hoodie and blue sunglasses standing on a hill".
        if words.kind(governor) in "C," and other.end == governor:
            governor = _governor(words, other)
            own.append(other)
    has = words.low(governor) in {"with", "in"} | lexicon.WEARING or (stands and words.kind(governor) == "P")
    return own if has else []


def _stands(words: Words, named: Sequence[Named], preposition: int) -> bool:
    """Whether what is governed by a preposition is where somebody stands; a hat is "of" felt, and "on" a head."""
    place = next((one[0] for one in named if one[0].start > preposition), None)
    return words.low(preposition) not in _NO_PLACES and place is not None and not _is_a(words, place, "body", "worn", "part")


def _is_joined(words: Words, thing: Thing) -> bool:
    return words.kind(_governor(words, thing)) == "C"


def _governor(words: Words, thing: Thing) -> int:
    """The place of the word before a thing and its determiner."""
    return thing.start - 1 - (words.kind(thing.start - 1) == "D")
