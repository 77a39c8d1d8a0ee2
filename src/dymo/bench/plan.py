"""A comparison: methods x prompts x seeds x metrics. One schema for plan files, the command line and the paper's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, PositiveInt, PrivateAttr, StrictInt, ValidationError, field_validator, model_validator

from ..errors import ConfigError
from ..methods import follows_gradient, load_method, needs_reward, reads_reward
from ..miniature import MINIATURE, MINIATURE_DEFAULTS
from ..pipelines.sampler_names import read_sampler
from ..pipelines.variants import read_lora
from ..rewards import spec_of
from ..seeds import SEEDS_END, read_seeds
from .identity import digest, hashed, lora_words, short_name
from .plan_errors import PlanKey, in_words
from .prompts import load_prompts
from .reading import defaults
from .rows import (
    STRICT,
    LoraSpec,
    Match,
    RewardSpec,
    RowSpec,
    Spending,
    check_call,
    check_metric,
    loras_of,
    reward_names,
)

VERSION = 4  # of what a result means: raised when an old result must not stand for a new one


class Comparison(BaseModel):
    """A whole comparison. Anything that can be known to be wrong before a model is loaded is a ConfigError of `read`."""

    model_config = STRICT

    rows: tuple[RowSpec, ...]
    prompts: tuple[str, ...]
    seeds: tuple[StrictInt, ...] = (0,)
    metrics: tuple[str, ...] = ()
    pipeline: str = MINIATURE
    reward: RewardSpec = None
    call: dict[str, Any] = {}
    scheduler: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "auto"] | None = None
    variant: str | None = None  # of the pipeline's weight files
    revision: str | None = None  # of the pipeline's hub id
    pipeline_config: str | None = None  # whose configuration and tokenizers checkpoints in one file get
    offload: Literal["none", "model", "sequential"] | None = None
    unet: str | None = None
    lora: LoraSpec = None
    batch: PositiveInt = 1  # prompts generated together. Seconds and counts are then a batch's, divided by its images.
    versus: str | None = None  # the row that the others are tested against; the first one where None
    guides: tuple[str, ...] = ()
    """The rewards that rows are guided by, and what else is not to count as held out, as a reward that weights were trained by."""
    title: str = "Comparison"
    paper: dict[str, dict[str, float]] = {}  # published figures: row -> column -> value, shown beside the measured ones
    notes: tuple[str, ...] = ()
    left_out: dict[str, str] = {}  # rows that a table has and this comparison has not, with the reason
    _guides_said: tuple[str, ...] = PrivateAttr(())  # as the plan has them, else the comparison's reward: for `mark`

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:
        """What is not given, by the pipeline; prompts by their source."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        mini = data.setdefault("pipeline", MINIATURE) == MINIATURE
        data = {**defaults(mini), **data}
        if mini and isinstance(data.get("call", {}), Mapping):
            data["call"] = {**MINIATURE_DEFAULTS, **data.get("call", {})}
        return data

    @field_validator("seeds", mode="before")
    @classmethod
    def _listed(cls, seeds: Any) -> Any:
        """One seed may stand without brackets; ranges as on the command line."""
        return (seeds,) if type(seeds) is int else read_seeds(seeds) if isinstance(seeds, str) else seeds

    @field_validator("seeds")
    @classmethod
    def _usable(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        for seed in seeds:
            if not -SEEDS_END <= seed < SEEDS_END:
                raise ConfigError(f"{seed}: give a whole number below 2**63")
            if seeds.count(seed) > 1:
                raise ConfigError(f"{seed} is there {seeds.count(seed)} times: give each seed once")
        return seeds

    @field_validator("metrics", "guides", mode="before")
    @classmethod
    def _named(cls, names: Any) -> Any:
        """Names may stand without brackets, with commas between them, as on the command line."""
        return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names

    @field_validator("prompts", mode="before")
    @classmethod
    def _loaded(cls, prompts: Any) -> Any:
        """A list; a source of `load_prompts`; or {from: a source, n: how many, seed: of the miniature's}."""
        if isinstance(prompts, str):
            return load_prompts(prompts)
        if isinstance(prompts, Mapping):
            source = dict(prompts)
            found = load_prompts(str(source.pop("from", MINIATURE)), source.pop("n", None), source.pop("seed", 0))
            if source:
                raise ConfigError(f"no key {next(iter(source))!r} here: it has from, n, seed")
            return found
        texts = isinstance(prompts, (list, tuple)) and all(isinstance(prompt, str) for prompt in prompts)
        if texts and not all(prompt.strip() for prompt in prompts):
            raise ConfigError("one of them is empty: say what the image should show, or leave it out")
        return list(dict.fromkeys(prompts)) if texts else prompts

    @model_validator(mode="after")
    def _consistent(self) -> Comparison:
        names = [row.name for row in self.rows]
        for key in ("rows", "prompts", "seeds"):
            if not getattr(self, key):
                raise ConfigError(PlanKey(key), " there is none; give at least one")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(PlanKey("rows"), f" two are called {twice[0]!r}: give each its own name")
        if self.versus is not None and self.versus not in names:
            raise ConfigError(PlanKey("versus"), f" {self.versus!r} is no row: choose one of {', '.join(names)}")
        if self.scheduler is not None:
            try:
                read_sampler(self.scheduler)
            except ConfigError as error:
                raise ConfigError(PlanKey("scheduler"), " ", error) from error
        if self.offload not in (None, "none") and (self.unet or any(row.unet for row in self.rows)):
            raise ConfigError(
                PlanKey("offload"), f" {self.offload}: another UNet (unet:) cannot be put into an offloaded pipeline; leave out one"
            )
        check_call(self.call)
        for row in self.rows:
            try:
                check_call(row.call)
            except ConfigError as error:
                raise ConfigError(f"row {row.name!r}: ", error) from error
            self._check_reward(row)
            steps = self.call_of(row).get("num_inference_steps", 1)
            least = row.budget.evaluations if row.budget is not None else None
            if least is not None and least < steps:
                never = f"the {steps} steps of a trajectory are never cut short; give {steps} or more"
                raise ConfigError(PlanKey("rows.budget.evaluations", row.name), f" {least}: {never}")
            if row.match is not None and (row.match.row not in names or self.row(row.match.row).match is not None):
                raise ConfigError(PlanKey("rows"), f" {row.name!r} matches {row.match.row!r}: name a row that has its own budget")
        for key, prompts in (("metrics", self.prompts), ("guides", ())):
            try:
                for name in getattr(self, key):
                    check_metric(name, prompts)
            except ConfigError as error:
                raise ConfigError(PlanKey(key), " ", error) from error
        return self

    def _check_reward(self, row: RowSpec) -> None:
        """Raises ConfigError where a row's method cannot do with its reward, or with none, what it does."""
        method, names = load_method(row.method, **row.settings), reward_names(self.reward_of(row))
        said = (f"row {row.name!r}: reward:",) if row.reward is not None else (PlanKey("reward"),)
        if not names and needs_reward(method):
            raise ConfigError(said, f" false: {row.method} chooses or moves images by a reward; name one of `dymo rewards list`")
        if follows_gradient(method) and (flat := [name for name in names if not spec_of(name).gradient]):
            raise ConfigError(
                said, f" {flat[0]} only measures, and {row.method} follows a reward's gradient; name another, or take a method that "
                "compares (best-of-n, fk-steering)"
            )

    @model_validator(mode="after")
    def _guided(self) -> Comparison:
        """Add the rewards of all rows to `guides`: what a row followed is never held out."""
        said = self.guides if "guides" in self.model_fields_set else tuple(reward_names(self.reward))
        followed = [name for row in self.rows if reads_reward(load_method(row.method, **row.settings)) for name in reward_names(self.reward_of(row))]
        self._guides_said = said
        object.__setattr__(self, "guides", tuple(dict.fromkeys([*self.guides, *followed])))
        return self

    def row(self, name: str) -> RowSpec:
        """The row of that name. Raises StopIteration where there is none."""
        return next(row for row in self.rows if row.name == name)

    @property
    def base(self) -> str:
        """The row that the others are tested against."""
        return self.versus or self.rows[0].name

    def call_of(self, row: RowSpec) -> dict[str, Any]:
        """The arguments of the pipeline's call for a row."""
        return {name: value for name, value in {**self.call, **row.call}.items() if value is not None}

    def reward_of(self, row: RowSpec) -> str | dict[str, float] | None:
        """What guides a row, its own reward or the comparison's: a name, weights by name, or None."""
        return (self.reward if row.reward is None else row.reward) or None

    def loras_of(self, row: RowSpec) -> list[tuple[str, float]]:
        """The LoRAs of a row with their strengths: its own, else the comparison's."""
        return [read_lora(lora) for lora in loras_of(row.lora or self.lora)]

    def settings_of(self, row: RowSpec, unread: bool = False) -> dict[str, Any]:
        """Everything that an image of `row` depends on, but the prompt and the seed.

        unread: with the reward that the row is given although its method reads none, as in folders of earlier releases.
        """
        reads = unread or reads_reward(load_method(row.method, **row.settings))
        found = row.model_dump(mode="json", exclude={"name"})
        found |= self.model_dump(include={"dtype", "batch"}) | {"scheduler": row.scheduler or self.scheduler}
        found |= {"call": self.call_of(row), "reward": self.reward_of(row) if reads else None, "version": VERSION}
        # What is not used leaves no mark, so that results of before stand.
        if ("height" in found["call"]) != ("width" in found["call"]):
            found["sides"] = 2  # before, a side alone was passed over
        found |= self.model_dump(include={"variant", "revision", "pipeline_config"}, exclude_none=True)
        # A local file is told by what is in it, so that a run can be continued in another folder.
        places = {key: getattr(row, key) or getattr(self, key) for key in ("pipeline", "unet")}
        found |= {key: short_name(place) for key, place in places.items()}
        said = lora_words(row.lora or self.lora)
        found["lora"] = said[0] if len(said) == 1 else said or None
        weights = [*places.values(), *([source for source, _ in self.loras_of(row)] or [""])]
        found["weights"] = [digest(name) for name in [*weights, *reward_names(found["reward"]), row.method]]
        if row.match is not None:
            found["match"] = {"by": row.match.by, "row": self.settings_of(self.row(row.match.row), unread=True)}
        return found

    def hash_of(self, row: RowSpec) -> str:
        """The configuration: equal settings give equal images, whatever the row is called."""
        return hashed(self.settings_of(row))

    def older_hash_of(self, row: RowSpec) -> str:
        """The configuration as folders of earlier releases have it: another one where the row's method reads no reward."""
        return hashed(self.settings_of(row, unread=True))

    @property
    def mark(self) -> str:
        """Eight letters that tell this comparison from others."""
        left_out = {name for name in ("variant", "revision", "pipeline_config") if getattr(self, name) is None}
        # `guides` as releases before had them: a run keeps its folder.
        held = self.model_dump(mode="json", exclude={*left_out, "offload"}) | {"guides": list(self._guides_said)}
        return hashed(held)[:8]

    @classmethod
    def read(cls, data: Any, words: Mapping[str, str] | None = None, where: str = "") -> Comparison:
        """Validate what YAML, JSON or the command line hold. Raises ConfigError in the words of the surface.

        words: key -> what the user calls it, as {"call.num_inference_steps": "--steps"}; `where`: the file.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            kinds: dict[str, type[BaseModel]] = {"": cls, "rows": RowSpec, "budget": Spending, "match": Match}
            raise ConfigError(*in_words(error.errors()[0], data, words or {}, where, kinds)) from None

    @classmethod
    def load(cls, folder: Path) -> Comparison:
        """The comparison of a run. Raises ConfigError where the folder holds none."""
        path = folder / "plan.json"
        try:
            return cls.read(json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise ConfigError(f"{folder}: no comparison ({why}); give the folder that dymo bench wrote") from error
