"""The weights that people write into prompts, read: the text without their brackets, and how much each letter counts.

    (red)  ((red))      1.1 times, 1.1 * 1.1 times; [red] is 1 / 1.1
    (red:1.3)           1.3 times; brackets may be nested, and their weights are multiplied
    (red)1.3  (red)++   the same of compel: a number, or + for 1.1 and - for 0.9 each; also red++
    \\( \\) \\[ \\] \\\\     the letter itself

Sources: "Attention/emphasis" in the documentation of AUTOMATIC1111's web UI, which ComfyUI and the community's pipelines of
diffusers share, and compel's "Syntax". A bracket without its partner is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

from dymo.config import Markup
from dymo.errors import PromptError
from dymo.parts import InPython, Option, Part, Where
from dymo.prompt.graph import Attribute, Entity, Relation, SemanticGraph, Span

UP, DOWN = 1.1, 0.9  # compel's + and -; web UIs have 1.1 and 1 / 1.1
MOST = 10.0  # a greater weight is a misread clock: "(12:30)"

_PIECE = re.compile(
    r"""
      \\(?P<letter>[()\[\]\\])
    | (?P<open>[(\[])
    | (?: : \s* (?P<number> [-+]?(?:\d+\.?\d*|\.\d+) ) \s* )? (?P<close>\))
      (?P<after> (?: \d+\.\d+ | \.\d+ | \d | \++ | -+ ) (?![\w+.-]*\w) (?![+-]) )?
    | (?P<end>\])
    | (?<=[^\W\d_]{2}) (?P<plus>\+\++) (?=[\s,.;:!?)\]]|$)
    """,
    re.VERBOSE,
)
_EDITED = re.compile(r"\|[^\[\]]*\]$|:\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*\]$")
_CALLED = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
_UNCLOSED = re.compile(r"\([^()\[\]]*?[^\d\s]\s*:\s*[-+]?(?:\d+\.?\d*|\.\d+)(?![\w:])")
Word = TypeVar("Word", Entity, Attribute, Relation)


@dataclass(frozen=True)
class Reading:
    """A prompt, and the `text` that is left of it without the marks of weights.

    The i-th letter of the text stood at `places[i]` of the prompt and counts `weights[i]` times. `numbered` are the pieces
    of the prompt that are weights for certain, since they have a number or signs; `refused` says which pieces no embedding
    can carry out, why, and what to do.
    """

    prompt: str
    text: str
    places: tuple[int, ...]
    weights: tuple[float, ...]
    numbered: tuple[str, ...] = ()
    refused: tuple[str | tuple[str | Part, ...], ...] = ()

    @property
    def weighted(self) -> list[tuple[str, float]]:
        """The runs of the text that do not count once, with their weights."""
        runs = groupby(zip(self.text, self.weights, strict=True), key=lambda pair: pair[1])
        found = [("".join(letter for letter, _ in run).strip(), weight) for weight, run in runs]
        return [(run, weight) for run, weight in found if run and weight != 1]

    def check(self) -> None:
        """Raises PromptError where a part of the prompt cannot be carried out."""
        if self.refused:
            raise PromptError(f"the prompt {self.prompt!r}: ", *[part for one in self.refused for part in ("; ", one)][1:])

    def inside(self, graph: SemanticGraph) -> SemanticGraph:
        """A graph of the prompt, or of the text, as one of the text. Raises PromptError where it is of neither."""
        if graph.prompt == self.text:
            return graph
        if graph.prompt != self.prompt:
            raise PromptError(
                f"the graph is of the prompt {graph.prompt!r}, not of {self.prompt!r}: give the graph of this prompt"
            )
        where = {place: i for i, place in enumerate(self.places)}

        def within(span: Span) -> Span:
            kept = [where[place] for place in range(*span) if place in where]
            if not kept:
                raise PromptError(
                    f"{graph.prompt[slice(*span)]!r} at {span} is a mark of the prompt, and no word of it"
                )
            return kept[0], kept[-1] + 1

        return _moved(graph, self.text, within)

    def outside(self, graph: SemanticGraph) -> SemanticGraph:
        """A graph of the text as one of the prompt."""
        if self.text == self.prompt:
            return graph
        return _moved(graph, self.prompt, lambda span: (self.places[span[0]], self.places[span[1] - 1] + 1))


def read(prompt: str, markup: Markup = "webui") -> Reading:
    """A prompt as people write it. markup="plain" takes every bracket for text."""
    if markup == "plain":
        return Reading(prompt, prompt, tuple(range(len(prompt))), (1.0,) * len(prompt))
    pieces = list(_PIECE.finditer(prompt))
    partners = _partners(pieces)
    by = Where(", and put them in by ", Option("lora", "FILE:0.8")), InPython(", or pipe.load_lora_weights")
    refused: list[str | tuple[str | Part, ...]] = [
        (f"{match[0]} loads no weights here: leave it out", *by) for match in _CALLED.finditer(prompt)
    ]
    letters: list[str] = []
    places: list[int] = []
    weights: list[float] = []
    numbered: list[str] = []
    counts = [1.0]

    def take(start: int, end: int) -> None:
        letters.extend(prompt[start:end])
        places.extend(range(start, end))
        weights.extend([counts[-1]] * (end - start))

    at = 0
    for n, piece in enumerate(pieces):
        take(at, piece.start())
        at = piece.end()
        other = partners.get(n)
        if piece["letter"]:
            take(piece.end() - 1, piece.end())
        elif piece["plus"]:
            numbered.append(_raise_word(letters, weights, piece["plus"]))
        elif other is None:
            if piece["open"] and (cut := _UNCLOSED.match(prompt, piece.start())):
                refused.append(f"{cut[0]!r} is not closed: write {cut[0]}), or \\( for a bracket that is text")
            take(piece.start(), piece.end())
        elif other > n:
            last = pieces[other]
            whole = prompt[piece.start() : last.end()]
            edited = last["end"] is not None and _EDITED.search(whole) is not None
            weight = 1.0 if edited else _weight(last)
            if edited:
                refused.append(_not_carried_out(whole))
                take(piece.start(), piece.end())
            elif not abs(counts[-1] * weight) <= MOST:
                refused.append(
                    f"{whole!r} would count {counts[-1] * weight:.4g} times, {MOST:g} at most: correct the number, or write "
                    "\\( and \\) for brackets that are text"
                )
            elif last["number"] or last["after"]:
                numbered.append(whole)
            counts.append(counts[-1] * weight)
        else:
            counts.pop()
            if piece["end"] and _EDITED.search(prompt[pieces[other].start() : piece.end()]):
                take(piece.start(), piece.end())
    take(at, len(prompt))
    return Reading(prompt, "".join(letters), tuple(places), tuple(weights), tuple(numbered), tuple(refused))


def _partners(pieces: list[re.Match[str]]) -> dict[int, int]:
    """Of each bracket that has a partner its number, among the pieces; brackets that cross have none."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for n, piece in enumerate(pieces):
        if piece["open"]:
            opened.append(n)
        elif piece["close"] or piece["end"]:
            wanted = "(" if piece["close"] else "["
            if wanted in (pieces[m]["open"] for m in opened[-1:]):
                other = opened.pop()
                found[n], found[other] = other, n
    return found


def _weight(closing: re.Match[str]) -> float:
    """What a pair of brackets makes of its words, by its closing one."""
    if closing["end"]:
        return 1 / UP
    after = closing["after"]
    if closing["number"]:
        return float(closing["number"])
    if not after:
        return UP
    return (UP if after[0] == "+" else DOWN) ** len(after) if after[0] in "+-" else float(after)


def _raise_word(letters: list[str], weights: list[float], signs: str) -> str:
    """Raise the weight of the last word; the word with its signs."""
    i = len(letters)
    while i > 0 and (letters[i - 1].isalnum() or letters[i - 1] in "'’-_"):
        i -= 1
        weights[i] *= UP ** len(signs)
    return "".join(letters[i:]) + signs


def _not_carried_out(whole: str) -> str:
    number = re.fullmatch(r"\[([^\[\]:|]*):\s*([-+\d.]+)\s*\]", whole)
    weight = f"; for a weight write ({number[1]}:{number[2]})" if number and number[1].strip() else ""
    return (
        f"{whole} changes its words during the run, which this one cannot: write those of one of them{weight}; or \\[ and \\] "
        "for brackets that are text"
    )


def _moved(graph: SemanticGraph, prompt: str, move: Callable[[Span], Span]) -> SemanticGraph:
    """A graph over another text that has the same words."""

    def word(one: Word) -> Word:
        span = move(one.span)
        return replace(one, text=prompt[slice(*span)], span=span)

    entities = tuple(replace(word(e), attributes=tuple(word(a) for a in e.attributes)) for e in graph.entities)
    return SemanticGraph(prompt, entities, graph.style, tuple(word(r) for r in graph.relations))
