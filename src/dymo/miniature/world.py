"""The miniature's world: what its captions can say, and so what an image of one must show."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

NOUNS = ("apple", "bell", "car", "cat", "fish", "hat", "heart", "key", "shirt", "star", "tree", "umbrella")
COLOURS = {
    "red": (222, 38, 42),
    "orange": (250, 136, 22),
    "yellow": (250, 222, 44),
    "green": (44, 168, 62),
    "blue": (42, 98, 226),
    "purple": (146, 62, 190),
    "white": (250, 250, 250),
    "black": (46, 44, 48),
}
RELATIONS = ("to the left of", "to the right of", "above", "below", "next to")


@dataclass(frozen=True)
class Thing:
    """One object of a scene: a noun and its colour."""

    noun: str
    colour: str

    @property
    def text(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.noun}"


@dataclass(frozen=True)
class Caption:
    """A caption with its truth: one thing, or two and the relation between them ("and" leaves the place open)."""

    things: tuple[Thing, ...]
    relation: str = "and"

    @property
    def text(self) -> str:
        return f" {self.relation} ".join(thing.text for thing in self.things)


def held_out(noun: str, colour: str) -> bool:
    """Whether this noun is never in this colour in the training scenes: one colour a noun."""
    return list(COLOURS)[(NOUNS.index(noun) * 5 + 3) % len(COLOURS)] == colour


TRAINED_THINGS = tuple(
    Thing(noun, colour) for noun, colour in itertools.product(NOUNS, COLOURS) if not held_out(noun, colour)
)
ALL_THINGS = tuple(Thing(noun, colour) for noun, colour in itertools.product(NOUNS, COLOURS))

# Split name -> seed; a caption belongs to one split alone, by the hash below.
SPLITS = {"train": 0, "tune": 1, "test": 2}


def split_of(caption: Caption) -> str:
    """The split a two-object caption belongs to: by its unordered pair of things, so no split has another's scenes."""
    first, second = sorted((t.noun, t.colour) for t in caption.things)
    digest = random.Random(f"{first}|{second}").random()
    return "test" if digest < 0.1 else "tune" if digest < 0.2 else "train"


def sample_caption(rng: random.Random, things: tuple[Thing, ...] = TRAINED_THINGS, p_two: float = 0.75) -> Caption:
    """A random caption over `things`; two different nouns and, four times in five, two different colours."""
    first = rng.choice(things)
    if rng.random() >= p_two:
        return Caption((first,))
    same_colour_ok = rng.random() < 0.2
    while True:
        second = rng.choice(things)
        if second.noun != first.noun and (same_colour_ok or second.colour != first.colour):
            return Caption((first, second), rng.choice(("and", "and", *RELATIONS)))


def captions(split: str, n: int, seed: int = 0) -> list[Caption]:
    """`n` distinct two-object captions of a split ("test" is never trained or tuned on), two colours each, seeded.

    Held-out noun-colour pairs take part in "tune" and "test". Raises ValueError on an unknown split, or on more than
    it has.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    rng = random.Random(f"{split}-{seed}")
    things = TRAINED_THINGS if split == "train" else ALL_THINGS
    pairs = [Caption(pair) for pair in itertools.combinations(things, 2) if pair[0].noun != pair[1].noun]
    most = sum(split_of(pair) == split and pair.things[0].colour != pair.things[1].colour for pair in pairs)
    if n > most:
        raise ValueError(f"{n} captions asked for, but the split {split!r} has {most} pairs of things")
    found: dict[tuple[Thing, ...], Caption] = {}
    while len(found) < n:
        caption = sample_caption(rng, things, p_two=1.0)
        a, b = caption.things
        if split_of(caption) == split and a.colour != b.colour:
            found.setdefault(tuple(sorted(caption.things, key=str)), caption)
    return list(found.values())


def vocabulary() -> dict[str, tuple[str, ...]]:
    """Everything that captions are made of: kind of word -> its words."""
    return {"objects": NOUNS, "colours": tuple(COLOURS), "relations": ("and", *RELATIONS), "articles": ("a", "an")}
