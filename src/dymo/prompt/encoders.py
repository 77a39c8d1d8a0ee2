"""The tokens of a prompt's words where several text encoders read it, or where the pipeline writes more around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from dymo.errors import PromptError
from dymo.prompt.graph import SemanticGraph, Span
from dymo.prompt.tokens import Indices, TokenPairs, offsets_of, paired, pieces_of, positions_of, word_labels


class Encoder(Protocol):
    """A text encoder whose tokens are keys of the attention, the first of them at `start`.

    window: tokens that are kept, None for the tokenizer's own. before, after: what is written around the prompt. dropped:
    tokens at the start of the whole that are taken off again. filled: places up to which a shorter text is filled up in front
    of it. lower: the prompt is read in small letters, without white space around it.
    """

    @property
    def tokenizer(self) -> Any: ...

    @property
    def start(self) -> int: ...

    @property
    def window(self) -> int | None: ...

    @property
    def before(self) -> str: ...

    @property
    def after(self) -> str: ...

    @property
    def dropped(self) -> int: ...

    @property
    def filled(self) -> int: ...

    @property
    def lower(self) -> bool: ...


def joint_pairs(
    graph: SemanticGraph, encoders: Sequence[Encoder], texts: Sequence[str | None] = (), *, pieces: str = "mean",
    wholes_and_parts: bool = False, numerals: bool = False,
) -> TokenPairs:  # fmt: skip
    """`token_pairs` where a word has tokens of several encoders: its positions are a tuple of them for each encoder.

    texts: what each encoder reads, None for the prompt; an encoder of another text has no tokens for the graph's words.
    pieces="each" pairs the tokens of each encoder with those of the same. Words beyond the windows of all encoders are
    truncated. Raises PromptError where a word has no token at all.
    """
    places: dict[str, tuple[Indices, ...]] = {}
    truncated: list[str] = []
    tables = [
        (encoder, _whole(graph.prompt, encoder))
        for encoder, text in zip(encoders, texts or [None] * len(encoders), strict=True)
        if text is None or text == graph.prompt
    ]
    for label, span in word_labels(graph).items():
        found: list[Indices] = []
        seen = False
        for encoder, offsets in tables:
            everywhere = positions_of(span, offsets)
            seen |= bool(everywhere)
            window = _window(encoder, len(offsets))
            if everywhere and everywhere[-1] < window:
                first = encoder.start - encoder.dropped + max(0, encoder.filled - min(len(offsets), _limit(encoder)))
                found.append(tuple(first + i for i in everywhere if i >= encoder.dropped))
        if not seen:
            raise PromptError(f"no token of the prompt {graph.prompt!r} holds the word {label!r} at {span}")
        if found:
            places[label] = tuple(found)
        else:
            truncated.append(label)
    return paired(graph, places, truncated, pieces, wholes_and_parts, numerals, _pieces_of)


def _whole(prompt: str, encoder: Encoder) -> list[Span]:
    """The characters of the prompt that each token of the whole text stands for."""
    lead = len(prompt) - len(prompt.lstrip()) if encoder.lower else 0
    # Letter by letter: the few whose small form has more letters would move what follows.
    read = "".join(c.lower() if len(c.lower()) == 1 else c for c in prompt.strip()) if encoder.lower else prompt
    start, end = len(encoder.before), len(encoder.before) + len(read)
    offsets = offsets_of(encoder.before + read + encoder.after, encoder.tokenizer, truncate=False)
    inside = [(max(a, start), min(b, end)) for a, b in offsets]
    return [(a - start + lead, b - start + lead) if b > a else (0, 0) for a, b in inside]


def _limit(encoder: Encoder) -> int:
    """The most tokens of the whole text that are read."""
    return encoder.tokenizer.model_max_length if encoder.window is None else encoder.window + encoder.dropped


def _window(encoder: Encoder, tokens: int) -> int:
    """Places of the whole text that are kept; of a text that is cut off, the last is its end token."""
    limit = _limit(encoder)
    if tokens <= limit:
        return tokens
    return limit - (encoder.tokenizer("a")["input_ids"][-1] in encoder.tokenizer.all_special_ids)


def _pieces_of(a: tuple[Indices, ...], b: tuple[Indices, ...]) -> Iterator[Any]:
    """Of two words in several encoders: the tokens of each encoder with those of the same."""
    return (((one,), (other,)) for i, j in zip(a, b, strict=False) for one, other in pieces_of(i, j))
