"""The markup of web interfaces taken out of a prompt: weights, brackets, LoRA tags, switches. Every letter keeps its place.

"(frog head:1.2)", "((x))", "[x]", "{x}", "x::2", "[cat:dog:0.5]", "[cat|dog]", "{red|green}", "<lora:name:0.8>",
"--ar 16:9", "BREAK", and what stands behind "Negative prompt:". Sources: the documentation of AUTOMATIC1111's web UI
("Attention/emphasis", "Prompt editing", "Alternating words"), of Midjourney ("Parameter list", "Multi prompts") and of
sd-dynamic-prompts ("Combinatorial syntax"). Addresses, HTML tags and control characters are taken out too.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from dymo.prompt.align import Span
from dymo.prompt.english import lexicon

_NUMBER = r"\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)\s*"
# What is dropped, or becomes the break that it stood for; the first that fits at a place is taken.
_MARKUP = re.compile(
    rf"""
      (?P<gone>
          <[\w-]+:[^<>]{{1,200}}>                  # <lora:name:0.8>
        | </?[a-z][^<>]{{0,200}}>                   # <b>, <br/>
        | (?:https?://|www\.)[^\s<>()\[\]{{}},]+   # an address
        | (?:^|(?<=\s))--(?!no\s)[a-z]\w*(?:\s+(?!--)[\w:./]*\d[\w:./]*)?   # --ar 16:9
        | (?:::){_NUMBER}(?![\w:])               # x::2
        | :{_NUMBER}(?=[)\]}}])                  # (x:1.2)
        | \d+\$\$(?=[^{{}}]*\}})                 # {{2$$a|b|c}}
        | \\(?=[()\[\]{{}}])                     # x \(y\)
        | [\[\]{{}}()]
      )
    | (?P<choice> (?<![|]) \| (?![|]) (?=[^\[\]{{}}]*[\]}}]) | (?<=\w):(?=\w[^\[\]]*\]) )
    | (?P<break> (?-i:\bBREAK\b) | :: | \| )
    | (?P<rest> \bnegative(?:\s+prompts?)?\s*:.* | (?:^|(?<=\s))--no\s.* )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_CHOICES = re.compile(r"\[[^\[\]]*(?:\||\w:)[^\[\]]*\]|\{[^{}]*\|[^{}]*\}")
# One emoji: a flag, or a sign with what is joined to it (its colour, "‍👩").
_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|[\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]"
    "(?:[\ufe0f\U0001f3fb-\U0001f3ff]|\u200d[\U0001f300-\U0001faff\u2600-\u27bf])*"
)
_QUOTES = {'"': '"', "“": "”", "‘": "’", "«": "»", "'": "'"}

Letter = tuple[str, int, int]  # a letter, and the span of the prompt that it stands for


@dataclass(frozen=True)
class Cleaned:
    """`text` is the prompt without markup and with single spaces.

    The i-th letter stood at `places[i]` and ended before `ends[i]`. `choices` are the spans, in the prompt, of brackets
    that hold alternatives.
    """

    text: str
    places: tuple[int, ...]
    ends: tuple[int, ...]
    choices: tuple[Span, ...] = ()

    def span(self, start: int, end: int) -> Span:
        """The place in the prompt of text[start:end], which must not be empty."""
        return self.places[start], self.ends[end - 1]


def clean(prompt: str) -> Cleaned:
    """The prompt as it would be said. In lower case, if it is shouted or in title case."""
    letters: list[Letter] = []
    composed = _composed(prompt)
    at = 0
    for match in _MARKUP.finditer(_text(composed)):
        letters += composed[at : match.start()]
        _, start, end = composed[match.start()]
        letters += [(letter, start, end) for letter in {"choice": " & ", "break": ","}.get(match.lastgroup or "", " ")]
        at = match.end()
    letters += composed[at:]
    letters = _lowered(_single_spaced(_without_decoration(letters)))
    choices = tuple(match.span() for match in _CHOICES.finditer(prompt))
    places, ends = tuple(start for _, start, _ in letters), tuple(end for _, _, end in letters)
    return Cleaned(_text(letters), places, ends, choices)


def _text(letters: list[Letter]) -> str:
    return "".join(letter for letter, _, _ in letters)


def is_emoji(text: str) -> bool:
    """Whether a text is an emoji and nothing else."""
    return _EMOJI.fullmatch(text) is not None


def _composed(prompt: str) -> list[Letter]:
    """The prompt's letters with their accents (NFC); control characters as spaces, invisible ones left out."""
    letters: list[Letter] = []
    for place, letter in enumerate(prompt):
        if letters and unicodedata.combining(letter):
            before, start, _ = letters[-1]
            whole = unicodedata.normalize("NFC", before + letter)
            letters[-1] = (whole if len(whole) == 1 else before, start, place + 1)
            continue
        category = unicodedata.category(letter)
        if category == "Cf" and letter != "\u200d":
            continue
        letters.append((" " if category == "Cc" else letter, place, place + 1))
    return letters


def _without_decoration(letters: list[Letter]) -> list[Letter]:
    """Emoji that stand where a noun must be ("a 🐱 on a mat") as one letter each; the others ("a cat 🐱") as spaces."""
    text = _text(letters)
    kept: list[Letter] = []
    at = 0
    for match in _EMOJI.finditer(text):
        kept += letters[at : match.start()]
        # Only the nearest words matter.
        around = text[max(0, match.start() - 80) : match.start()], text[match.end() : match.end() + 80]
        before, after = (re.findall(r"[\w&+-]+|[^\w\s]", _EMOJI.sub(" ", part).lower()) for part in around)
        last, following = before[-1] if before else ",", after[0] if after else ","
        awaited = not last[0].isalnum() or last in lexicon.BEFORE_NOUN | lexicon.COLOURS | lexicon.ADJECTIVES
        named = awaited and (following in lexicon.AFTER_NOUN | lexicon.TRANSITIVE | lexicon.STANCES | lexicon.BE or not following[0].isalnum())
        kept.append((text[match.start()] if named else " ", *letters[match.start()][1:]))
        at = match.end()
    return kept + letters[at:]


def _single_spaced(letters: list[Letter]) -> list[Letter]:
    """Runs of white space, and of commas with it between them, as one; underscores of picture boards' tags as spaces."""
    kept: list[Letter] = []
    for n, (letter, start, end) in enumerate(letters):
        if letter == "_" and 0 < n < len(letters) - 1 and not letters[n + 1][0].isdigit():
            letter = " "
        letter = " " if letter.isspace() else letter
        if letter == " " and (not kept or kept[-1][0] == " "):
            continue
        if letter != "," or not "".join(k for k, _, _ in kept[-2:]).endswith((",", ", ")):
            kept.append((letter, start, end))
    return kept


def _lowered(letters: list[Letter]) -> list[Letter]:
    words = re.findall(r"[^\W\d_]+", _text(letters))
    capital = sum(word[0].isupper() for word in words)
    if len(words) <= 2 or capital <= 0.6 * len(words):
        return letters
    # Letter by letter: one that becomes two in lower case would shift every place after it.
    return [(low if len(low := letter.lower()) == 1 else letter, start, end) for letter, start, end in letters]


def quoted(text: str) -> list[Span]:
    """The places of texts within quotation marks; none where the marks embrace the whole."""
    found: list[Span] = []
    for match in re.finditer(r"""(?<!\w)["“‘«'](?=\S)""", text):
        if found and match.start() < found[-1][1]:
            continue
        mark = _QUOTES[match.group()]
        end = re.compile(rf"(?<=\S){re.escape(mark)}(?!\w)").search(text, match.end())
        if end and (match.start(), end.end()) != (0, len(text)):
            found.append((match.start(), end.end()))
    return found
