"""One row of a comparison: a method with its settings, its reward and its budget, on a pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AllowInfNan, BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from ..config import MOST_STEPS, preset
from ..errors import ConfigError, RewardError
from ..methods import load_method
from ..miniature.world import read_caption
from ..pipelines.sampler_names import read_sampler
from ..pipelines.size import check_side
from ..pipelines.variants import read_lora
from ..rewards import spec_of
from ..rewards.combine import check_weight
from .plan_errors import PlanKey

STRICT = ConfigDict(extra="forbid", frozen=True)  # of every part of a plan
JUDGE = "judge"  # the metric that reads the miniature's captions; as a metric it is in %

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


def check_call(call: Mapping[str, Any]) -> None:
    """Raises ConfigError on an argument of the pipeline's call that no image could be made with, whatever the pipeline."""
    for name, value in call.items():
        if value is None:  # takes one away
            continue
        if name in OF_THE_BENCH:
            raise ConfigError(PlanKey(f"call.{name}"), f" {name!r} {OF_THE_BENCH[name]}")
        if name in _WHOLE and (type(value) is not int or value < 1):
            raise ConfigError(PlanKey(f"call.{name}"), f" {value!r}: give a whole number from 1 on")
        if name == "num_inference_steps" and value > MOST_STEPS:
            raise ConfigError(PlanKey(f"call.{name}"), f" {value}: give {MOST_STEPS} or fewer")
        if name in ("height", "width"):
            check_side(PlanKey(f"call.{name}"), value)
        if name in _NUMBERS and (type(value) not in (int, float) or not math.isfinite(value)):
            raise ConfigError(PlanKey(f"call.{name}"), f" {value!r}: give a number")
        if name in _TEXT and not isinstance(value, str):
            raise ConfigError(PlanKey(f"call.{name}"), f" {value!r}: give a text")


def check_metric(name: str, prompts: Sequence[str] = ()) -> None:
    """Raises ConfigError where `name` is no reward, or the judge cannot read one of the prompts. Loads no weights."""
    try:
        spec_of(name)
        for prompt in prompts if name == JUDGE else ():
            read_caption(prompt)
    except RewardError as error:
        raise ConfigError(error) from error


def reward_names(reward: Any) -> list[str]:
    """The names in a reward as a plan writes it: of a name or of weights by name; none of anything else."""
    return list(reward) if isinstance(reward, Mapping) else [reward] if isinstance(reward, str) else []


def _known_reward(reward: Any) -> Any:
    for name in reward_names(reward):
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


def loras_of(lora: str | Sequence[str] | None) -> list[str]:
    """One LoRA or several as a list."""
    return [lora] if isinstance(lora, str) else list(lora or ())


LoraSpec = Annotated[str | tuple[str, ...] | None, AfterValidator(_read_loras)]
RewardSpec = Annotated[str | dict[str, float] | Literal[False] | None, AfterValidator(_known_reward)]


class _Part(BaseModel):
    model_config = STRICT


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
                raise ConfigError(PlanKey("scheduler"), " ", error) from error
        places = [
            ("pipeline", self.pipeline),
            ("unet", self.unet),
            *(("lora", read_lora(one)[0]) for one in loras_of(self.lora)),
        ]
        for key, source in places:
            if source and source.startswith((".", "/", "~")) and not Path(source).expanduser().exists():
                raise ConfigError(f"{key}: there is no {source}")
        return self
