"""The miniature's world: what its captions can say, and so what an image of one must show."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import RewardError

NOUNS = (
    "anchor", "apple", "bell", "boat", "car", "cat", "chair", "crown", "duck", "fish",
    "hat", "heart", "house", "key", "lock", "moon", "shirt", "star", "tree", "umbrella",
)  # fmt: skip
PLURALS = {noun: noun if noun == "fish" else f"{noun}s" for noun in NOUNS}
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
COUNTS = {2: "two", 3: "three"}
RELATIONS = ("to the left of", "to the right of", "above", "below", "next to")
MOST = 3
"""Things in an image, at most."""


@dataclass(frozen=True)
class Thing:
    """One object of a scene: a noun and its colour; with `count` above 1, so many equal ones."""

    noun: str
    colour: str
    count: int = 1

    @property
    def text(self) -> str:
        if self.count > 1:
            return f"{COUNTS[self.count]} {self.colour} {PLURALS[self.noun]}"
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.noun}"


@dataclass(frozen=True)
class Caption:
    """A caption with its truth: one to three things, counted, and how the first stands to all others ("and": anyhow).

    "A above B and C" says that A is above B and above C.
    """

    things: tuple[Thing, ...]
    relation: str = "and"

    @property
    def text(self) -> str:
        first, *rest = [thing.text for thing in self.things]
        if len(rest) == 2 and self.relation == "and":
            return f"{first}, {rest[0]} and {rest[1]}"
        return f" {self.relation} ".join([first, " and ".join(rest)]) if rest else first

    @property
    def instances(self) -> list[int]:
        """For each object of the scene, the index of its thing: "two red apples and a car" has [0, 0, 1]."""
        return [i for i, thing in enumerate(self.things) for _ in range(thing.count)]


def held_out(noun: str, colour: str) -> bool:
    """Whether training never shows this noun in this colour: one colour a noun."""
    return list(COLOURS)[(NOUNS.index(noun) * 5 + 3) % len(COLOURS)] == colour


ALL_THINGS = tuple(Thing(noun, colour) for noun, colour in itertools.product(NOUNS, COLOURS))
TRAINED_THINGS = tuple(thing for thing in ALL_THINGS if not held_out(thing.noun, thing.colour))
SPLITS = ("train", "tune", "test")


@functools.cache  # there are some 20,000 pairs, and drawing captions asks for each again and again
def _split_of_pair(pair: tuple[tuple[str, str], tuple[str, str]]) -> str:
    first, second = sorted(pair)
    digest = random.Random(f"{first}|{second}").random()
    return "test" if digest < 0.1 else "tune" if digest < 0.2 else "train"


def split_of(caption: Caption) -> str:
    """The split a caption belongs to: "test" if it has a pair of things of the test set, else "tune" likewise, else "train".

    The pairs are unordered, and two equal things are one: training never shows a pair of the other splits.
    """
    each = [(caption.things[i].noun, caption.things[i].colour) for i in caption.instances]
    splits = {_split_of_pair(pair) for pair in itertools.combinations(each, 2)}
    return next((split for split in ("test", "tune") if split in splits), "train")


SHAPES: dict[int, tuple[tuple[tuple[int, ...], float], ...]] = {
    1: (((1,), 1.0),),
    2: (((1, 1), 0.85), ((2,), 0.15)),
    3: (((1, 1, 1), 0.55), ((2, 1), 0.16), ((1, 2), 0.16), ((3,), 0.13)),
}
"""By the number of objects: the counts of a caption's things, and how often they are drawn."""


ASKED: dict[int, tuple[tuple[int, ...], ...]] = {2: ((1, 1), (1, 1), (2, 1), (1, 2)), 3: ((1, 1, 1),)}
"""By the number of things: their counts in `captions`, each as often as it stands here."""

UNSEEN = 2
"""Of three things, at least so many are of a colour in which training never shows them."""


def _counted(rng: random.Random, things: tuple[Thing, ...], counts: tuple[int, ...], any_colour: bool) -> tuple[Thing, ...]:
    """So many of each of several drawn things, of different nouns, and of different colours unless `any_colour`."""
    while True:
        drawn = [rng.choice(things) for _ in counts]
        if len({t.noun for t in drawn}) == len(drawn) and (any_colour or len({t.colour for t in drawn}) == len(drawn)):
            return tuple(Thing(t.noun, t.colour, n) for t, n in zip(drawn, counts, strict=True))


def sample_caption(
    rng: random.Random,
    things: tuple[Thing, ...] = TRAINED_THINGS,
    objects: int | None = None,
    shares: tuple[float, float, float] = (0.3, 0.4, 0.3),
) -> Caption:
    """A random caption over `things` with so many `objects`, or one, two or three in the given shares.

    Its nouns differ; its colours do four times in five.
    """
    number = objects or rng.choices((1, 2, 3), shares)[0]
    counts = rng.choices([s for s, _ in SHAPES[number]], [w for _, w in SHAPES[number]])[0]
    made = _counted(rng, things, counts, rng.random() < 0.2)
    # "next to" more than one thing would not say where.
    relations = RELATIONS if number == 2 else RELATIONS[:4]
    related = len(made) > 1 and rng.random() < (0.7 if number == 2 else 0.4)
    return Caption(made, rng.choice(relations) if related else "and")


def _drawn(split: str, rng: random.Random, number: int | None) -> Iterator[Caption]:
    things = TRAINED_THINGS if split == "train" else ALL_THINGS
    while True:
        counts = rng.choice(ASKED[number or rng.choice((2, 3))])
        caption = Caption(_counted(rng, things, counts, False), rng.choice(RELATIONS[:4]))
        unseen = sum(held_out(thing.noun, thing.colour) for thing in caption.things)
        if split_of(caption) == split and (split == "train" or len(counts) < MOST or unseen >= UNSEEN):
            yield caption


def captions(split: str, n: int, seed: int = 0, things: int | None = None) -> list[Caption]:
    """`n` captions of a split ("test" is never trained or tuned on), no two of the same things, seeded.

    They are the hard ones: two things, one of which may be two objects, or three; all say on which side the first stands,
    and different things have different colours. `things` is 2 or 3, or None for both alike. Noun-colour pairs that are held
    out of training take part in "tune" and "test": two of three things, at least, are such.

    Raises ValueError on an unknown split, and on more than 2000.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if things not in (None, 2, 3):
        raise ValueError(f"{things!r} things asked for: choose 2, 3 or None for both")
    if n > 2000:
        raise ValueError(f"{n} captions asked for, but a split gives at most 2000")
    found: dict[frozenset[tuple[Thing, int]], Caption] = {}
    for caption in _drawn(split, random.Random(f"{split}-{seed}-{things}"), things):
        if len(found) == n:
            break
        found.setdefault(frozenset(Counter(caption.things).items()), caption)
    return list(found.values())


def in_turns(split: str, n: int, seed: int = 0) -> list[Caption]:
    """`n` captions as of `captions`, of two and of three things in turns."""
    two, three = (captions(split, (n + 1) // 2, seed, things) for things in (2, 3))
    return [caption for pair in zip(two, three, strict=True) for caption in pair][:n]


VOCABULARY: dict[str, tuple[str, ...]] = {
    "things": NOUNS,
    "several of them": tuple(PLURALS.values()),
    "counts": ("a", "an", *COUNTS.values()),
    "colours": tuple(COLOURS),
    "relations": ("and", *RELATIONS),
}
"""Everything that captions are made of: kind of word -> its words."""
WORDS = frozenset(word for phrases in VOCABULARY.values() for phrase in phrases for word in phrase.split())
"""Every word that a caption can have."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def unknown_words(text: str) -> list[str]:
    """Those that the miniature was not trained on, each once."""
    return [word for word in dict.fromkeys(_WORD.findall(text)) if word.lower() not in WORDS]


_NUMBERS = {"a": 1, "an": 1, **{word: n for n, word in COUNTS.items()}}
_NOUN_OF = {word: noun for noun in NOUNS for word in (noun, PLURALS[noun])}


def caption_of(text: str) -> Caption:
    """The truth of a caption's text, the inverse of `Caption.text`.

    Raises ValueError for a text that is no caption of this world, naming the words that it does not know.
    """
    relation = next((r for r in RELATIONS if f" {r} " in text), "and")
    parts = text.replace(f" {relation} ", ", ").replace(" and ", ", ").split(", ")
    things = []
    for number, colour, noun in (part.split() for part in parts if len(part.split()) == 3):
        if number in _NUMBERS and colour in COLOURS and noun in _NOUN_OF:
            things.append(Thing(_NOUN_OF[noun], colour, _NUMBERS[number]))
    caption = Caption(tuple(things), relation)
    if not things or caption.text != text or len(caption.instances) > MOST:
        strange = [word for word in text.replace(",", " ").split() if word not in WORDS]
        raise ValueError(
            f"{text!r} is not a caption of the miniature's world"
            + (f", which does not know {', '.join(map(repr, strange))}" if strange else "")
            + f": captions say one to {MOST} things as 'two red apples to the left of a green car' or 'a red apple, a "
            f"blue cat and a green car', of the colours {', '.join(COLOURS)} and the things {', '.join(NOUNS)}"
        )
    return caption


def read_caption(prompt: str) -> Caption:
    """The truth of a prompt in the miniature's words. Raises RewardError for any other, which the judge cannot read."""
    try:
        return caption_of(prompt)
    except ValueError as error:
        raise RewardError(f"the judge cannot read the prompt: {error}") from None
