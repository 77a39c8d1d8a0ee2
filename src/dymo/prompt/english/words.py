"""The words of a prompt with their kinds: spaCy's tags, mended by what stands around a word (`mending`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dymo.prompt.english import lexicon
from dymo.prompt.english.ages import ages
from dymo.prompt.english.language import Vocabulary
from dymo.prompt.english.markup import Cleaned, quoted
from dymo.prompt.english.mending import mend
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

_COUNTED = re.compile(r"(?P<number>(?P<count>\d+)\+?)(?P<noun>[a-z]{3,})")


@dataclass
class Word:
    """A word of the prompt: what the model says of it, mended where it errs."""

    text: str
    low: str
    span: Span
    tag: str
    kind: str
    head: int  # its dependency head's place in the list of words
    dependency: str
    can: frozenset[str] = frozenset()  # the kinds of N, V, A, R that the dictionary has it as; none if it is unknown
    count: str = ""  # the number that a picture board writes before it: "1girl"
    name: bool = False  # a proper noun with a capital, in a prompt that has not capitals everywhere


class Words(list[Word]):
    """The words of a prompt; beyond its ends there is no word, which reads as a full stop."""

    def low(self, i: int) -> str:
        """Word i in small letters; "" beyond either end."""
        return self[i].low if 0 <= i < len(self) else ""

    def kind(self, i: int) -> str:
        """The letter of word i's kind; "." beyond either end."""
        return self[i].kind if 0 <= i < len(self) else "."

    def subjects(self, verb: int) -> list[int]:
        """The places of a verb's subjects, of the passive too."""
        return [n for n, w in enumerate(self) if w.head == verb and w.dependency in ("nsubj", "nsubjpass")]

    def run_start(self, i: int) -> int:
        """The place of the first word of the modifiers before word i."""
        while i > 0 and self[i - 1].kind in "AMRC," and (self[i - 1].kind not in "C," or self[i - 2].kind == "A"):
            i -= 1
        return i


def read_words(document: Any, cleaned: Cleaned, prompt: str, vocabulary: Vocabulary) -> Words:
    """The words of spaCy's document of `cleaned.text`, with their places in `prompt`."""
    groups: list[list[Any]] = []
    old = ages(cleaned.text)
    for token in document:
        aged = any(start < token.idx < end for start, end in old)
        if aged or (groups and not groups[-1][-1].whitespace_ and _joined(groups[-1][-1].text, token)):
            groups[-1].append(token)
        elif not token.is_space:
            groups.append([token])
    place = {token.i: n for n, group in enumerate(groups) for token in group}
    marks = quoted(cleaned.text)
    words = Words()
    for group in groups:
        top, last = next((t for t in group if t.head not in group), group[-1]), group[-1]
        first = group[0].idx
        whole = cleaned.text[first : last.idx + len(last)]
        # "8K." at the end of a prompt is taken for an abbreviation.
        end = first + len(whole.rstrip(".,;:!?") or whole)
        counted = _COUNTED.fullmatch(whole.lower())
        if counted and not _is_counted(counted["noun"]):
            counted = None
        # Picture boards count without a space: "2girls".
        first += len(counted["number"]) if counted else 0
        span = cleaned.span(first, end)
        kind = "Q" if any(a <= first and end <= b for a, b in marks) else "N" if counted else KINDS.get(last.tag_, "O")
        kind = "A" if any(a <= first < b for a, b in old) else kind
        text = prompt[slice(*span)]
        low = (whole[-len(text) :] if counted else whole[: end - group[0].idx]).lower()
        head = place.get(top.head.i, -1)
        tag, count = last.tag_, ""
        if counted:
            tag, count = "NN" if counted["count"] == "1" and "+" not in counted["number"] else "NNS", counted["number"]
        name = tag in ("NNP", "NNPS") and whole[:1].isupper()
        words.append(Word(text, low, span, tag, kind, head, top.dep_, vocabulary.kinds(low), count, name))
    mend(words)
    return words


def _is_counted(noun: str) -> bool:
    """Whether a board counts it: "1girl", "2cats"; "24fps" is no such thing."""
    return noun in lexicon.PEOPLE or lexicon.is_kind(noun, "person") or lexicon.is_kind(noun, "animal")


def _joined(before: str, token: Any) -> bool:
    """Whether a token without a space before it belongs to the word it follows: "t-shirt", "4K", "42y"."""
    if token.text == "-" or before == "-":
        return not (token.text == "-" and token.whitespace_)
    return bool(re.fullmatch(r"\d+", before)) and token.text.isalnum()
