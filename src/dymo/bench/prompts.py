"""The prompts of a comparison: the miniature's, a file's, a data set's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ConfigError, first_line
from ..miniature import MINIATURE
from ..miniature.world import in_turns
from .needs import need
from .prompt_files import KINDS, column_of, read_prompt_file

# Name -> the dataset's id, its split, and the column with the prompts. GenEval's prompts have no dataset of their own on
# the hub: give the evaluation_metadata.jsonl of its repository.
HUB_SETS = {
    "pick-a-pic": "yuvalkirstain/pickapic_v1:validation_unique:caption",
    "hpdv2": "Lakonik/t2i-prompts-hpsv2:train:prompt",
    "parti-prompts": "nateraw/parti-prompts:train:Prompt",
    "drawbench": "sayakpaul/drawbench:train:Prompts",
    "t2i-compbench": "NinaKarine/t2i-compbench:train:text",
}


def load_prompts(source: str, n: int | None = None, seed: int = 0) -> list[str]:
    """`n` prompts (all, where None), the first ones of a file or set; distinct, in order.

    source: "miniature" (its held-out captions, of two and of three things in turns; `seed` draws them); a file of
    `read_prompt_file`; a name in HUB_SETS; or "hub:OWNER/NAME:SPLIT:COLUMN".
    Raises ConfigError where they cannot be had, or are fewer than n.
    """
    if n is not None and (type(n) is not int or n < 1):
        raise ConfigError(f"{n!r} prompts asked for: give a whole number, at least 1")
    if type(seed) is not int:
        raise ConfigError(f"seed {seed!r}: give a whole number")
    if source == MINIATURE:
        try:
            return [caption.text for caption in in_turns("test", 64 if n is None else n, seed)]
        except ValueError as error:
            raise ConfigError(error) from error
    found: Iterable[str]
    if source in HUB_SETS or source.startswith("hub:"):
        place = HUB_SETS.get(source, source.removeprefix("hub:")).split(":")
        if len(place) != 3 or not all(place):
            raise ConfigError(f"{source!r}: give hub:OWNER/NAME:SPLIT:COLUMN")
        found = _from_hub(place[0], place[1], place[2], n)
    else:
        found = _from_file(Path(source))
    prompts = list(_distinct(found))
    if not prompts or (n is not None and len(prompts) < n):
        raise ConfigError(f"{source!r} holds {len(prompts)} prompts, {n or 'at least one'} asked for")
    return prompts[:n]


def _from_file(path: Path) -> list[str]:
    if not path.exists():
        remedy = f"give 'miniature', a {KINDS} file, hub:OWNER/NAME:SPLIT:COLUMN, or one of"
        raise ConfigError(f"no file {str(path)!r}; {remedy} {', '.join(HUB_SETS)}")
    return read_prompt_file(path)


def _from_hub(name: str, split: str, column: str, n: int | None) -> list[str]:
    datasets = need("datasets")
    try:
        rows = datasets.load_dataset(name, split=split, streaming=True)
        if column in (rows.column_names or ()):  # the images beside the prompts are not decoded
            rows = rows.select_columns(column)
        texts = (row[column if column in row else column_of(list(row), name)] for row in rows)
        return list(itertools.islice(_distinct(texts), n))
    except Exception as error:  # the hub's client raises kinds of its own, of several libraries
        remedy = "give hub:OWNER/NAME:SPLIT:COLUMN, or a file of prompts"
        raise ConfigError(f"the hub's {name!r} ({split}, {column}) cannot be read: {first_line(error)}; {remedy}") from error


def _distinct(texts: Iterable[str | None]) -> Iterator[str]:
    seen = set[str]()
    for text in texts:
        if text and text.strip() and text.strip() not in seen:
            seen.add(text.strip())
            yield text.strip()
