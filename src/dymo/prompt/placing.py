"""Where words stand in a prompt: whole words, whatever their case and the white space between them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from dymo.errors import PromptError

Span = tuple[int, int]
"""(start, end): character offsets into the prompt."""


def check_words(prompt: object) -> None:
    """Raises PromptError where a prompt is no string or has nothing in it."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(f"the prompt is empty: {prompt!r}; say what the image is to show")


def occurrences(prompt: str, text: str) -> list[Span]:
    """Every place of a text in the prompt as whole words; none for a text without words."""
    # Any white space between the words of one text matches any other.
    pattern = r"\s+".join(re.escape(part) for part in text.split())
    if not pattern:
        return []
    return [m.span() for m in re.finditer(rf"(?<!\w){pattern}(?!\w)", prompt, re.IGNORECASE)]


def find(prompt: str, text: str) -> list[Span]:
    """`occurrences`, at least one. Raises PromptError."""
    found = occurrences(prompt, text)
    if not found:
        raise PromptError(
            f"{text!r} is not in the prompt {prompt!r} as a whole word: write it as the prompt does, or remove it"
        )
    return found


def overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def gap(a: Span, b: Span) -> int:
    """The characters between two spans; 0 where they touch or overlap."""
    return max(a[0] - b[1], b[0] - a[1], 0)


def place_apart(prompt: str, words: Sequence[tuple[str, Span | None]]) -> list[Span]:
    """A span for each word that has none, so that no two overlap: the n-th use of a text takes its n-th occurrence.

    Raises PromptError where the prompt has too few.
    """
    spans = {i: span for i, (_, span) in enumerate(words) if span is not None}
    # Longer texts first, so that "ball" is not found inside "soccer ball".
    for i in sorted(set(range(len(words))) - set(spans), key=lambda i: (-len(words[i][0]), i)):
        text = words[i][0]
        free = [o for o in find(prompt, text) if not any(overlap(o, taken) for taken in spans.values())]
        if not free:
            raise PromptError(
                f"more entities than places: every {text!r} in the prompt {prompt!r} already belongs to an entity; "
                "remove the entity that is too many"
            )
        spans[i] = free[0]
    return [spans[i] for i in range(len(words))]


def nearest(prompt: str, text: str, span: Span, taken: Collection[Span] = ()) -> Span | None:
    """The occurrence of a text nearest to a span that is not taken, or None. Raises PromptError where there is none at all."""
    # English puts attributes first, so of two equally near occurrences the earlier one is meant.
    options = sorted(find(prompt, text), key=lambda o: (gap(o, span), o))
    return next((option for option in options if option not in taken), None)
