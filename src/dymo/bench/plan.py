"""A comparison: methods x prompts x seeds x metrics. One schema for plan files, the command line and the paper's tables."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    ConfigDict,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from ..config import preset
from ..errors import ConfigError, Message, RewardError, did_you_mean
from ..methods import follows_gradient, load_method, needs_reward, reads_reward
from ..miniature import MINIATURE, MINIATURE_DEFAULTS, WEIGHTS
from ..miniature.world import read_caption
from ..parts import Part
from ..pipelines.sampler_names import read_sampler
from ..pipelines.size import check_side
from ..pipelines.variants import read_lora
from ..rewards import spec_of
from ..rewards.combine import check_weight
from ..seeds import SEEDS_END, read_seeds
from .prompts import load_prompts
from .reading import defaults

VERSION = 4  # of what a result means: raised when an old result must not stand for a new one
JUDGE = "judge"  # the metric that reads the miniature's captions; as a metric it is in %
LARGE = 64 * 2**20  # bytes from which a weight file is told by its size and time instead of its content

OF_THE_BENCH = {
    "prompt": "has a key of its own: prompts",
    "generator": "is made of the seed: give seeds",
    "num_images_per_prompt": "is one here: give several seeds",
    "output_type": "is the bench's, which keeps PNG files",
    "return_dict": "is the bench's, which keeps PNG files",
}
"""Arguments of a pipeline's call that a plan cannot give in `call`, and why."""
_NUMBERS = ("guidance_scale", "guidance_rescale", "true_cfg_scale", "eta")
_WHOLE = ("num_inference_steps", "height", "width")
_TEXT = ("negative_prompt",)


@dataclass(frozen=True)
class Key(Part):
    """A key of a plan before what is wrong with it, which the command line may have given by an option: versus:."""

    name: str

    def __str__(self) -> str:
        return f"{self.name}:"


def check_call(call: Mapping[str, Any]) -> None:
    """Raises ConfigError on an argument of the pipeline's call that no image could be made with, whatever the pipeline."""
    for name, value in call.items():
        if value is None:  # takes one away
            continue
        if name in OF_THE_BENCH:
            raise ConfigError(Key(f"call.{name}"), f" {name!r} {OF_THE_BENCH[name]}")
        if name in _WHOLE and (type(value) is not int or value < 1):
            raise ConfigError(Key(f"call.{name}"), f" {value!r}: give a whole number from 1 on")
        if name in ("height", "width"):
            check_side(Key(f"call.{name}"), value)
        if name in _NUMBERS and (type(value) not in (int, float) or not math.isfinite(value)):
            raise ConfigError(Key(f"call.{name}"), f" {value!r}: give a number")
        if name in _TEXT and not isinstance(value, str):
            raise ConfigError(Key(f"call.{name}"), f" {value!r}: give a text")


def check_metric(name: str, prompts: Sequence[str] = ()) -> None:
    """Raises ConfigError where `name` is no reward, or the judge cannot read one of the prompts. Loads no weights."""
    try:
        spec_of(name)
        for prompt in prompts if name == JUDGE else ():
            read_caption(prompt)
    except RewardError as error:
        raise ConfigError(error) from error


def _known_reward(reward: Any) -> Any:
    for name in _reward_names(reward):
        check_metric(name)
    try:
        for name, weight in reward.items() if isinstance(reward, dict) else ():
            check_weight(name, weight)
    except RewardError as error:
        raise ConfigError(error) from error
    return reward


def _read_loras(loras: Any) -> Any:
    for lora in loras_of(loras):
        read_lora(lora)
    return loras


LoraSpec = Annotated[str | tuple[str, ...] | None, AfterValidator(_read_loras)]
RewardSpec = Annotated[str | dict[str, float] | Literal[False] | None, AfterValidator(_known_reward)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spending(_Part):
    """What one image may cost. `trajectories` are evaluations: so many times the steps of the call."""

    evaluations: PositiveInt | None = None
    trajectories: PositiveInt | None = None
    seconds: Annotated[PositiveFloat, AllowInfNan(False)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Spending:
        if self.evaluations is not None and self.trajectories is not None:
            raise ConfigError("evaluations and trajectories say the same twice: give one of them")
        return self


class Match(_Part):
    """A budget that is what another row spent on the same prompt and seed.

    Evaluations and counted TFLOP are rounded up to whole trajectories, so that the row gets at least as much. In a batch:
    the most that an image of it took, and the seconds of all. Seconds follow the load of the machine.
    """

    row: str
    by: Literal["evaluations", "tflop", "seconds"] = "evaluations"


class RowSpec(_Part):
    """One row of the table: a method with its settings, on the pipeline or on a trained variant of it."""

    name: str
    method: str = "plain"
    settings: dict[str, Any] = {}
    reward: RewardSpec = None  # in place of the comparison's; False for none
    budget: Spending | None = None
    match: Match | None = None
    call: dict[str, Any] = {}  # arguments of the pipeline's call, over the comparison's; null takes one away
    pipeline: str | None = None
    scheduler: str | None = None  # in place of the pipeline's
    unet: str | None = None
    lora: LoraSpec = None
    """Trained weights for this row: a hub id, a folder, a safetensors file, or a file of the miniature's weights; LoRAs with
    their strength behind a colon, one or several."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """A row may be the name of a method; its name is the method's unless given. `match` may be a row's name."""
        data = {"method": data} if isinstance(data, str) else dict(data) if isinstance(data, Mapping) else data
        if isinstance(data, dict):
            data.setdefault("name", data.get("method", "plain"))
            if isinstance(data.get("match"), str):
                data["match"] = {"row": data["match"]}
        return data

    @model_validator(mode="after")
    def _usable(self) -> RowSpec:
        method = load_method(self.method, **self.settings)
        if self.method == "dymo":
            preset(method.preset, **method.settings)  # type: ignore[attr-defined]
        if self.budget is not None and self.match is not None:
            raise ConfigError("give budget or match, not both")
        if self.method == "best-of-n" and self.match is None and self.budget in (None, Spending()) and method.n is None:  # type: ignore[attr-defined]
            raise ConfigError("best-of-n has no end: give settings: {n: 8}, budget: {trajectories: 8}, or match: ROW")
        if self.scheduler is not None:
            try:
                read_sampler(self.scheduler)
            except ConfigError as error:
                raise ConfigError(Key("scheduler"), " ", error) from error
        places = [
            ("pipeline", self.pipeline),
            ("unet", self.unet),
            *(("lora", read_lora(one)[0]) for one in loras_of(self.lora)),
        ]
        for key, source in places:
            if source and source.startswith((".", "/", "~")) and not Path(source).expanduser().exists():
                raise ConfigError(f"{key}: there is no {source}")
        return self


class Comparison(_Part):
    """A whole comparison. Anything that can be known to be wrong before a model is loaded is a ConfigError of `read`."""

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
                raise ConfigError(Key(key), " there is none; give at least one")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(Key("rows"), f" two are called {twice[0]!r}: give each its own name")
        if self.versus is not None and self.versus not in names:
            raise ConfigError(Key("versus"), f" {self.versus!r} is no row: choose one of {', '.join(names)}")
        if self.scheduler is not None:
            try:
                read_sampler(self.scheduler)
            except ConfigError as error:
                raise ConfigError(Key("scheduler"), " ", error) from error
        if self.offload not in (None, "none") and (self.unet or any(row.unet for row in self.rows)):
            raise ConfigError(
                Key("offload"), f" {self.offload}: another UNet (unet:) cannot be put into an offloaded pipeline; leave out one"
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
                raise ConfigError(Key("rows.budget.evaluations"), f" {least}: {never}")
            if row.match is not None and (row.match.row not in names or self.row(row.match.row).match is not None):
                raise ConfigError(Key("rows"), f" {row.name!r} matches {row.match.row!r}: name a row that has its own budget")
        for key, prompts in (("metrics", self.prompts), ("guides", ())):
            try:
                for name in getattr(self, key):
                    check_metric(name, prompts)
            except ConfigError as error:
                raise ConfigError(Key(key), " ", error) from error
        return self

    def _check_reward(self, row: RowSpec) -> None:
        """Raises ConfigError where a row's method cannot do with its reward, or with none, what it does."""
        method, names = load_method(row.method, **row.settings), _reward_names(self.reward_of(row))
        said = (f"row {row.name!r}: reward:",) if row.reward is not None else (Key("reward"),)
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
        said = self.guides if "guides" in self.model_fields_set else tuple(_reward_names(self.reward))
        followed = [name for row in self.rows if reads_reward(load_method(row.method, **row.settings)) for name in _reward_names(self.reward_of(row))]
        self._guides_said = said
        object.__setattr__(self, "guides", tuple(dict.fromkeys([*self.guides, *followed])))
        return self

    def row(self, name: str) -> RowSpec:
        return next(row for row in self.rows if row.name == name)

    @property
    def base(self) -> str:
        """The row that the others are tested against."""
        return self.versus or self.rows[0].name

    def call_of(self, row: RowSpec) -> dict[str, Any]:
        """The arguments of the pipeline's call for a row."""
        return {name: value for name, value in {**self.call, **row.call}.items() if value is not None}

    def reward_of(self, row: RowSpec) -> str | dict[str, float] | None:
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
        found["weights"] = [digest(name) for name in [*weights, *_reward_names(found["reward"]), row.method]]
        if row.match is not None:
            found["match"] = {"by": row.match.by, "row": self.settings_of(self.row(row.match.row), unread=True)}
        return found

    def hash_of(self, row: RowSpec) -> str:
        """The configuration: equal settings give equal images, whatever the row is called."""
        return _hash(self.settings_of(row))

    def older_hash_of(self, row: RowSpec) -> str:
        """The configuration as folders of earlier releases have it: another one where the row's method reads no reward."""
        return _hash(self.settings_of(row, unread=True))

    @property
    def mark(self) -> str:
        """Eight letters that tell this comparison from others."""
        left_out = {name for name in ("variant", "revision", "pipeline_config") if getattr(self, name) is None}
        # `guides` as releases before had them: a run keeps its folder.
        held = self.model_dump(mode="json", exclude={*left_out, "offload"}) | {"guides": list(self._guides_said)}
        return _hash(held)[:8]

    @classmethod
    def read(cls, data: Any, words: Mapping[str, str] | None = None, where: str = "") -> Comparison:
        """Validate what YAML, JSON or the command line hold. Raises ConfigError in the words of the surface.

        words: key -> what the user calls it, as {"call.num_inference_steps": "--steps"}; `where`: the file.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(*_said(error.errors()[0], data, words or {}, where)) from None

    @classmethod
    def load(cls, folder: Path) -> Comparison:
        """The comparison of a run. Raises ConfigError where the folder holds none."""
        path = folder / "plan.json"
        try:
            return cls.read(json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise ConfigError(f"{folder}: no comparison ({why}); give the folder that dymo bench wrote") from error


def loras_of(lora: str | Sequence[str] | None) -> list[str]:
    """One LoRA or several as a list."""
    return [lora] if isinstance(lora, str) else list(lora or ())


def lora_words(lora: str | Sequence[str] | None) -> list[str]:
    """LoRAs by their short names, with the strength where it is not 1."""
    found = ((short_name(source), strength) for source, strength in map(read_lora, loras_of(lora)))
    return [str(name) if strength == 1 else f"{name}:{strength:g}" for name, strength in found]


def short_name(source: str | None) -> str | None:
    """A file or folder of this machine by its last name; anything else as it is."""
    return Path(source).name if source and Path(source).exists() else source


def digest(name: str | None) -> str:
    """A hash of the weights or code that a local name stands for; "" for what is on the hub, which its id tells.

    name: "miniature", a folder of its weights, another file or folder of safetensors, or FILE.py:NAME.
    """
    if not name:
        return ""
    own = WEIGHTS / ("pipeline" if name == MINIATURE else name)
    path = own if own.exists() else Path(name.rpartition(":")[0] if ".py:" in name else name)
    return _digest(path.resolve()) if path.exists() else ""


@cache
def _digest(path: Path) -> str:
    found = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*.safetensors")):
        found.update(file.name.encode())
        size = file.stat().st_size
        found.update(file.read_bytes() if size < LARGE else f"{size} {file.stat().st_mtime_ns}".encode())
    return found.hexdigest()[:16]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _reward_names(reward: Any) -> list[str]:
    return list(reward) if isinstance(reward, Mapping) else [reward] if isinstance(reward, str) else []


_KINDS = {
    "tuple_type": "give a list, as [a, b]", "dict_type": "give a table, as {key: value}", "model_type": "give a table, as {key: value}",
    "missing": "is not there; it has to be given",
}  # fmt: skip
"""pydantic's kinds of errors that have words of Python in them, in the words of a plan."""
_INNER: dict[str, type[BaseModel]] = {"rows": RowSpec, "budget": Spending, "match": Match}


def _said(error: Any, data: Any, words: Mapping[str, str], where: str) -> tuple[object, ...]:
    """One line for a pydantic error, as the parts of a message: where it is, in the user's words, what is wrong, and the value."""
    beside = ("function-", "dict[", "str", "tuple[", "literal[")  # pydantic's own words among the keys
    path = [part for part in error["loc"] if not str(part).startswith(beside)]
    cause = error.get("ctx", {}).get("error")
    reason: Any = error["msg"] if cause is None else cause if isinstance(cause, Message) else str(cause)
    if error["type"] == "extra_forbidden":
        names = [part for part in path[:-1] if isinstance(part, str)]
        known = list((_INNER[names[-1]] if names else Comparison).model_fields)
        like = did_you_mean(str(path[-1]), known)
        reason = f"there is no {path.pop()!r}{like}: choose from {', '.join(known)}"
    elif (wanted := _KINDS.get(error["type"])) is not None:
        reason = wanted if error["type"] == "missing" else f"{error['input']!r:.80}: {wanted}"
    elif cause is None and not isinstance(error["input"], (dict, list)) and error["type"] != "missing":
        reason = f"{reason[0].lower()}{reason[1:]}, not {error['input']!r}"
    key = ".".join(part for part in path if isinstance(part, str))
    first = cause.args[0] if isinstance(cause, Message) else None
    if key in words:
        return f"{words[key]}: ", reason
    if not key and isinstance(first, Key) and first.name in words:
        return f"{words[first.name]}:", *cause.args[1:]
    if len(path) > 1 and path[0] == "rows" and isinstance(path[1], int):
        row = data["rows"][path[1]]
        name = row.get("name", row.get("method")) if isinstance(row, dict) else row
        key = f"row {name or path[1] + 1!r}" + "".join(f", {part}" for part in path[2:])
    return *(f"{place}: " for place in (where, key) if place), reason
