"""What a study asks: pairs of images of a bench run, checks of attention, and each rater's own order and sides."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..bench.plan import Comparison
from ..bench.results import RowResult
from ..errors import ConfigError, did_you_mean

BROKEN, SAME = 4, 1
"""Checks a rater gets: pairs in which one image is broken, and pairs of one image with itself."""
MOST_WRONG = 1
"""Of a rater's checks; who has more wrong is left out. Clicking at random gets so far about 1 time in 20."""
Kind = Literal["pair", "broken", "same"]
Answer = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt and seed: of row `first` and of row `second`, indices into the study's rows."""

    first: int
    second: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class Design:
    """What is asked, the same for all raters. `seed` decides everything random that is shared."""

    rows: tuple[str, ...]
    pairs: tuple[Pair, ...]
    question: str
    each: int
    """How many pairs a rater gets, checks not counted."""
    seed: int = 0

    def to_json(self) -> str:
        """All of it, with keys in order, so that equal designs are equal texts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Design:
        """What `to_json` wrote. Raises ValueError, TypeError or KeyError on another text."""
        data = json.loads(text)
        pairs = tuple(Pair(**pair) for pair in data.pop("pairs"))
        return cls(rows=tuple(data.pop("rows")), pairs=pairs, **data)


@dataclass(frozen=True)
class Trial:
    """One question to one rater. `mark` tells it from the rater's others; `flipped`: the second image is shown first."""

    mark: str
    kind: Kind
    pair: int
    """Its place in the design's pairs. Of a check: the pair whose first image it is made of."""
    flipped: bool


def make_design(
    plan: Comparison,
    results: Sequence[RowResult],
    rows: Sequence[str],
    question: str,
    each: int | None = None,
    seed: int = 0,
) -> Design:
    """Every two of the rows, on every prompt and seed that both have an image of.

    Raises ConfigError where a row is not in the run, or where two rows have no prompt and seed in common.
    """
    known = [row.name for row in plan.rows]
    for name in rows:
        if name not in known:
            raise ConfigError(
                f"{name!r} is no row of the run{did_you_mean(name, known)}: choose from {', '.join(known)}"
            )
    if len(set(rows)) < 2 or len(set(rows)) != len(rows):
        raise ConfigError(f"rows {', '.join(rows)}: name two or more different rows, of {', '.join(known)}")
    images = [next(r for r in results if r.row.name == name).images for name in rows]
    pairs = []
    for i, j in itertools.combinations(range(len(rows)), 2):
        common = [case for case in images[i] if case in images[j]]
        if not common:
            raise ConfigError(
                f"{rows[i]} and {rows[j]} have no image of the same prompt and seed: run dymo bench to its end"
            )
        pairs += [Pair(i, j, *case) for case in common]
    if each is not None and not 1 <= each <= len(pairs):
        raise ConfigError(f"--pairs {each}: give 1 to {len(pairs)}, which is how many the run has")
    return Design(tuple(rows), tuple(pairs), question, each or len(pairs), seed)


def trials_of(design: Design, rater: str) -> list[Trial]:
    """A rater's questions in their order, the same at each call: which pairs, where the checks are, which side is which."""
    rng = random.Random(f"{design.seed}-{rater}")
    chosen = rng.sample(range(len(design.pairs)), design.each)
    kinds: list[tuple[Kind, int]] = [("pair", pair) for pair in chosen]
    checks: tuple[tuple[Kind, int], ...] = (("broken", BROKEN), ("same", SAME))
    for kind in (kind for kind, count in checks for _ in range(count)):
        kinds.insert(rng.randint(0, len(kinds)), (kind, rng.randrange(len(design.pairs))))
    return [Trial(f"{n:03d}", kind, pair, rng.random() < 0.5) for n, (kind, pair) in enumerate(kinds)]


def is_right(trial: Trial, answer: Answer) -> bool:
    """Whether a check is answered as an attentive rater does: an image is no better than itself, a broken one is worse."""
    return answer == ("tie" if trial.kind == "same" else "first")
