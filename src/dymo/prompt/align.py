"""Where the words of a prompt stand: as written, or, of what a language model claims, repaired where that is unambiguous."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

from dymo.errors import PromptError, PromptWarning

Span = tuple[int, int]  # (start, end): character offsets into the prompt
_CLOSE = 0.8  # the least likeness (difflib's ratio, 0..1) of a misspelt word and the prompt's own
Claim = tuple[str, Sequence[str]]  # an entity and its attributes, as somebody says the prompt names them


def check_words(prompt: object) -> None:
    """Raises PromptError where a prompt is no string or has nothing in it."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError(f"the prompt is empty: {prompt!r}; say what the image is to show")


def occurrences(prompt: str, text: str) -> list[Span]:
    """Every place of a text in the prompt as whole words; none for a text without words."""
    # Any white space between the words of one text matches any other.
    pattern = r"\s+".join(re.escape(part) for part in text.split())
    found = re.finditer(rf"(?<!\w){pattern}(?!\w)", prompt, re.IGNORECASE) if pattern else ()
    return [match.span() for match in found]


def find(prompt: str, text: str) -> list[Span]:
    """`occurrences`, at least one. Raises PromptError."""
    found = occurrences(prompt, text)
    if not found:
        raise PromptError(
            f"{text!r} is not in the prompt {prompt!r} as a whole word: write it as the prompt does, or remove it"
        )
    return found


def overlap(a: Span, b: Span) -> bool:
    """Whether two spans share a character; empty ones share none."""
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


def align(
    prompt: str, claims: Iterable[Claim], links: Iterable[tuple[str, str, str]] = (), style: Iterable[str] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The graph of the claims about a prompt, in the JSON form with every span; and the words that have no place.

    A word is found by `find_spans`. The n-th claim of an entity takes its n-th place; more claims than places are one
    entity, with the attributes of all. An attribute takes the place nearest its entity. `links` are the texts of subject,
    relation and object.
    """
    missing: list[str] = []
    described: dict[Span, dict[Span, None]] = {}
    for text, attributes in claims:
        options = find_spans(prompt, text)
        missing += [] if options else [text]
        free = [o for o in options if not any(overlap(o, taken) for taken in described)]
        places = free or [o for o in options if o in described]
        if not places:
            # Nowhere, or within another entity's words: "tea party" is claimed, and "party" too.
            continue
        span = places[0]
        own = described.setdefault(span, {})
        for word in attributes:
            near = sorted(find_spans(prompt, word), key=lambda o: (gap(o, span), o))
            if not near:
                missing.append(word)
            own.update(dict.fromkeys([o for o in near if not overlap(o, span)][:1]))
    entities = [
        {**_word(prompt, e), "attributes": [_word(prompt, a) for a in sorted(own)]} for e, own in described.items()
    ]
    relations = _relations(prompt, links, list(described), missing)
    words = [find_spans(prompt, word) for word in style]
    kept = list(dict.fromkeys(prompt[slice(*spans[0])] for spans in words if spans))
    graph = {"prompt": prompt, "entities": entities, "style": kept, "relations": relations}
    return graph, tuple(dict.fromkeys(missing))


def warn(*parts: object) -> None:
    """A PromptWarning at the caller's caller. parts: of the message, text or `dymo.parts`."""
    warnings.warn(PromptWarning(*parts), stacklevel=3)


def warn_of_missing(prompt: str, missing: Sequence[str]) -> None:
    """Tell, by a PromptWarning, which words have no place in the prompt."""
    if missing:
        told = ", ".join(map(repr, missing))
        warn(f"left out of the graph, since the prompt {prompt!r} does not hold them: {told}")


def find_spans(prompt: str, text: str) -> list[Span]:
    """The places in the prompt that a text can only mean; none where that is nothing or more than one word.

    As whole words, in any case; else without hyphens and white space, or inflected or misspelt ("potato" for
    "potatoes") if exactly one word of the prompt is like it; of a text of several words, else its last.
    """
    found = occurrences(prompt, text)
    if found or not text.strip():
        return found
    words = [match.span() for match in re.finditer(r"\w+(?:['’-]\w+)*", prompt)]
    bare = _bare(text)
    rows = [(a, b) for i, (a, _) in enumerate(words) for _, b in words[i : i + 4] if _bare(prompt[a:b]) == bare]
    if bare and rows:
        return rows
    parts = text.split()
    if len(parts) > 1:
        return find_spans(prompt, parts[-1])
    pieces = {match.group().lower() for match in re.finditer(r"[^\W_]+", prompt)}
    close = {piece for piece in pieces if _alike(bare, piece)}
    return occurrences(prompt, close.pop()) if len(close) == 1 else []


def _bare(text: str) -> str:
    return re.sub(r"\W|_", "", text).lower()


def _alike(a: str, b: str) -> bool:
    comparable = min(len(a), len(b)) >= 4 and a[0] == b[0]
    return comparable and SequenceMatcher(None, a, b, autojunk=False).ratio() >= _CLOSE


def _word(prompt: str, span: Span) -> dict[str, Any]:
    return {"text": prompt[slice(*span)], "span": span}


def _relations(
    prompt: str, links: Iterable[tuple[str, str, str]], entities: Sequence[Span], missing: list[str]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for first, relation, second in links:
        spans = [find_spans(prompt, text) for text in (first, second)]
        ends = [[n for n, e in enumerate(entities) if any(overlap(e, o) for o in options)][:1] for options in spans]
        subject, object_ = (end[0] if end else None for end in ends)
        if subject is None or object_ is None or subject == object_:
            continue
        a, b = entities[subject], entities[object_]
        near = sorted(occurrences(prompt, relation), key=lambda o: (gap(o, a) + gap(o, b), o))
        missing += [] if near else [relation]
        rows = [{**_word(prompt, span), "subject": subject, "object": object_} for span in near[:1]]
        found += [row for row in rows if row not in found]
    return found
