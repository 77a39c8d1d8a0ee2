"""Which earlier thing a later one names again: "a red ball. The ball ..."; "the green ball" is another one."""

from __future__ import annotations

from collections.abc import Sequence

from dymo.prompt.english import lexicon
from dymo.prompt.english.things import Thing
from dymo.prompt.english.words import Words

# Of each of these kinds of words, two that differ are about two things; so are words of the one and of the other list.
_APART = (lexicon.COLOURS, lexicon.MATERIALS, lexicon.ORDINALS, lexicon.WHERE)
_OPPOSITES = ((lexicon.LARGE, lexicon.LITTLE), (lexicon.AGED, lexicon.YOUTHFUL))
_ORDER = ("first", "second", "third", "fourth")


def earlier(words: Words, thing: Thing, before: Sequence[Thing]) -> Thing | None:
    """The one of the things before that a thing names again: of those that it may be, the one of which most is said again."""
    own = told(words, thing)
    if own & {"other", "another"}:
        return None
    alike = [t for t in before if words.low(t.head) == words.low(thing.head)]
    may_be = [t for t in alike if not _differ(words, t, thing)]
    own_behind = _behind(words, thing)
    best = max(may_be, key=lambda t: len(own & _known(words, t)) + len(own_behind & _behind(words, t)), default=None)
    place = next((n for n, word in enumerate(_ORDER) if word in own), None)
    if best is None or place is None or own & _known(words, best):
        return best
    # "a dog and another dog, the second dog": that many have been named, or it is a new one.
    return alike[place] if place < len(alike) and alike[place] in may_be else None


def told(words: Words, thing: Thing) -> set[str]:
    """By which words a thing is told from others like it: those before its noun, and where it is ("on the left")."""
    return {words.low(i) for i in thing.before_head} | _side(words, thing)


def _known(words: Words, thing: Thing) -> set[str]:
    return told(words, thing) | {words.low(i) for i in thing.attributes}


def _side(words: Words, thing: Thing) -> set[str]:
    """ "the cat on the far left"; "on the left of a sofa" is a relation."""
    i = thing.end + 1
    if words.kind(thing.end) != "P":
        return set()
    while words.kind(i) == "D" or words.low(i) == "the":
        i += 1
    found = set()
    while words.low(i) in lexicon.WHERE or words.low(i) in ("other", "side", "hand", "far"):
        found.add(words.low(i))
        i += 1
    if words.low(i) == "of" or not found & (lexicon.WHERE | {"side"}):
        return found & {"other"}
    return found - {"side", "hand", "far"}


def _behind(words: Words, thing: Thing) -> set[str]:
    """The words of what somebody has, or is beside, by which he can be told: "the man with the red cap"."""
    i = thing.end
    while words.kind(i) in "PVRWD":
        i += 1
    found = set()
    while i > thing.end and words.kind(i) in "ANM":
        found.add(words.low(i))
        i += 1
    return found


def _differ(words: Words, first: Thing, thing: Thing) -> bool:
    """Whether what tells a thing from others cannot be said of the first."""
    known, own = _known(words, first), told(words, thing)
    if any(known & kind and own & kind and not known & own & kind for kind in _APART):
        return True
    if any((known & a and own & b) or (known & b and own & a) for a, b in _OPPOSITES):
        return True
    if any(a and b and a != b for a, b in zip(_whose(words, first), _whose(words, thing), strict=True)):
        return True
    if words.low(first.start - 1) != "the" or own & known:
        return False
    if words.kind(first.end) == "P" and words.low(first.end) == words.low(thing.end):
        # "the man with the beard and the man with the cap".
        behind = _behind(words, first), _behind(words, thing)
        if all(behind) and not behind[0] & behind[1]:
            return True
    # Two definite ones, each told from the other: "the wooden chair ... the plastic chair".
    return bool(own and told(words, first)) or bool(own & lexicon.WHERE)


def _whose(words: Words, thing: Thing) -> tuple[str, str]:
    """The pronoun before a thing ("his crown"), and the owner named before it ("the king's crown")."""
    before = words.low(thing.start - 1)
    pronoun = before if before in ("its", "his", "her", "their") else ""
    mark = next((i for i in range(thing.start - 1, thing.head) if words.kind(i) == "S"), None)
    return pronoun, "" if mark is None else words.low(mark - 1)
