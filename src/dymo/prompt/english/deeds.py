"""Verbs that a tagger takes for nouns, and nouns that it takes for verbs.

"a girl waves", the plain verb of several subjects, "a cat and a dog wear hats"; "a stop sign out at sea".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dymo.prompt.english import lexicon

if TYPE_CHECKING:
    from dymo.prompt.english.words import Words


def mend_deeds(words: Words) -> None:
    """Take for a verb what looks like a noun where no noun can be: "a girl waves at a dog", "a man in black riding a horse"."""
    for i, word in enumerate(words):
        had = lexicon.is_kind(word.low, "body") or lexicon.is_kind(word.low, "worn")
        if word.kind != "N" or "V" not in word.can or had:
            continue
        plural = word.tag in ("NNS", "NNPS", "VBZ") and word.low.endswith("s")
        start = words.run_start(i) - 1
        # "a boat painted green rests on a beach".
        awaited = "DPR" if words.low(start) in lexicon.LIGHT_VERBS else "D"
        coloured = words.low(i - 1) in lexicon.COLOURS and takes_colour(words, start) and words.kind(i + 1) in awaited
        if plural and (coloured or _is_deed(words, i)):
            word.kind, word.tag = "V", "VBZ"
        elif coloured and word.low.endswith("ing") and word.low not in lexicon.ING_NOUNS:
            word.kind, word.tag = "V", "VBG"


def mend_names(words: Words) -> None:
    """Take for a noun what looks like a verb where no verb can be: "a stop sign out at sea", "a lace gown", "an art deco building"."""
    for i, word in enumerate(words):
        before, after = words[i - 1] if i else word, words.kind(i + 1)
        if word.kind != "V" or "N" not in word.can or before.kind != "N" or after == "D":
            continue
        # A single noun has a verb in -s, but behind "watching" and "and".
        opened = words.kind(_opening(words, i - 1) + 1) == "D" and before.tag == "NN" and _first_subject(words, i - 1) is None
        plain = word.tag in ("VB", "VBP") and word.low not in lexicon.AUXILIARIES
        bare = plain and opened and word.dependency not in ("ccomp", "xcomp", "conj")
        worn = (plain or word.tag == "VBD") and lexicon.is_kind(word.low, "worn")
        # No style does anything.
        styled = word.low in lexicon.ING_NOUNS and before.low in lexicon.MEDIA and after in "P.,CW"
        if bare or worn or styled:
            word.kind, word.tag = "N", "NN"


def _is_deed(words: Words, i: int) -> bool:
    """Whether word i stands behind a single noun that "a" opens, or that names somebody, or beside another verb in -s."""
    before = words[i - 1] if i else words[i]
    if words.kind(i + 1) not in "APRD.,C":
        return False
    if before.kind == "C":
        # "a woman smiles and waves".
        return i > 1 and words[i - 2].kind == "V" and words[i - 2].tag == "VBZ"
    if before.kind != "N" or before.tag not in ("NN", "NNP") or before.low in lexicon.MEASURES:
        return False
    start = i - 1
    while words.kind(start - 1) in "AN" or (words.kind(start - 1) == "C" and words.kind(start - 2) == "A"):
        start -= 1
    return words.low(start - 1) in ("a", "an", "one", "another", "each", "every") or before.low in lexicon.PEOPLE


def takes_colour(words: Words, i: int) -> bool:
    """Whether word i may have a colour alone behind it: "in red", "wearing red", "painted red"."""
    return words.low(i) == "in" or words.low(i) in lexicon.WEARING | lexicon.LIGHT_VERBS


def mend_plain_verbs(words: Words) -> None:
    """Take for verbs what two living things named before do, and for nouns what they do it to; the tree is mended with them."""
    for i in range(2, len(words)):
        subject = i - 1
        if words.kind(subject) != "N" or words[i].kind not in "NVA" or "V" not in words[i].can:
            continue
        first = _first_subject(words, subject)
        if words[i].kind != "V" and first is not None and words.low(first) != words.low(i) and _is_done(words, i):
            words[i].kind, words[i].tag = "V", "VBP"
            top = words[i].head
            words[i].head, words[i].dependency = i, "ROOT"
            words[subject].head, words[subject].dependency = first, "conj"
            if top > i and words[top].kind in "NV":
                words[top].head, words[top].dependency = i, "dobj"
        elif words[i].kind in "NA" and _is_participle(words, i):
            words[i].kind, words[i].tag = "V", "VBG"
    for i in range(1, len(words) - 1):
        # "children fly kites", "cows graze": beside a verb there is no second one that could have its subject.
        acts = words[i].kind == "V" and words[i].tag in ("VBP", "VB") and words[i].low not in lexicon.BE | lexicon.AUXILIARIES
        for beside in (words[i - 1], words[i + 1]):
            if acts and beside.kind == "V" and beside.tag == "VBZ" and "N" in beside.can and beside.low not in lexicon.BE:
                beside.kind, beside.tag = "N", "NNS"


def _first_subject(words: Words, last: int) -> int | None:
    """The place of the first of two subjects, "a cat" of "a cat and a dog in a hat", if the last noun of the second is given."""
    i = _opening(words, last)
    if not _is_living(words.low(last)):
        # "a girl in a blue dress"; "a lamp and a mailbox".
        if words.low(i) in ("and", "&"):
            return i - 1 if words.kind(i - 1) == "N" else None
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


def _is_participle(words: Words, i: int) -> bool:
    """ "a girl in a yellow dress feeding pigeons", "a dragon breathing fire", "a butterfly landing on a rose"."""
    before, after = words.low(i - 1), words.kind(i + 1)
    opened = words.kind(_opening(words, i - 1) + 1) == "D"
    if not words.low(i).endswith("ing"):
        return False
    if words[i - 1].tag == "NNS" and words.kind(i - 1) == "N" and after in "NA" and words.low(i) not in lexicon.ING_NOUNS:
        # "arms playing drums": a plural is no part of another noun.
        return True
    if not opened:
        return False
    if words.low(_opening(words, i - 1) + 1) in ("a", "an") and after in "NA" and words.low(i) not in lexicon.ING_NOUNS and _is_several(words, i + 1):
        # "around a campfire roasting marshmallows": "a" opens no plural.
        return True
    if _is_living(before):
        animal = lexicon.is_kind(before, "animal") and not lexicon.is_kind(before, "person") and before not in lexicon.CREATURES
        # "a cat scratching post".
        return after == "P" or (after in "NA" and words.low(i) not in lexicon.ING_NOUNS and (not animal or _is_several(words, i + 1)))
    worn = lexicon.is_kind(before, "worn") and words.low(_opening(words, i - 1)) in ("in", "with")
    return worn and after in "NA" and words.low(i) not in lexicon.ING_NOUNS


def _is_several(words: Words, i: int) -> bool:
    while words.kind(i) == "A":
        i += 1
    return words[min(i, len(words) - 1)].tag == "NNS"


def _is_done(words: Words, i: int) -> bool:
    """Whether word i, behind the second subject, is what they do; "a cat and a dog house" has no verb."""
    after = words.kind(i + 1)
    if after == "D" and (_is_living(words.low(i - 1)) or lexicon.is_kind(words.low(i - 1), "worn")):
        # No noun has a determiner right behind it.
        return True
    deed = lexicon.is_abstract(words.low(i))
    if after in ".,":
        return deed and _is_living(words.low(i - 1))
    # "a lamp and a mailbox stand beside a fence" has a verb, "a hot dog stand" has none.
    stands = words.low(i) in lexicon.STANDS and not lexicon.is_compound(words.low(i - 1), words.low(i))
    if not _is_living(words.low(i - 1)) and not lexicon.is_kind(words.low(i - 1), "worn"):
        return stands and after == "P"
    return (deed or stands or words.low(i) in lexicon.ACTS) and after in "PRNAMV"
