"""From the words of a prompt to its tokens: which positions must attend to one place, and which must not."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dymo.errors import PromptError
from dymo.prompt.align import occurrences
from dymo.prompt.graph import Attribute, Entity, SemanticGraph, Span

Indices = tuple[int, ...]
Pair = tuple[Indices, Indices]

_NO_LIMIT = 10**9  # transformers writes "no limit" as a number that no tensor could hold
# The most tokens one character or joined group of characters is spelt with, where decoding has to find them.
_LONGEST_GROUP = 16
_LONGEST_SKIP = 4


@dataclass(frozen=True)
class TokenPairs:
    """The token positions of a graph's words. All are positions in the padded sequence (the start token is 0).

    A word of several pieces has several positions. `positive` pairs an entity with one of its attributes; `negative`
    pairs an entity with another one, each two once. `words` gives the positions of every word, for plots, under its
    text; the second word of the same text is under "text #2". `truncated` names, likewise, the words that lie wholly
    or partly beyond the tokenizer's window: they are in no pair and not in `words`.
    """

    positive: tuple[Pair, ...]
    negative: tuple[Pair, ...]
    words: Mapping[str, Indices] = field(default_factory=dict)
    truncated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where a text lies in the windows that an encoder takes: each window's token ids, and each position's characters.

    A window is as the tokenizer itself would fill it: start token, up to `window` - 2 tokens of the text, end token,
    padding. `spans` has one entry a position, all windows in a row; (0, 0) for the tokens that stand for no character.
    """

    text: str
    windows: tuple[Indices, ...]
    spans: tuple[Span, ...]
    tokens: int
    """Of the text alone."""


def lay_out(text: str, tokenizer: Any) -> Layout:
    """A text over as many windows as it takes, of 75 tokens and the start and end token each for a window of 77.

    So do the community's long-prompt pipelines of diffusers, compel (truncate_long_prompts=False) and web UIs. A text
    that fits has the one window that the tokenizer makes of it. Raises PromptError where the tokenizer does not frame its
    text by one start and one end token.
    """
    if not frames(tokenizer):
        raise PromptError(
            f"{type(tokenizer).__name__} puts no start and end token around a text: it cannot be cut into windows"
        )
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    expanded, places = _expanded(text, tokenizer)
    ids, offsets = _tokenised(expanded, tokenizer)
    spans = [(places[a], places[b - 1] + 1) if b > a else (0, 0) for a, b in offsets]
    size = int(tokenizer.model_max_length)
    windows, found = [], []
    for at in range(0, max(1, len(ids)), size - 2):
        part = ids[at : at + size - 2]
        rest = size - 2 - len(part)
        windows.append((start, *part, end, *[pad] * rest))
        found += [(0, 0), *spans[at : at + size - 2], (0, 0), *[(0, 0)] * rest]
    return Layout(text, tuple(windows), tuple(found), len(ids))


def frames(tokenizer: Any) -> bool:
    """Whether a tokenizer has a window, and puts one start and one end token around a text, as CLIP's does."""
    if not 2 < int(tokenizer.model_max_length) < _NO_LIMIT:
        return False
    return list(tokenizer("")["input_ids"]) == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def _tokenised(text: str, tokenizer: Any) -> tuple[list[int], list[Span]]:
    """The tokens of a whole text without special ones, and the characters that each stands for."""
    settings: dict[str, Any] = {"add_special_tokens": False, "truncation": False, "verbose": False}
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(text, return_offsets_mapping=True, **settings)
        return list(found["input_ids"]), list(found["offset_mapping"])
    ids = list(tokenizer(text, **settings)["input_ids"])
    return ids, _aligned(text, tokenizer, ids)


def token_pairs(
    graph: SemanticGraph,
    tokenizer: Any,
    *,
    pieces: str = "mean",
    wholes_and_parts: bool = False,
    numerals: bool = False,
    windows: bool = False,
) -> TokenPairs:
    """The positions of a graph's words in what `tokenizer`, of transformers, makes of the prompt for the pipeline.

    pieces: a word of several tokens is one word ("mean" of their maps), or a pair for "each" of its tokens.
    wholes_and_parts: whether a thing and its part or garment are drawn apart. numerals: whether a number and what it counts
    are drawn together. windows: the prompt is laid over as many
    windows as it takes (`lay_out`), and not cut off. A textual inversion of several vectors is looked for as pipelines
    write it out. Raises PromptError where a word has no token at all.
    """
    whole = offsets_of(graph.prompt, tokenizer, truncate=False)
    inside = lay_out(graph.prompt, tokenizer).spans if windows else offsets_of(graph.prompt, tokenizer, truncate=True)
    places, truncated = _places(graph, inside, whole)
    return paired(graph, places, truncated, pieces, wholes_and_parts, numerals)


def encoder_pairs(
    graph: SemanticGraph,
    layouts: Sequence[Layout],
    window: bool,
    *,
    pieces: str = "mean",
    wholes_and_parts: bool = False,
    numerals: bool = False,
) -> TokenPairs:
    """`token_pairs` of several encoders, whose tokens of one position are one key of the attention.

    layouts: one an encoder. A layout of another text than the graph's (SDXL's `prompt_2`) has a word where it has the
    same text, the n-th use at the n-th; a position where the first encoder has another word of the graph stays that
    word's. window: only the first window is given to the encoders; words beyond it are truncated.
    """
    size = len(layouts[0].windows[0]) if window else None
    first, *others = (layout.spans[:size] for layout in layouts)
    places, truncated = _places(graph, first, layouts[0].spans)
    own = {i: label for label, indices in places.items() for i in indices}
    for spans, layout in zip(others, layouts[1:], strict=True):
        for label, span in _in_text(graph, layout.text).items():
            if label in places:
                more = [i for i in positions_of(span, spans) if own.get(i, label) == label]
                places[label] = tuple(sorted({*places[label], *more}))
    return paired(graph, places, truncated, pieces, wholes_and_parts, numerals)


def _places(
    graph: SemanticGraph, inside: Sequence[Span], everywhere: Sequence[Span]
) -> tuple[dict[str, Indices], list[str]]:
    """The positions of each word that lies wholly inside, by its label, and the labels of the others. Raises PromptError."""
    places: dict[str, Indices] = {}
    truncated: list[str] = []
    for label, span in word_labels(graph).items():
        found, all_of_it = positions_of(span, inside), positions_of(span, everywhere)
        if not all_of_it:
            raise PromptError(f"no token of the prompt {graph.prompt!r} holds the word {label!r} at {span}")
        if len(found) < len(all_of_it):
            truncated.append(label)
        else:
            places[label] = found
    return places, truncated


def _in_text(graph: SemanticGraph, text: str) -> dict[str, Span]:
    """The place of each word of the graph, by its label, in another text, as far as it is there."""
    labels, found = word_labels(graph), {}
    if text == graph.prompt:
        return labels
    for label, span in labels.items():
        word = graph.prompt[slice(*span)]
        use = [o for o in occurrences(graph.prompt, word) if o[0] < span[0]]
        there = occurrences(text, word)
        if there:
            found[label] = there[min(len(use), len(there) - 1)]
    return found


def pieces_of(a: Indices, b: Indices) -> Iterable[Pair]:
    """Each token of one word with each of another."""
    return (((i,), (j,)) for i in a for j in b)


def paired(
    graph: SemanticGraph, places: Mapping[str, Any], truncated: Sequence[str], pieces: str, wholes_and_parts: bool, numerals: bool,
    each: Callable[[Any, Any], Iterable[Any]] = pieces_of,
) -> TokenPairs:  # fmt: skip
    """S_pos and S_neg of the words whose tokens are all within the window, by label in `places`; whole, or as `each` takes them apart."""
    found = {span: places[label] for label, span in word_labels(graph).items() if label in places}

    def pairs(spans: list[tuple[Span, Span]]) -> tuple[Any, ...]:
        whole = [(found[a], found[b]) for a, b in spans if a in found and b in found and a != b]
        return tuple(whole if pieces == "mean" else (pair for a, b in whole for pair in each(a, b)))

    positive, negative = word_pairs(graph, wholes_and_parts, numerals)
    return TokenPairs(pairs(positive), pairs(negative), dict(places), tuple(truncated))


def word_pairs(graph: SemanticGraph, wholes_and_parts: bool, numerals: bool) -> tuple[list[tuple[Span, Span]], list[tuple[Span, Span]]]:
    """S_pos and S_neg, each word by its characters in the prompt."""
    together = [(entity.span, attribute.span) for entity, attribute in graph.bound(numerals)]
    return together, [(graph.entities[i].span, graph.entities[j].span) for i, j in graph.opposed(wholes_and_parts)]


def positions_by_span(graph: SemanticGraph, pairs: TokenPairs) -> dict[Span, Indices]:
    """The token positions of every word of the graph that lies within the tokenizer's window."""
    return {span: pairs.words[label] for label, span in word_labels(graph).items() if label in pairs.words}


def word_labels(graph: SemanticGraph) -> dict[str, Span]:
    """A name for each word, in the order of the prompt: its text, and its number from the second on."""
    words: list[Entity | Attribute] = [*graph.entities]
    words += [attribute for entity in graph.entities for attribute in entity.attributes]
    labels: dict[str, Span] = {}
    seen: dict[str, int] = {}
    # A word that two entities share has one span, and so one name.
    for span, text in sorted({word.span: word.text for word in words}.items()):
        seen[text] = seen.get(text, 0) + 1
        labels[text if seen[text] == 1 else f"{text} #{seen[text]}"] = span
    return labels


def positions_of(span: Span, offsets: Sequence[Span]) -> Indices:
    """The tokens whose characters, `offsets`, overlap a span."""
    # Special tokens have empty spans, which overlap nothing.
    return tuple(i for i, (start, end) in enumerate(offsets) if max(start, span[0]) < min(end, span[1]))


def offsets_of(prompt: str, tokenizer: Any, truncate: bool) -> list[Span]:
    """The characters of the prompt that each token stands for; (0, 0) for special ones."""
    text, places = _expanded(prompt, tokenizer)
    length = int(tokenizer.model_max_length)
    if truncate and length < _NO_LIMIT:
        settings: dict[str, Any] = {"padding": "max_length", "truncation": True, "max_length": length}
    else:
        settings = {"truncation": False, "verbose": False}
    if getattr(tokenizer, "is_fast", False):
        offsets = tokenizer(text, return_offsets_mapping=True, **settings)["offset_mapping"]
    else:
        offsets = _aligned(text, tokenizer, list(tokenizer(text, **settings)["input_ids"]))
    return [(places[start], places[end - 1] + 1) if end > start else (0, 0) for start, end in offsets]


def _expanded(prompt: str, tokenizer: Any) -> tuple[str, list[int]]:
    """The prompt with each placeholder of several vectors written out ("<a>" as "<a> <a>_1 ..."), as diffusers'
    `maybe_convert_prompt` does, and the character of the prompt that each of its characters came from.
    """
    added = tokenizer.get_added_vocab()
    places = list(range(len(prompt)))
    for token in added:
        more = ""
        while f"{token}_{more.count(' ') + 1}" in added:
            more += f" {token}_{more.count(' ') + 1}"
        at = prompt.find(token) if more else -1
        while at >= 0:
            end = at + len(token)
            prompt = prompt[:end] + more + prompt[end:]
            places[end:end] = [places[at]] * len(more)
            at = prompt.find(token, end + len(more))
    return prompt, places


def _aligned(prompt: str, tokenizer: Any, ids: list[int]) -> list[Span]:
    """Offsets for a tokenizer that keeps none: each token's decoded text is looked for where the last one ended."""
    letters, places = _folded(prompt)
    # ChatGLM's tokenizer does not count the tokens that it puts before a text among its special ones.
    special = {*tokenizer.all_special_ids, *tokenizer("")["input_ids"]}
    offsets: list[Span] = [(0, 0)] * len(ids)
    at = i = 0
    while i < len(ids):
        size = 1
        if ids[i] not in special:
            # A character of several bytes may be spread over several tokens, which only decode together.
            groups = [ids[i : i + n] for n in range(1, min(_LONGEST_GROUP, len(ids) - i) + 1)]
            texts = [_folded(tokenizer.decode(group, clean_up_tokenization_spaces=False))[0] for group in groups]
            fits = (n for n, text in enumerate(texts, start=1) if text and letters.startswith(text, at))
            size = next(fits, 1)
            text = texts[size - 1]
            # Letters that the tokenizer rewrote (a curly quote, say) match nothing: step over a few.
            start = letters.find(text, at, at + len(text) + _LONGEST_SKIP)
            if text and start >= 0:
                at = start + len(text)
                offsets[i : i + size] = [(places[start], places[at - 1] + 1)] * size
        i += size
    return offsets


def _folded(text: str) -> tuple[str, list[int]]:
    """The text without white space and case, composed as CLIP composes it, and the place each letter came from."""
    letters: list[str] = []
    places: list[int] = []
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        for letter in unicodedata.normalize("NFC", text[start:end]).lower():
            if not letter.isspace():
                letters.append(letter)
                places.append(start)
        start = end
    return "".join(letters), places
