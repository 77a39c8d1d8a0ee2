"""The markup of web interfaces taken out of a prompt: weights, brackets, LoRA tags, switches. Every letter keeps its place.

"(frog head:1.2)", "((x))", "[x]", "{x}", "x::2", "[cat:dog:0.5]", "[cat|dog]", "<lora:name:0.8>", "--ar 16:9", "BREAK",
and what stands behind "Negative prompt:". Sources: the documentation of AUTOMATIC1111's web UI ("Attention/emphasis",
"Prompt editing", "Alternating words") and of Midjourney ("Parameter list", "Multi prompts").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dymo.prompt.english import lexicon

_NUMBER = r"\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)\s*"
# What is dropped, or becomes the break that it stood for; the first that fits at a place is taken.
_MARKUP = re.compile(
    rf"""
      (?P<gone>
          <[\w-]+:[^<>]*>                        # <lora:name:0.8>
        | (?:^|(?<=\s))--(?!no\s)[a-z]\w*(?:\s+(?!--)[\w:./]*\d[\w:./]*)?   # --ar 16:9
        | (?:::){_NUMBER}(?![\w:])               # x::2
        | :{_NUMBER}(?=[)\]}}])                  # (x:1.2)
        | \\(?=[()\[\]{{}}])                     # x \(y\)
        | [\[\]{{}}()]
      )
    | (?P<break> (?-i:\bBREAK\b) | :: | \| | (?<=\w):(?=\w[^\[\]]*\]) )
    | (?P<rest> \bnegative(?:\s+prompts?)?\s*:.* | (?:^|(?<=\s))--no\s.* )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# One emoji: a flag, or a sign with what is joined to it (its colour, "‍👩").
_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|[\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]"
    "(?:[\ufe0f\U0001f3fb-\U0001f3ff]|\u200d[\U0001f300-\U0001faff\u2600-\u27bf])*"
)
# A noun is still to come after these, and has been before those.
_OPEN = frozenset(
    "a an the my his her their its two three and or & + on in at of with by to from under over behind".split()
)
_CLOSE = frozenset("and or & + on in at of with by to from under over behind beside near".split())
_QUOTES = {'"': '"', "“": "”", "‘": "’", "«": "»", "'": "'"}


@dataclass(frozen=True)
class Cleaned:
    """`text` is the prompt without markup and with single spaces; `places[i]` is where its i-th letter stood."""

    text: str
    places: tuple[int, ...]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The place in the prompt of text[start:end], which must not be empty."""
        return self.places[start], self.places[end - 1] + 1


def clean(prompt: str) -> Cleaned:
    """The prompt as it would be said. In lower case, if it is shouted or in title case."""
    letters: list[tuple[str, int]] = []
    at = 0
    for match in _MARKUP.finditer(prompt):
        letters += [(prompt[i], i) for i in range(at, match.start())]
        letters.append(("," if match.lastgroup == "break" else " ", match.start()))
        at = match.end()
    letters += [(prompt[i], i) for i in range(at, len(prompt))]
    return _plain(_single_spaced(_without_decoration(letters)))


def is_emoji(text: str) -> bool:
    """Whether a text is an emoji and nothing else."""
    return _EMOJI.fullmatch(text) is not None


def _without_decoration(letters: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Emoji that stand where a noun must be ("a 🐱 on a mat") as one letter each; the others ("a cat 🐱") as spaces."""
    text = "".join(letter for letter, _ in letters)
    kept: list[tuple[str, int]] = []
    at = 0
    for match in _EMOJI.finditer(text):
        kept += letters[at : match.start()]
        before = re.findall(r"[\w&+-]+|[^\w\s]", _EMOJI.sub(" ", text[: match.start()]))
        after = re.findall(r"[\w&+-]+|[^\w\s]", _EMOJI.sub(" ", text[match.end() :]))
        last, following = (before[-1:] or [","])[0].lower(), (after[:1] or [","])[0].lower()
        awaited = last in _OPEN or last in lexicon.COLOURS or last in lexicon.ADJECTIVES or not last[0].isalnum()
        named = awaited and (following in _CLOSE or not following[0].isalnum())
        kept.append((text[match.start()] if named else " ", letters[match.start()][1]))
        at = match.end()
    return kept + letters[at:]


def _single_spaced(letters: list[tuple[str, int]]) -> list[tuple[str, int]]:
    kept: list[tuple[str, int]] = []
    for n, (letter, place) in enumerate(letters):
        if letter == "_" and 0 < n < len(letters) - 1:
            # Tags of picture boards: "long_hair".
            letter = " "
        if letter.isspace():
            if not kept or kept[-1][0] == " ":
                continue
            letter = " "
        kept.append((letter, place))
    return kept


def _plain(letters: list[tuple[str, int]]) -> Cleaned:
    text = "".join(letter for letter, _ in letters)
    words = re.findall(r"[^\W\d_]+", text)
    capital = sum(word[0].isupper() for word in words)
    if len(words) > 2 and capital > 0.6 * len(words):
        # Letter by letter: one that becomes two in lower case would shift every place after it.
        text = "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
    return Cleaned(text, tuple(place for _, place in letters))


def quoted(text: str) -> list[tuple[int, int]]:
    """The places of texts within quotation marks; none where the marks embrace the whole."""
    found: list[tuple[int, int]] = []
    for match in re.finditer(r"""(?<!\w)["“‘«'](?=\S)""", text):
        if found and match.start() < found[-1][1]:
            continue
        mark = _QUOTES[match.group()]
        end = re.compile(rf"(?<=\S){re.escape(mark)}(?!\w)").search(text, match.end())
        if end and (match.start(), end.end()) != (0, len(text)):
            found.append((match.start(), end.end()))
    return found
