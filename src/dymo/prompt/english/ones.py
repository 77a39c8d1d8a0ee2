"""Words that stand for a thing of a kind named before: "a red ball and a blue one", "two cats, one black and one white"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dymo.prompt.english import lexicon

if TYPE_CHECKING:
    from dymo.prompt.english.things import Thing
    from dymo.prompt.english.words import Words

_ONES = ("one", "ones")
_OTHERS = ("other", "others", "another")
_NUMBERS = ("two", "three", "four", "five", "six", "some", "most", "both", "all", "each")
STANDING = frozenset((*_ONES, *_OTHERS, *_NUMBERS)) | lexicon.ORDINALS


def mend_ones(words: Words) -> None:
    """Take for nouns the words that stand for a thing; a determiner, a number or an adjective has its noun behind it."""
    many = False
    for i, word in enumerate(words):
        if word.low in _ONES and words.kind(i - 1) in "AD" and words.low(i - 1) not in lexicon.NEGATIONS:
            stands = _ends(words, i)
        elif word.low == "other" and (words.low(i - 1) == "each" or words.kind(i - 2) == "P") and words.kind(i + 1) not in "AMN":
            # "face each other"; "a cat on one side of a box and a dog on the other".
            word.kind, stands = "O", False
        elif not many:
            stands = False
        elif words.low(i + 1) == "of" and words.low(i + 2) in ("them", "which", "whom"):
            stands = word.low in (*_ONES, *_NUMBERS)
        elif word.low in lexicon.ORDINALS:
            stands = words.low(i - 1) == "the" and words.low(i + 1) in lexicon.BE
        elif word.low in _OTHERS:
            stands = words.low(i - 1) == "the" and words.kind(i + 1) in "VPA" and words.low(i + 1) != "of" and _ends(words, i)
        else:
            opens = words.kind(i - 1) in ",.C" and words.low(i + 1) != "of"
            counts = (word.kind == "M" and word.low.isalpha()) or word.low in ("some", "another", "others")
            stands = opens and counts and words.kind(i + 1) != "." and _ends(words, i)
        if stands:
            word.kind, word.tag = "N", "NNS" if word.low in ("ones", "others", *_NUMBERS) else "NN"
            _mend_follower(words, i)
        many = many or word.tag in ("NNS", "NNPS") or (word.kind == "M" and words.kind(i + 1) in "AN")
    _mend_elided(words)


def _mend_elided(words: Words) -> None:
    """ "one red and one blue cup", "a wooden and a metal chair": an adjective with a number or "a" of its own stands for the noun behind."""
    named: set[int] = set()
    for i in reversed(range(len(words))):
        if words.kind(i) != "A" or words.kind(i + 1) not in "C," or not _counts(words, i + 2):
            continue
        start, noun = i, i + 3
        while words.kind(start) in "AR":
            start -= 1
        while words.kind(noun) == "A" or (words.kind(noun) == "N" == words.kind(noun + 1)):
            noun += 1
        if _counts(words, start) and (noun in named or (noun > i + 3 and words.kind(noun) == "N")):
            words[i].kind, words[i].tag = "N", "NN" if words.low(start) in ("a", "an", "one") else "NNS"
            named.add(i)


def _counts(words: Words, i: int) -> bool:
    return words.kind(i) == "M" or words.low(i) in ("a", "an")


def stands_for_one(words: Words, thing: Thing) -> bool:
    """Whether a thing is one of those that several words before name: "the left one", "one", "the other"; not "a blue one"."""
    low, before = words.low(thing.head), words.low(thing.start - 1)
    if low not in STANDING:
        return False
    return before in ("the", "this", "that") or (thing.start == thing.head and low != "ones" and before not in ("a", "an"))


def _ends(words: Words, i: int) -> bool:
    """Whether no noun follows that word i could count or point to."""
    after = words.kind(i + 1)
    if after in "PWC.,O" or (after == "V" and words[i + 1].tag != "VBN"):
        return True
    kinds = ["A" if _is_adjective(words, n) else words[n].kind for n in range(i + 1, len(words))]
    if kinds[0] not in "AVR":
        return False
    closed = next((kind for kind in kinds if kind not in "ARV"), ".")
    # "one red and one blue cup".
    return closed in ".P" or (closed in ",C" and next((kind for kind in kinds if kind not in "AMRC,"), ".") != "N")


def _is_adjective(words: Words, i: int) -> bool:
    """Whether word i is the "round" of "one round", whatever it is taken for."""
    return words.low(i - 1) in (*_ONES, "some") and "A" in words[i].can and words.kind(i + 1) in ".,C"


def _mend_follower(words: Words, i: int) -> None:
    """ "one round, one sleeping": what says of one how it is, taken for its noun."""
    if words.kind(i + 1) in "NV" and words.kind(i + 2) in ",.C" and words[i + 1].tag != "VBZ":
        doing = words[i + 1].low.endswith("ing")
        words[i + 1].kind, words[i + 1].tag = ("V", "VBG") if doing else ("A", "JJ")
