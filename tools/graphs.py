"""How well a parser reads prompts: precision, recall and F1 against graphs that somebody else wrote.

    python -m tools.graphs FILE [--parser spacy|llm|transformers|simple] [--errors] [--seed 0]

FILE holds one graph a line in the reference format: {"prompt": ..., "knowledge": [{thing: [attribute, ...]}, ...],
"global": [...]}. Two figures, each summed over all prompts (micro):

- entities: an entity of the parser's counts where the file has a thing of the same word in the same prompt;
- pairs: an (entity, attribute) counts where the file has that attribute at that thing.

Words are equal when they are the same letters in lower case; nothing is stemmed, and no part of a word counts. The
format writes a thing as one word and the words before it as attributes ("tea party" is {"party": ["tea"]}), so a
parser's entity of several words is read that way too. Each prompt's entities, and its pairs, are sets: one thing named
twice counts once. Words that the file has and the prompt has not ("potato" of "potatoes") stay in the truth, so 1.0 is
out of reach. Intervals are 95 % bootstrap intervals over prompts.

"simple" is the yardstick: the nouns of spaCy's noun chunks, with their adjectives, compounds and numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dymo.errors import ConfigError, DyMOError
from dymo.prompt import SemanticGraph, load_parser
from dymo.report.table import Column, Table

Words = frozenset[str]
Pairs = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Reading:
    """What a prompt names: its things, and each thing with each of its attributes, in lower case."""

    entities: Words
    pairs: Pairs

    @classmethod
    def of(cls, things: Iterable[tuple[str, Sequence[str]]]) -> Reading:
        entities: set[str] = set()
        pairs: set[tuple[str, str]] = set()
        for text, attributes in things:
            *before, head = text.lower().split()
            entities.add(head)
            pairs |= {(head, word) for word in before} | {(head, a.lower()) for a in attributes}
        return cls(frozenset(entities), frozenset(pairs))


def read_truth(path: Path) -> list[tuple[str, Reading]]:
    """The prompts of a file with what it says of them. Raises ConfigError."""
    found = []
    try:
        for line in filter(str.strip, path.read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            things = [(thing, attributes) for item in row["knowledge"] for thing, attributes in item.items()]
            found.append((row["prompt"], Reading.of(things)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: no file of graphs in the reference format ({error!r})") from error
    if not found:
        raise ConfigError(f"{path} holds no graph")
    return found


def reading(graph: SemanticGraph) -> Reading:
    return Reading.of((e.text, [a.text for a in e.attributes]) for e in graph.entities)


def simple(prompts: Sequence[str]) -> list[Reading]:
    """The yardstick: noun chunks as spaCy gives them."""
    import spacy

    from dymo.prompt.spacy import model_name

    documents = spacy.load(model_name(), exclude=["ner", "lemmatizer"]).pipe(prompts)
    described = ("amod", "compound", "nummod")
    return [
        Reading.of(
            (chunk.root.text, [t.text for t in chunk.root.children if t.dep_ in described])
            for chunk in document.noun_chunks
            if chunk.root.pos_ in ("NOUN", "PROPN")
        )
        for document in documents
    ]


def f1(counts: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Precision, recall and F1 of counts (..., 3): hits, found, true. 0 where there is nothing to divide by."""
    hits, found, true = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    return tuple(
        np.divide(top, below, out=np.zeros_like(top), where=below > 0)
        for top, below in ((hits, found), (hits, true), (2 * hits, found + true))
    )  # type: ignore[return-value]


def counts(kind: str, found: Sequence[Reading], true: Sequence[Reading]) -> NDArray:
    """(prompts, 3): how many of a prompt's entities or pairs are right, found, true."""
    both = [(getattr(f, kind), getattr(t, kind)) for f, t in zip(found, true, strict=True)]
    return np.array([(len(f & t), len(f), len(t)) for f, t in both])


def figures(table: NDArray, seed: int, n: int = 2000) -> list[str]:
    """Precision, recall and F1 of counts (prompts, 3), each with its interval over prompts."""
    drawn = np.random.default_rng(seed).integers(len(table), size=(n, len(table)))
    resampled = f1(table[drawn].sum(axis=1))
    return [
        f"{value:.3f} [{low:.3f}, {high:.3f}]"
        for value, (low, high) in zip(
            f1(table.sum(axis=0)), (np.quantile(r, (0.025, 0.975)) for r in resampled), strict=True
        )
    ]


def _read(parser: str, prompts: Sequence[str]) -> list[Reading]:
    if parser == "simple":
        return simple(prompts)
    many: Callable[[Sequence[str]], Iterable[SemanticGraph]] = load_parser(parser).parse_many
    return [reading(graph) for graph in many(prompts)]


def _differences(prompt: str, found: Reading, true: Reading) -> str:
    lines = [prompt]
    for kind in ("entities", "pairs"):
        for sign, words in (
            ("-", getattr(true, kind) - getattr(found, kind)),
            ("+", getattr(found, kind) - getattr(true, kind)),
        ):
            if words:
                lines.append(f"  {sign} " + ", ".join(sorted(w if isinstance(w, str) else ":".join(w) for w in words)))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--parser", default="spacy")
    parser.add_argument("--errors", action="store_true", help="print what is missing (-) and too much (+), by prompt")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        rows = read_truth(args.file)
        prompts, true = [prompt for prompt, _ in rows], [truth for _, truth in rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _read(args.parser, prompts[:1])  # so that loading is not timed
            began, busy = time.perf_counter(), time.process_time()
            found = _read(args.parser, prompts)
            seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    except DyMOError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if args.errors:
        for row in zip(prompts, found, true, strict=True):
            print(_differences(*row))
    columns = [Column(args.parser), *map(Column, ("precision", "recall", "F1"))]
    print(Table(columns, [[k, *figures(counts(k, found, true), args.seed)] for k in ("entities", "pairs")]).to_text())
    print(f"{len(rows)} prompts, {len(rows) / seconds:.0f} a second, {len(rows) / cpu:.0f} a second of CPU time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
