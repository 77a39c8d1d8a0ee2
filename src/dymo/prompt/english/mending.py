"""What kind of word each word of a prompt is, corrected from the words around it and from the lists of words.

spaCy's model was trained on newspapers, and prompts are not sentences: it takes "fish" for a verb and "orange" for a noun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dymo.prompt.english import lexicon
from dymo.prompt.english.deeds import mend_deeds, mend_names, mend_plain_verbs, takes_colour
from dymo.prompt.english.markup import is_emoji
from dymo.prompt.english.ones import mend_ones

if TYPE_CHECKING:
    from dymo.prompt.english.words import Words


def mend(words: Words) -> None:
    """Correct the words' kinds and tags; each step reads what those before it have mended."""
    _mend_can(words)
    _mend_sayings(words)
    _mend_impossible(words)
    for i, word in enumerate(words):
        word.kind = word.kind if word.kind == "Q" else _known(words, i)
    _mend_places(words)
    _mend_compounds(words)
    mend_names(words)
    mend_deeds(words)
    mend_plain_verbs(words)
    mend_ones(words)
    _mend_stances(words)
    _mend_by_neighbours(words)


def _mend_can(words: Words) -> None:
    """Take "can" for a noun where it has one or an adjective before it and no verb to help behind it: "a soda can"."""
    for i, word in enumerate(words):
        helped = i + 1
        while words.kind(helped) == "R":
            helped += 1
        helps = helped < len(words) and words[helped].tag in ("VB", "VBP") and "V" in words[helped].can
        if word.low == "can" and word.kind == "V" and words.kind(i - 1) in "NA" and not helps:
            word.kind, word.tag = "N", "NN"


def _mend_sayings(words: Words) -> None:
    """Take what is to be written in the image ("a sign that says open late") for quoted, up to the next phrase."""
    inside = False
    for i, word in enumerate(words):
        after = words.kind(i + 1)
        if inside:
            inside = not (word.kind in ".,W" or (word.kind in "PC" and after == "D"))
            word.kind = "Q" if inside else word.kind
        elif word.kind in "VN" and word.low in lexicon.SAYINGS and after not in "DP.,CWS":
            bearer = next((w.low for w in reversed(words[:i]) if w.kind == "N"), "")
            text = word.low in ("word", "words", "text", "phrase", "letters") and words.low(i - 1) in ("the", "with")
            inside = text or word.low in ("says", "saying", "say") or bearer in lexicon.BEARERS
            if inside and word.kind != "N":
                word.kind = "V"


def _mend_impossible(words: Words) -> None:
    """Give a word that cannot be what the model takes it for a part of speech that the dictionary has: "oven" is a noun."""
    for i, word in enumerate(words):
        if word.kind not in "NAVR" or not word.low.isalpha() or word.tag in ("NNP", "NNPS") or word.low in lexicon.BE:
            continue
        if word.can and word.kind not in word.can:
            order = "ANVR" if words.kind(i + 1) in "NA" else "NVAR"
            word.kind = next(kind for kind in order if kind in word.can)
            word.tag = {"N": "NN", "A": "JJ", "R": "RB"}.get(word.kind, "VBG" if word.low.endswith("ing") else "VBN")


def _known(words: Words, i: int) -> str:
    """The kind of word i if the lists of words tell it, else the kind that it has."""
    word, after = words[i], words.kind(i + 1)
    if is_emoji(word.text):
        # Only those that stand for a noun are left.
        return "N"
    if word.low in ("a", "an", "the"):
        return "D"
    if word.low in ("each", "both", "all") and words.low(i + 1) in lexicon.TRANSITIVE and words[i + 1].tag == "VBG":
        # "each holding a cup".
        return "R"
    if word.low == "all" and words.low(i + 1) in lexicon.COLOURS and takes_colour(words, i - 1) and words.kind(i + 2) not in "NA":
        # "dressed in all black".
        return "R"
    if word.low in ("and", "or", "&", "+"):
        return "C"
    if word.low in "/;:|~•":
        return "."
    if word.low in lexicon.MATERIALS and word.kind == "N" and words.low(i - 1) not in ("of", "from"):
        follows = after == "A" or (after == "V" and words[i + 1].tag == "VBG" and words.low(i + 1) not in lexicon.TRANSITIVE)
        if follows and _next_kind(words, i, "AV") == "N":
            # "brass pendant lamps", "brass hanging lamps".
            return "A"
    if word.low in lexicon.PREPOSITIONS:
        return "P" if after != "N" or word.low != "next" else "A"
    if len(words) == 1 and word.text.isalpha():
        return "N"
    stands_alone = after in "PW" or (after in ",." and words.kind(i - 1) in "DPA")
    if word.low in lexicon.PERSONAL and word.kind in "NA" and stands_alone:
        return "N"
    measured = word.kind == "R" and word.low in lexicon.LARGE | lexicon.LITTLE
    if word.low in lexicon.COLOURS or (measured and (after in "AN" or words.kind(i - 1) == "D" or words.low(i - 1) in lexicon.BE)):
        # "long wavy hair", "a long striped scarf", "whose beard is long".
        return "A"
    if word.low in lexicon.ADVERBS and after in "AVR":
        return "R"
    acted = words.low(i + 1) in lexicon.TRANSITIVE | lexicon.STANCES and words[i + 1].tag == "VBG"
    if word.low in lexicon.ADJECTIVES and acted and lexicon.is_kind(word.low, "person"):
        # "a teen holding a phone".
        return "N"
    if word.low in lexicon.ADJECTIVES and (after in "NAVMC," or _trails(words, i)):
        return "A"
    if word.kind == "R" and "A" in word.can and words.kind(i - 1) == "D" and after == "N":
        # "a still lake".
        return "A"
    if word.low.startswith("mid-") and words.kind(i - 1) == "N":
        # "a dancer mid-leap".
        return "A"
    if word.low in lexicon.SUBORDINATING:
        return "O"
    described = after == "N" or (word.tag == "VBN" and after == "," and words.kind(i - 1) in "DAM")
    if "-" in word.text[1:-1] and described and word.kind in "NVAR":
        # "a ginger-haired girl", "a blue-eyed, black-haired girl".
        return "A"
    return "N" if word.kind == "O" and word.tag in ("XX", "LS", "SYM", "NFP") and word.text.isalnum() else word.kind


def _trails(words: Words, i: int) -> bool:
    """Whether adjectives follow their noun up to word i: "an elephant furry anthro"."""
    while i > 0 and words[i].low in lexicon.ADJECTIVES:
        i -= 1
    return words[i].tag in ("NN", "NNS") and words[i].low not in lexicon.ADJECTIVES


def _mend_places(words: Words) -> None:
    """Make one preposition of a phrase of place: "right of", "to the immediate left of", "on the right hand side of"."""
    for i, word in enumerate(words):
        start = i
        while word.low == "of" and words.low(start - 1) in lexicon.SIDES:
            start -= 1
        if start == i:
            continue
        first = start
        while words.kind(first - 1) in "AR" and words.low(first - 1) not in lexicon.COLOURS:
            first -= 1
        first -= words.kind(first - 1) == "D"
        if words.low(first - 1) in lexicon.PLACING:
            start = first - 1
        elif words[start].low not in ("left", "right") or words[start - 1].kind == "D":
            continue
        for part in words[start : i + 1]:
            part.kind, part.tag = "P", "IN"


def _mend_compounds(words: Words) -> None:
    """ "a snow covered mountain": a noun and a participle that describe the noun behind them, as if they had a hyphen."""
    for i in range(1, len(words)):
        if words[i].kind not in "VAN" or not {"A", "V"} <= words[i].can or not _is_compound_participle(words, i):
            continue
        words[i].kind = "A"
        while i > 0 and words[i - 1].kind == "N":
            i -= 1
            words[i].kind = "A"


def _is_compound_participle(words: Words, i: int) -> bool:
    """Whether word i is no finite verb: "a dog chased cats", "a storm destroyed houses"."""
    listed, noun = words[i].low in lexicon.COMPOUNDING, words[i - 1]
    head = i + 1
    while words.kind(head) == "A":
        head += 1
    if words.kind(head) != "N" or noun.kind != "N" or noun.tag not in ("NN", "NNP") or noun.count:
        return False
    while words.kind(head + 1) == "N":
        head += 1
    first = i - 1
    while words.kind(first - 1) in "AN":
        first -= 1
    many = words[head].tag in ("NNS", "NNPS")
    living = noun.low in lexicon.PEOPLE or any(lexicon.is_kind(noun.low, kind) for kind in ("person", "animal"))
    if many and words.low(first - 1) in ("a", "an", "one"):
        return False
    return listed or (words[i].low.endswith("ed") and not living and not many)


def _mend_stances(words: Words) -> None:
    """ "an oven sitting on a shelf": the participle is no noun, and so what stands before it is one."""
    for i, word in enumerate(words):
        if word.low in lexicon.STANCES and words.kind(i + 1) in "PRDC.,":
            word.kind = "V"
            word.tag = word.tag if word.tag.startswith("VB") else "VBG"
    for i, word in enumerate(words):
        after = words.kind(i + 1)
        # "a fire hydrant above", "an oven and": what a determiner opens ends in a noun.
        acted = after == "V" and words.low(i + 1) in lexicon.STANCES | lexicon.BE
        # "an alien sitting on a chair" is somebody, "a lit and ..." nobody.
        somebody = lexicon.is_kind(word.low, "person") and (after == "V" or (after == "C" and words.kind(i + 2) == "D"))
        plain = word.low in lexicon.ADJECTIVES | lexicon.COLOURS and not somebody
        if word.kind in "AR" and (after in "PC.,W" or acted) and "N" in word.can and not plain:
            start = words.run_start(i)
            while words.kind(start - 1) in "AMN":
                start -= 1
            opened = words.low(start - 1) in ("a", "an", "one", "another")
            joined = after == "C" and words.kind(i + 2) in "AN"
            # "a tall, dark-haired man".
            joined = joined or (after == "," and words.kind(i + 2) == "A" and _next_kind(words, i + 1, "A") == "N")
            after_noun = start < i and words[i - 1].kind == "N" and word.can & {"A", "R"}
            if opened and not joined and not after_noun and not _goes_on(words, i):
                word.kind = "N"


def _mend_by_neighbours(words: Words) -> None:
    for i, word in enumerate(words):
        before, last, after = words.low(i - 1), words.kind(i - 1), words.kind(i + 1)
        # "an orange lies" has its noun, "a red rose" still waits for it.
        acted = after == "V" and (words[i + 1].tag in ("VBZ", "VBG", "MD") or words[i + 1].low in lexicon.STANCES)
        closed = after in "PC.,WSROD" or acted
        participle = word.tag in ("VBG", "VBN", "VBD") and last in "DAMNPRC,." and after in "NA"
        acts = word.low in lexicon.BE or (word.low in lexicon.TRANSITIVE and last not in "DA")
        unlisted = "-" not in word.low and word.low not in lexicon.ADJECTIVES | lexicon.COLOURS
        doing = word.low.endswith("ing") and len(word.low) > 5 and word.low not in lexicon.ING_NOUNS
        if word.kind in "VA" and word.low in lexicon.TRANSITIVE and last in "N,.C" and after in "NADMV":
            # "woman, holding balloon": the verb acts on what follows.
            word.kind = "V"
        elif word.kind == "N" and doing and last == "N" and before not in lexicon.STYLE_HEADS and after in "P.,CDRO":
            # "a monkey dancing": taken for a noun of two words.
            word.kind, word.tag = "V", "VBG"
        elif word.kind in "NV" and doing and i > 0 and last in ",." and after in ",.":
            # "a robot, standing, athletic".
            word.kind = "A"
        elif word.kind == "V" and participle and not acts and _next_kind(words, i, "AM") == "N":
            # "a folded shirt", "the flying red car", "with glowing eyes": a verb before its noun describes it.
            word.kind = "A" if last != "N" else "V"
        elif (
            # "a red fly above": after a determiner and adjectives something must be named.
            (last in "DA" and before not in lexicon.BE and _names_what_is_modified(words, i))
            # "made of gold".
            or (word.low in lexicon.MATERIALS and word.kind == "A" and before in ("of", "from") and after in "PC.,WV")
            # "an orange", "an orange orange": a colour where the noun must be.
            or (word.kind == "A" and last in "DA" and closed and word.low in lexicon.COLOURS and _is_named(words, i))
            # "a castle, moody": the determiner has no other noun.
            or (
                unlisted
                and word.kind == "A"
                and last == "D"
                and after in "P.,"
                and _next_kind(words, i, "AMRC,V") != "N"
            )
            # "a cabin, smoke rising from it".
            or (word.tag in ("VB", "VBP") and last == "," and "N" in word.can and after == "V" and words[i + 1].tag == "VBG")
            # "ice cream": a colour that a noun describes is none.
            or (word.low in lexicon.COLOURS and word.tag in ("NN", "NNS") and closed and last == "N" and words[i - 1].dependency == "compound")
            # "dog and fish", "a man, harbor in the background": a bare verb with nothing to act on.
            or (word.tag in ("VB", "VBP") and "N" in (word.can or "N") and last in "C,." and after in "PC.," and word.low not in lexicon.BE)
        ):
            word.kind = "N"
        elif word.tag in ("VB", "VBP") and word.kind == "V" and "N" in word.can and last == "C" and after == "N" and _only_names(words, i):
            # "a snowman with coal eyes and stick arms".
            word.kind, word.tag = "N", "NN"
        elif word.kind == "V" and "N" in word.can and word.low.endswith("s") and after in ",." and (last == "," or word.low in lexicon.STYLE_HEADS):
            # "a mermaid, bubbles", "god rays, fog".
            word.kind, word.tag = "N", "NNS"


def _only_names(words: Words, i: int) -> bool:
    """Whether a noun stands before the conjunction before word i, and no verb that word i could be joined to before that."""
    start = next((n for n in reversed(range(i)) if words.kind(n) == "."), -1)
    return words.kind(i - 2) == "N" and not any(word.kind == "V" for word in words[start + 1 : i])


def _next_kind(words: Words, i: int, passed: str) -> str:
    """The kind of the first word after word i that is none of the kinds to be passed over."""
    return next((word.kind for word in words[i + 1 :] if word.kind not in passed), ".")


def _names_what_is_modified(words: Words, i: int) -> bool:
    """Whether word i can be a noun and, after a determiner or adjectives, has none right after it that it could describe."""
    word, follower = words[i], words.kind(i + 1)
    other = word.low in lexicon.BE | lexicon.ADVERBS or (word.can and "N" not in word.can)
    if word.kind not in "VRPO" or other or not word.text.isalpha():
        return False
    if word.tag == "VBZ" and follower == "D":
        # "the woman on the left wears a hat".
        return False
    if (word.kind == "P" or word.tag in ("IN", "TO", "RB", "RP")) and follower in "DPAM":
        # "the red above the blue": a preposition is followed by what it governs.
        return False
    start = words.run_start(i)
    deed = word.tag == "VBZ" or (word.low.endswith("ing") and word.low not in lexicon.ING_NOUNS)
    if deed and words.low(i - 1) in lexicon.COLOURS and takes_colour(words, start - 1):
        # "a woman in red holding a cup".
        return False
    coloured = any(word.low in lexicon.COLOURS for word in words[start:i])
    return (words.kind(start - 1) == "D" or coloured) and follower not in "NA"


def _is_named(words: Words, i: int) -> bool:
    """Whether the run of modifiers that ends in word i has a determiner, and so needs a noun."""
    joined = words.kind(i + 1) in "C," and words.kind(i + 2) in "AN" and words.low(i + 2) not in lexicon.QUALITY
    return words.kind(words.run_start(i) - 1) == "D" and not joined and not _goes_on(words, i)


def _goes_on(words: Words, i: int) -> bool:
    """ "a red but not shiny apple": whether the noun of adjective i is yet to come, behind another one with an adverb."""
    return words.kind(i + 1) in "C," and words.kind(i + 2) == "R" and _next_kind(words, i, "AMRC,") == "N"
