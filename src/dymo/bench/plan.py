"""What a bench run is to do: methods x prompts x seeds x metrics, checked before any model is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ConfigError
from ..guidance.recurrence import Budget
from ..methods import load_method
from .digest import weights_of
from .needs import need

By = Literal["evaluations", "seconds"]
VERSION = 2
"""Of what a result means: raised when an old result must not stand for a new one."""


@dataclass(frozen=True)
class Match:
    """A budget that is what another row spent on the same prompt and seed (in a batch: the most evaluations, all seconds).

    Evaluations are rounded up to whole trajectories, so that the row gets at least as many.
    """

    row: str
    by: By = "evaluations"

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise ConfigError(f"match by {self.by!r}: choose one of {', '.join(get_args(By))}")


@dataclass(frozen=True)
class Row:
    """One row: a method with its settings, on the pipeline or on a trained variant of it."""

    name: str
    method: str = "plain"
    settings: dict[str, Any] = field(default_factory=dict)
    reward: Any = None
    """In place of the plan's: a name, or {name: weight, ...}; False for none."""
    budget: dict[str, Any] | None = None
    """evaluations or seconds a picture."""
    match: Match | None = None
    call: dict[str, Any] = field(default_factory=dict)
    """More arguments of the pipeline's call, over the plan's."""
    pipeline: str | None = None
    """Another pipeline than the plan's, by hub id or folder."""
    unet: str | None = None
    lora: str | None = None
    """Trained weights to put into the pipeline for this row: a hub id, a folder or a safetensors file."""

    def __post_init__(self) -> None:
        load_method(self.method, **self.settings)
        if self.budget is not None:
            unknown = sorted(set(self.budget) - {"evaluations", "seconds"})
            if unknown:
                raise ConfigError(f"row {self.name!r}: budget has no {unknown[0]!r}; give evaluations or seconds")
            Budget(**self.budget)
        if self.budget is not None and self.match is not None:
            raise ConfigError(f"row {self.name!r}: give budget or match, not both")


@dataclass(frozen=True)
class Plan:
    """A whole comparison. Raises ConfigError where it contradicts itself."""

    rows: tuple[Row, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    metrics: tuple[str, ...] = ()
    pipeline: str = "miniature"
    reward: Any = None
    call: dict[str, Any] = field(default_factory=dict)
    scheduler: str | None = None
    dtype: str | None = None
    unet: str | None = None
    lora: str | None = None
    batch: int = 1
    """Prompts painted together. Seconds are then those of the batch by its pictures."""
    versus: str | None = None
    """The row that the others are tested against; the first one where None."""
    guides: tuple[str, ...] = ()
    """Metrics that some row is guided by; the others are held out."""
    title: str = "Comparison"
    paper: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Published figures: row -> column -> value, shown beside the measured ones."""
    notes: tuple[str, ...] = ()
    """How to read the report."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Rows that a table has and this run has not, with the reason."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if not names:
            raise ConfigError("no row to run: name at least one method")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"two rows are called {twice[0]!r}: give each its own name")
        if not self.prompts or not self.seeds:
            raise ConfigError("no prompt or no seed: give at least one of each")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise ConfigError(f"batch={self.batch!r}: give a whole number from 1 on")
        if self.versus is not None and self.versus not in names:
            raise ConfigError(f"versus={self.versus!r} is no row: choose one of {', '.join(names)}")
        for row in self.rows:
            if row.match is not None and (row.match.row not in names or self.row(row.match.row).match is not None):
                raise ConfigError(f"row {row.name!r} matches {row.match.row!r}: name a row that has its own budget")

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    @property
    def base(self) -> str:
        """The row that the others are tested against."""
        return self.versus or self.rows[0].name

    def settings_of(self, row: Row) -> dict[str, Any]:
        """Everything a picture of `row` depends on, but the prompt and the seed."""
        found = dataclasses.asdict(row)
        del found["name"]
        for key in ("pipeline", "unet", "lora", "reward"):
            found[key] = getattr(self, key) if found[key] is None else found[key]
        found["call"] = {**self.call, **row.call}
        found |= {"scheduler": self.scheduler, "dtype": self.dtype, "batch": self.batch, "version": VERSION}
        parts = found["reward"] if isinstance(found["reward"], dict) else [found["reward"]]
        names = [found["pipeline"], found["unet"], found["lora"], *parts]
        found["weights"] = [weights_of(name) if isinstance(name, str) else "" for name in names]
        # A local file is told by what is in it, so that a run can go on in another folder.
        found |= {key: named(found[key]) for key in ("pipeline", "unet", "lora")}
        if row.match is not None:
            found["match"] = {"by": row.match.by, "row": self.settings_of(self.row(row.match.row))}
        return found

    def hash_of(self, row: Row) -> str:
        """The configuration hash: equal settings give equal pictures, whatever the row is called."""
        text = json.dumps(self.settings_of(row), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, default=str)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """From what YAML or JSON hold. `rows`: names of methods, or objects. Raises ConfigError on unknown keys."""
        data = dict(data)
        _check_keys("the plan", data, cls)
        rows = [row_of(row) for row in data.get("rows", ())]
        for name in ("prompts", "seeds", "metrics", "guides", "notes"):
            if name in data:
                data[name] = tuple(data[name])
        return cls(**{**data, "rows": tuple(rows)})

    @classmethod
    def load(cls, path: Path) -> Plan:
        """The plan of a run, as it was written by `to_json`."""
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: no plan of a run ({error}); give the folder that dymo bench wrote") from error


def named(source: str | None) -> str | None:
    """A file or folder of this machine by its last name; anything else as it is."""
    return Path(source).name if source and Path(source).exists() else source


def row_of(given: str | dict[str, Any]) -> Row:
    """A row from the name of a method, or from its fields; `name` defaults to the method's."""
    data: dict[str, Any] = {"method": given} if isinstance(given, str) else dict(given)
    data.setdefault("name", data.get("method", "plain"))
    _check_keys(f"the row {data['name']!r}", data, Row)
    if isinstance(data.get("match"), str):
        data["match"] = Match(data["match"])
    elif data.get("match") is not None:
        data["match"] = Match(**data["match"])
    return Row(**data)


def read_yaml(path: Path) -> dict[str, Any]:
    """The object in a YAML (or JSON) file. Raises ConfigError."""
    yaml = need("yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds {type(data).__name__}, not settings (pipeline:, prompts:, rows: ...)")
    return data


def _check_keys(what: str, data: dict[str, Any], kind: type) -> None:
    known: Sequence[str] = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{what} has no {unknown[0]!r}: choose from {', '.join(known)}")
