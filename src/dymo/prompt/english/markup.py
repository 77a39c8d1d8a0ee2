"""The markup of web interfaces taken out of a prompt: weights, brackets, LoRA tags, switches. Every letter keeps its place.

"(frog head:1.2)", "((x))", "[x]", "{x}", "x::2", "[cat:dog:0.5]", "[cat|dog]", "<lora:name:0.8>", "--ar 16:9", "BREAK",
and what stands behind "Negative prompt:". Sources: the documentation of AUTOMATIC1111's web UI ("Attention/emphasis",
"Prompt editing", "Alternating words") and of Midjourney ("Parameter list", "Multi prompts").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    return _plain(_single_spaced(letters))


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
