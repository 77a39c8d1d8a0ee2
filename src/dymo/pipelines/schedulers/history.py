"""What a sampler remembers of earlier steps, sample by sample.

A multistep sampler keeps the predictions of earlier steps of the whole batch, and counts them with one number. A step
that is taken again for some samples only, or from noise drawn anew, gives each sample a past of its own: so the
scheduler's attributes are cut into one history a sample, and put together again for the samples whose pasts are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Fields = dict[str, Any]
"""A scheduler's attributes by name."""


@dataclass(frozen=True)
class History:
    """One sample's share of a scheduler's attributes; tensors have a batch of one.

    age: steps since the sample's noise was drawn anew, with which its past began again; None: it never was.
    """

    fields: Fields
    age: int | None = None

    def with_field(self, name: str, value: Any) -> History:
        """The history with another value of one attribute."""
        return replace(self, fields={**self.fields, name: value})


def read(scheduler: Any, names: Sequence[str]) -> Fields:
    """The attributes that are there; lists are copied, the tensors in them are never changed in place."""
    found = {name: vars(scheduler)[name] for name in names if name in vars(scheduler)}
    return {name: [*value] if isinstance(value, list) else value for name, value in found.items()}


def apart(fields: Fields, count: int) -> list[Fields]:
    """The shares of `count` samples."""
    return [{name: _share(value, i, count) for name, value in fields.items()} for i in range(count)]


def together(fields: Sequence[Fields]) -> Fields:
    """The attributes of samples whose histories are alike."""
    return {name: _join([one[name] for one in fields]) for name in fields[0]}


def alike(histories: Sequence[History]) -> list[list[int]]:
    """The places of histories that can be put together: the same counts, and predictions of the same number."""
    groups: dict[Any, list[int]] = {}
    for place, history in enumerate(histories):
        groups.setdefault((history.age, *map(_form, history.fields.values())), []).append(place)
    return list(groups.values())


def _share(value: Any, i: int, count: int) -> Any:
    if isinstance(value, list):
        return [_share(one, i, count) for one in value]
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == count:
        return value[i : i + 1]
    return value


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, list):
        return [_join(each) for each in zip(*values, strict=True)]
    if isinstance(first, Tensor) and first.ndim > 1 and len(values) > 1:
        return torch.cat(list(values))
    return first


def _form(value: Any) -> Any:
    """What has to be equal in histories that are put together."""
    if isinstance(value, list):
        return tuple(_form(one) for one in value)
    return type(value) if isinstance(value, Tensor) else value
