"""pydantic's errors about a plan in the words of a plan, or of the surface that it was given to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ..errors import Message, did_you_mean
from ..parts import Part

_KINDS = {
    "tuple_type": "give a list, as [a, b]", "dict_type": "give a table, as {key: value}", "model_type": "give a table, as {key: value}",
    "missing": "is not there; it has to be given",
}  # fmt: skip
"""pydantic's kinds of errors that have words of Python in them, in the words of a plan."""


@dataclass(frozen=True)
class PlanKey(Part):
    """A key of a plan before what is wrong with it, which the command line may have given by an option: versus:.

    row: whose, of one under "rows": row 'plain', budget, evaluations:.
    """

    name: str
    row: str | None = None

    def __str__(self) -> str:
        return f"{self.name}:" if self.row is None else f"row {self.row!r}, {', '.join(self.name.split('.')[1:])}:"


def in_words(error: Any, data: Any, words: Mapping[str, str], where: str, kinds: Mapping[str, type[BaseModel]]) -> tuple[object, ...]:
    """One line for a pydantic error, as the parts of a message: where it is, in the user's words, what is wrong, and the value.

    kinds: what a table under a key is, as {"rows": RowSpec}; "": the whole.
    """
    beside = ("function-", "dict[", "str", "tuple[", "literal[")  # pydantic's own words among the keys
    path = [part for part in error["loc"] if not str(part).startswith(beside)]
    cause = error.get("ctx", {}).get("error")
    reason: Any = error["msg"] if cause is None else cause if isinstance(cause, Message) else str(cause)
    if error["type"] == "extra_forbidden":
        names = [part for part in path[:-1] if isinstance(part, str)]
        known = list(kinds[names[-1] if names else ""].model_fields)
        like = did_you_mean(str(path[-1]), known)
        reason = f"there is no {path.pop()!r}{like}: choose from {', '.join(known)}"
    elif (wanted := _KINDS.get(error["type"])) is not None:
        reason = wanted if error["type"] == "missing" else f"{error['input']!r:.80}: {wanted}"
    elif cause is None and not isinstance(error["input"], (dict, list)) and error["type"] != "missing":
        reason = f"{reason[0].lower()}{reason[1:]}, not {error['input']!r}"
    key = ".".join(part for part in path if isinstance(part, str))
    first = cause.parts[0] if isinstance(cause, Message) else None
    if key in words:
        return f"{words[key]}: ", reason
    if not key and isinstance(first, PlanKey) and first.name in words:
        return f"{words[first.name]}:", *cause.parts[1:]
    if len(path) > 1 and path[0] == "rows" and isinstance(path[1], int):
        row = data["rows"][path[1]]
        name = row.get("name", row.get("method")) if isinstance(row, dict) else row
        key = f"row {name if isinstance(name, str) and name else path[1] + 1!r}" + "".join(f", {part}" for part in path[2:])
    return *(f"{place}: " for place in (where, key) if place), reason
