"""The plain verb of several subjects, which a tagger takes for a part of a noun: "a cat and a dog wear hats"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dymo.prompt.english import lexicon

if TYPE_CHECKING:
    from dymo.prompt.english.words import Words


def mend_plain_verbs(words: Words) -> None:
    """Take for verbs what two living things named before do, and for nouns what they do it to; the tree is mended with them."""
    for i in range(3, len(words)):
        subject = i - 1
        if words.kind(subject) != "N" or words[i].kind not in "NVA" or "V" not in words[i].can:
            continue
        first = _first_subject(words, subject)
        if words[i].kind != "V" and first is not None and _is_done(words, i):
            words[i].kind, words[i].tag = "V", "VBP"
            top = words[i].head
            words[i].head, words[i].dependency = i, "ROOT"
            words[subject].head, words[subject].dependency = first, "conj"
            if top > i and words[top].kind in "NV":
                words[top].head, words[top].dependency = i, "dobj"
    for i in range(1, len(words) - 1):
        # "children fly kites": behind a verb there is no second one that could have its subject.
        acts = words[i].kind == "V" and words[i].tag in ("VBP", "VB") and words[i].low not in lexicon.BE | lexicon.AUXILIARIES
        after = words[i + 1]
        if acts and after.kind == "V" and after.tag == "VBZ" and "N" in after.can and after.low not in lexicon.BE:
            after.kind, after.tag = "N", "NNS"


def _first_subject(words: Words, last: int) -> int | None:
    """The place of the first of two subjects, "a cat" of "a cat and a dog in a hat", if the last noun of the second is given."""
    i = _opening(words, last)
    if not _is_living(words.low(last)):
        # "a girl in a blue dress".
        worn = lexicon.is_kind(words.low(last), "worn") and words.low(i) in ("in", "with")
        if not worn or not _is_living(words.low(i - 1)):
            return None
        i = _opening(words, i - 1)
    return i - 1 if words.low(i) in ("and", "&") and words.kind(i - 1) == "N" else None


def _opening(words: Words, noun: int) -> int:
    """The place of the word before a noun, what describes it, and its determiner."""
    i = noun - 1
    while words.kind(i) in "AMN":
        i -= 1
    return i - (words.kind(i) == "D")


def _is_living(noun: str) -> bool:
    living = noun in lexicon.PEOPLE | lexicon.HUMANLIKE | lexicon.CREATURES
    return living or any(lexicon.is_kind(noun, kind) for kind in ("person", "animal"))


def _is_done(words: Words, i: int) -> bool:
    """Whether word i, behind the second subject, is what they do; "a cat and a dog house" has no verb."""
    after = words.kind(i + 1)
    if after == "D":
        # No noun has a determiner right behind it.
        return True
    deed = lexicon.is_abstract(words.low(i))
    if after in ".,":
        return deed
    return (deed or words.low(i) in lexicon.ACTS) and after in "PRNAMV"
