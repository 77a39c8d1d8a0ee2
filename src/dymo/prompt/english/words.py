"""The words of a prompt with their kinds: spaCy's tags, mended by what stands around a word.

The model was trained on newspapers, and prompts are not sentences: it takes "fish" for a verb and "orange" for a noun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dymo.prompt.english import lexicon
from dymo.prompt.english.markup import Cleaned, is_emoji, quoted
from dymo.prompt.english.vocabulary import Vocabulary
from dymo.prompt.graph import Span

# One letter a word: Determiner, Adjective, Noun, number (M), Conjunction, Preposition, Verb, adveRb, possessive (S),
# relative (W), comma, full stop (any harder break), quoted (Q), and O for the rest.
KINDS = {
    "DT": "D", "PDT": "D", "PRP$": "D", "WP$": "D", "JJ": "A", "JJR": "A", "JJS": "A", "AFX": "A",
    "NN": "N", "NNS": "N", "NNP": "N", "NNPS": "N", "FW": "N", "ADD": "N", "CD": "M", "CC": "C", "IN": "P", "TO": "P",
    "RP": "R", "VB": "V", "VBD": "V", "VBG": "V", "VBN": "V", "VBP": "V", "VBZ": "V", "MD": "V", "RB": "R", "RBR": "R",
    "RBS": "R", "POS": "S", ",": ",", ".": ".", ":": ".", "-LRB-": ".", "-RRB-": ".", "HYPH": "O", "PRP": "O",
    "WDT": "W", "WP": "W", "WRB": "O", "EX": "O", "UH": "N",
}  # fmt: skip

_COUNTED = re.compile(r"(\d+)(?:girls?|boys?)")


@dataclass
class Word:
    """A word of the prompt: what the model says of it, mended where it errs."""

    text: str
    low: str
    span: Span
    tag: str
    kind: str
    head: int
    """Its dependency head's place in the list of words."""
    dependency: str
    can: frozenset[str] = frozenset()
    """The kinds of N, V, A, R that the dictionary has it as; none if it is unknown."""

    def may_be(self, kind: str) -> bool:
        return not self.can or kind in self.can


def read_words(document: Any, cleaned: Cleaned, prompt: str, vocabulary: Vocabulary) -> list[Word]:
    """The words of spaCy's document of `cleaned.text`, with their places in `prompt`."""
    groups: list[list[Any]] = []
    for token in document:
        if groups and not groups[-1][-1].whitespace_ and _joined(groups[-1][-1].text, token):
            groups[-1].append(token)
        elif not token.is_space:
            groups.append([token])
    place = {token.i: n for n, group in enumerate(groups) for token in group}
    marks = quoted(cleaned.text)
    words = []
    for group in groups:
        top, last = next((t for t in group if t.head not in group), group[-1]), group[-1]
        first = group[0].idx
        whole = cleaned.text[first : last.idx + len(last)]
        # "8K." at the end of a prompt is taken for an abbreviation.
        end = first + len(whole.rstrip(".,;:!?") or whole)
        counted = _COUNTED.fullmatch(whole.lower())
        # Picture boards count without a space: "2girls".
        first += len(counted[1]) if counted else 0
        span = cleaned.span(first, end)
        kind = "Q" if any(a <= first and end <= b for a, b in marks) else "N" if counted else KINDS.get(last.tag_, "O")
        text = prompt[slice(*span)]
        low = (whole[-len(text) :] if counted else whole[: end - group[0].idx]).lower()
        head = place.get(top.head.i, -1)
        words.append(Word(text, low, span, last.tag_, kind, head, top.dep_, vocabulary.kinds(low)))
    mend(words)
    return words


def _joined(before: str, token: Any) -> bool:
    """Whether a token without a space before it belongs to the word it follows: "t-shirt", "4K", "42y"."""
    if token.text == "-" or before == "-":
        return not (token.text == "-" and token.whitespace_)
    return bool(re.fullmatch(r"\d+", before)) and token.text.isalnum()


def mend(words: list[Word]) -> None:
    """Correct the kinds that a newspaper reader gets wrong in a prompt, from the words around."""
    _mend_sayings(words)
    _mend_impossible(words)
    _mend_known(words)
    _mend_places(words)
    _mend_stances(words)
    _mend_by_neighbours(words)


def _mend_impossible(words: list[Word]) -> None:
    """Give a word that cannot be what the model takes it for a part of speech that the dictionary has: "oven" is a noun."""
    for i, word in enumerate(words):
        if word.kind not in "NAVR" or not word.low.isalpha() or word.tag in ("NNP", "NNPS") or word.low in lexicon.BE:
            continue
        if word.may_be(word.kind):
            continue
        before_noun = i + 1 < len(words) and words[i + 1].kind in "NA"
        order = "ANVR" if before_noun else "NVAR"
        word.kind = next(kind for kind in order if kind in word.can)
        word.tag = {"N": "NN", "A": "JJ", "R": "RB"}.get(word.kind, "VBG" if word.low.endswith("ing") else "VBN")


def _mend_known(words: list[Word]) -> None:
    end = len(words)
    for i, word in enumerate(words):
        after = words[i + 1].kind if i + 1 < end else "."
        if word.kind == "Q":
            continue
        if is_emoji(word.text):
            # Only those that stand for a noun are left.
            word.kind = "N"
        elif word.low in ("a", "an", "the"):
            word.kind = "D"
        elif word.low in ("and", "or", "&", "+"):
            word.kind = "C"
        elif word.low in "/;:|~•":
            word.kind = "."
        elif word.low in lexicon.PREPOSITIONS:
            word.kind = "P" if after != "N" or word.low != "next" else "A"
        elif end == 1 and word.text.isalpha():
            word.kind = "N"
        elif word.low in lexicon.PERSONAL and word.kind in "NA" and _stands_alone(words, i):
            word.kind = "N"
        elif word.low in lexicon.COLOURS:
            word.kind = "A"
        elif word.low in lexicon.ADVERBS and after in "AVR":
            word.kind = "R"
        elif word.low in lexicon.ADJECTIVES and (after in "NAVMC," or _trails(words, i)):
            word.kind = "A"
        elif "-" in word.text[1:-1] and after == "N" and word.kind in "NVAR":
            word.kind = "A"
        elif word.kind == "O" and word.tag in ("XX", "LS", "SYM", "NFP") and word.text.isalnum():
            word.kind = "N"


def _mend_sayings(words: list[Word]) -> None:
    """Take what is to be written in the image ("a sign that says open late") for quoted, up to the next phrase."""
    inside = False
    for i, word in enumerate(words):
        before = words[i - 1].low if i else ""
        if inside:
            follower = words[i + 1].kind if i + 1 < len(words) else "."
            ends = word.kind in ".," or (word.kind in "PC" and follower == "D") or word.kind == "W"
            inside = not ends
            word.kind = word.kind if ends else "Q"
        elif (
            word.kind in "VN"
            and word.low in lexicon.SAYINGS
            and (i + 1 < len(words) and words[i + 1].kind not in "DP.,CWS")
        ):
            bearer = next((w.low for w in reversed(words[:i]) if w.kind == "N"), "")
            inside = word.low in ("says", "saying", "say") or bearer in lexicon.BEARERS
            inside = inside or (
                word.low in ("word", "words", "text", "phrase", "letters") and before in ("the", "with")
            )
            if inside and word.kind == "N":
                continue
            word.kind = "V" if inside else word.kind


def _mend_places(words: list[Word]) -> None:
    """Make one preposition of a phrase of place: "right of", "to the immediate left of", "on the right hand side of"."""
    for i, word in enumerate(words):
        if word.low != "of":
            continue
        start = i
        while start > 0 and words[start - 1].low in lexicon.SIDES:
            start -= 1
        if start == i:
            continue
        first = start
        while first > 0 and (words[first - 1].kind in "AR" and words[first - 1].low not in lexicon.COLOURS):
            first -= 1
        if first > 0 and words[first - 1].kind == "D":
            first -= 1
        if first > 0 and words[first - 1].low in lexicon.PLACING:
            start = first - 1
        elif words[start].low not in ("left", "right") or words[start - 1].kind == "D":
            continue
        for part in words[start : i + 1]:
            part.kind, part.tag = "P", "IN"


def _mend_stances(words: list[Word]) -> None:
    """ "an oven sitting on a shelf": the participle is no noun, and so what stands before it is one."""
    for i, word in enumerate(words):
        after = words[i + 1].kind if i + 1 < len(words) else "."
        if word.low in lexicon.STANCES and after in "PRDC.,":
            word.kind = "V"
            word.tag = word.tag if word.tag.startswith("VB") else "VBG"
    for i, word in enumerate(words):
        after = words[i + 1].kind if i + 1 < len(words) else "."
        # "a fire hydrant above", "an oven and": what a determiner opens ends in a noun.
        acted = after == "V" and words[i + 1].low in lexicon.STANCES | lexicon.BE
        if word.kind in "AR" and (after in "PC.,W" or acted) and "N" in word.can and not _is_plainly_adjective(word):
            start = run_start(words, i)
            while start > 0 and words[start - 1].kind in "AMN":
                start -= 1
            opened = start > 0 and words[start - 1].low in ("a", "an", "one", "another")
            joined = after == "C" and i + 2 < len(words) and words[i + 2].kind in "AN"
            after_noun = start < i and words[i - 1].kind == "N" and word.can & {"A", "R"}
            if opened and not joined and not after_noun:
                word.kind = "N"


def _is_plainly_adjective(word: Word) -> bool:
    return word.low in lexicon.ADJECTIVES or word.low in lexicon.COLOURS


def _stands_alone(words: list[Word], i: int) -> bool:
    after, before = (words[j].kind if 0 <= j < len(words) else "." for j in (i + 1, i - 1))
    return after in "PW" or (after in ",." and before in "DPA" and i > 0)


def _trails(words: list[Word], i: int) -> bool:
    """Whether adjectives follow their noun up to word i: "an elephant furry anthro"."""
    while i > 0 and words[i].low in lexicon.ADJECTIVES:
        i -= 1
    return words[i].tag in ("NN", "NNS") and words[i].low not in lexicon.ADJECTIVES


def _mend_by_neighbours(words: list[Word]) -> None:
    end = len(words)

    def kind(i: int) -> str:
        return words[i].kind if 0 <= i < end else "."

    for i, word in enumerate(words):
        before = words[i - 1].low if i else ""
        modified = i > 0 and kind(i - 1) in "DA" and before not in lexicon.BE
        # "an orange lies" has its noun, "a red rose" still waits for it.
        closed = kind(i + 1) in "PC.,WSROD" or (
            kind(i + 1) == "V" and (words[i + 1].tag in ("VBZ", "VBG", "MD") or words[i + 1].low in lexicon.STANCES)
        )
        participle = word.tag in ("VBG", "VBN", "VBD") and kind(i - 1) in "DAMNPRC,." and kind(i + 1) in "NA"
        acts = word.low in lexicon.TRANSITIVE and kind(i - 1) not in "DA"
        if word.kind in "VA" and word.low in lexicon.TRANSITIVE and kind(i - 1) in "N,.C" and kind(i + 1) in "NADMV":
            # "woman, holding balloon": the verb acts on what follows.
            word.kind = "V"
        elif word.kind == "N" and _is_trailing_participle(words, i):
            # "a monkey dancing": taken for a noun of two words.
            word.kind, word.tag = "V", "VBG"
        elif word.kind in "NV" and _is_participle_alone(words, i):
            # "a robot, standing, athletic".
            word.kind = "A"
        elif word.kind == "V" and participle and not acts and word.low not in lexicon.BE and _opens_noun(words, i):
            # "a folded shirt", "the flying red car", "with glowing eyes": a verb before its noun describes it.
            word.kind = "A" if kind(i - 1) != "N" else "V"
        elif _names_what_is_modified(words, i) and modified:
            # "a red fly above": after a determiner and adjectives something must be named.
            word.kind = "N"
        elif (
            word.low in lexicon.MATERIALS and word.kind == "A" and before in ("of", "from") and kind(i + 1) in "PC.,WV"
        ):
            # "made of gold".
            word.kind = "N"
        elif (
            word.kind == "A" and kind(i - 1) in "DA" and closed and word.low in lexicon.COLOURS and _is_named(words, i)
        ):
            # "an orange", "an orange orange": a colour where the noun must be.
            word.kind = "N"
        elif word.kind == "A" and kind(i - 1) == "D" and _lacks_noun(words, i):
            # "a castle, moody": the determiner has no other noun.
            word.kind = "N"
        elif (
            word.kind == "V"
            and "N" in word.can
            and word.low.endswith("s")
            and kind(i - 1) in ","
            and kind(i + 1) in ",."
        ):
            # "a mermaid, bubbles".
            word.kind, word.tag = "N", "NNS"
        elif word.tag in ("VB", "VBP") and kind(i - 1) in "C." and kind(i + 1) in "PC.," and word.low not in lexicon.BE:
            # "dog and fish": a bare verb with nothing to act on.
            word.kind = "N"


def _lacks_noun(words: list[Word], i: int) -> bool:
    known = words[i].low in lexicon.ADJECTIVES or words[i].low in lexicon.COLOURS or "-" in words[i].low
    later = next((word.kind for word in words[i + 1 :] if word.kind not in "AMRC,V"), ".")
    after = words[i + 1].kind if i + 1 < len(words) else "."
    return not known and later not in "N" and after in "P.,"


def _is_trailing_participle(words: list[Word], i: int) -> bool:
    word = words[i]
    after = words[i + 1].kind if i + 1 < len(words) else "."
    looks = word.low.endswith("ing") and len(word.low) > 5 and word.low not in lexicon.ING_NOUNS
    return (
        looks
        and i > 0
        and words[i - 1].kind == "N"
        and words[i - 1].low not in lexicon.STYLE_HEADS
        and after in "P.,CDRO"
    )


def _is_participle_alone(words: list[Word], i: int) -> bool:
    word = words[i]
    after = words[i + 1].kind if i + 1 < len(words) else "."
    looks = word.low.endswith("ing") and len(word.low) > 5 and word.low not in lexicon.ING_NOUNS
    return looks and i > 0 and words[i - 1].kind in ",." and after in ",."


def _names_what_is_modified(words: list[Word], i: int) -> bool:
    word = words[i]
    names = (
        word.kind in "VRPO"
        and word.low not in lexicon.BE | lexicon.ADVERBS
        and word.may_be("N")
        and word.text.isalpha()
    )
    return names and _is_lone(words, i)


def run_start(words: list[Word], i: int) -> int:
    """The place of the first word of the modifiers before word i."""
    while i > 0 and words[i - 1].kind in "AMRC," and (words[i - 1].kind not in "C," or words[i - 2].kind == "A"):
        i -= 1
    return i


def _opens_noun(words: list[Word], i: int) -> bool:
    later = next((word.kind for word in words[i + 1 :] if word.kind not in "AM"), ".")
    return later == "N"


def _is_lone(words: list[Word], i: int) -> bool:
    """Whether word i, after a determiner or adjectives, has no noun right after it that it could describe."""
    start = run_start(words, i)
    determined = start > 0 and words[start - 1].kind == "D"
    coloured = any(word.low in lexicon.COLOURS for word in words[start:i])
    follower = words[i + 1].kind if i + 1 < len(words) else "."
    function = words[i].kind in "P" or words[i].tag in ("IN", "TO", "RB", "RP")
    if function and follower in "DPAM":
        # "the red above the blue": a preposition is followed by what it governs.
        return False
    return (determined or coloured) and follower not in "NA"


def _is_named(words: list[Word], i: int) -> bool:
    """Whether the run of modifiers that ends in word i has a determiner, and so needs a noun."""
    start = run_start(words, i)
    follower = words[i + 1].kind if i + 1 < len(words) else "."
    next_ = words[i + 2] if i + 2 < len(words) else None
    joined = follower in "C," and next_ is not None and next_.kind in "AN" and next_.low not in lexicon.QUALITY
    return start > 0 and words[start - 1].kind == "D" and not joined
