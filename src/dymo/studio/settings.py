"""What a user of the page asks for, checked; and the same read back from an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..budget import Budget
from ..config import PRESETS, Config, preset
from ..errors import ConfigError, DyMOError
from ..prompt.graph import SemanticGraph
from .words import LABELS, NUMBERS, words

Intent = Literal["balanced", "faithful", "prettier", "memory"]
Spending = Literal["quick", "usual", "open"]
INTENTS: dict[Intent, tuple[str, dict[str, Any]]] = {
    "balanced": ("fast", {}),
    "faithful": ("thorough", {}),
    "prettier": ("default", {}),
    "memory": ("fast", {"checkpointing": True}),
}
"""What the user wants -> a preset and what differs from it. What each is worth is measured in docs/quality.md."""
SHARES: dict[Spending, float | None] = {"quick": 1.0, "usual": 5.0, "open": None}
"""Evaluations that an image may take, in terms of its steps."""
MOST_SEEDS = 8


class Settings(BaseModel):
    """Everything that decides an image, but the seed it is one of."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(min_length=1, max_length=2000)]
    negative_prompt: Annotated[str, Field(max_length=2000)] = ""
    graph: dict[str, Any] | None = None
    """The graph as corrected by hand, in the form of `dymo graph --json`; None: as the parser reads the prompt."""
    pipeline: str
    reward: str | None = None
    """None: the words alone guide."""
    intent: Intent = "balanced"
    spending: Spending = "usual"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    count: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    numbers: dict[str, Any] = {}
    """Settings of the method that differ from the intent's."""

    @classmethod
    def read(cls, data: Any) -> Settings:
        """Raises ConfigError or PromptError in the words of the page."""
        try:
            found = cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(_said(error.errors(include_url=False)[0])) from None
        found.config()
        found.read_graph()
        return found

    def overrides(self) -> dict[str, Any]:
        """What differs from the intent's preset."""
        if unknown := self.numbers.keys() - set(NUMBERS):
            raise ConfigError(f"{min(unknown)!r} is no number of the method")
        numbers = {name: tuple(v) if isinstance(v, list) else v for name, v in self.numbers.items()}
        return {**INTENTS[self.intent][1], **numbers}

    def config(self) -> Config:
        """Raises ConfigError."""
        try:
            return preset(INTENTS[self.intent][0], **self.overrides())
        except TypeError as error:
            raise ConfigError(f"a number of the method has another kind of value ({error})") from error

    def read_graph(self) -> SemanticGraph | None:
        """Raises PromptError; ConfigError where the graph is another prompt's."""
        if self.graph is None:
            return None
        graph = SemanticGraph.from_json(self.graph)
        if graph.prompt != self.prompt:
            raise ConfigError("the graph belongs to another prompt: read the prompt again")
        return graph

    def budget(self, steps: int) -> Budget:
        """What one image may spend, of a trajectory of so many steps."""
        share = SHARES[self.spending]
        return Budget(evaluations=None if share is None else max(steps, round(share * steps)), seconds=self.seconds)


_WANTED = {
    "prompt": "say what the image is to show, in 1 to 2000 letters", "negative_prompt": "give up to 2000 letters",
    "seed": "give a whole number from 0 to 4294967295", "count": f"give a whole number from 1 to {MOST_SEEDS}",
    "steps": "give a whole number from 1 to 1000, or nothing", "guidance_scale": "give a number from 0 to 100, or nothing",
    "seconds": "give a number above 0 and up to 86400, or nothing",
    "intent": f"choose one of {', '.join(INTENTS)}", "spending": f"choose one of {', '.join(SHARES)}",
}  # fmt: skip
"""What each of the settings may be."""


def _said(error: Any) -> str:
    """One of pydantic's errors in the words of the page."""
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"{name!r}: there is no such setting; leave it out"
    label, wanted = LABELS.get(name, "the settings"), _WANTED.get(name, "this cannot be used; load the page again")
    if error["type"] == "missing" or error["input"] in (None, ""):
        return f"{label}: is empty; {wanted}"
    value = json.dumps(error["input"], ensure_ascii=False, default=str)
    return f"{label}: {value if len(value) <= 80 else value[:79] + '…'}; {wanted}"


def nearest_intent(config: Config) -> tuple[Intent, dict[str, Any]]:
    """The intent whose configuration differs least from this one, and what differs: the inverse of `Settings.config`."""
    held = {name: preset(base, **more) for name, (base, more) in INTENTS.items()}
    differ = {
        intent: {name: getattr(config, name) for name in NUMBERS if getattr(config, name) != getattr(of, name)}
        for intent, of in held.items()
    }
    best = min(differ, key=lambda intent: len(differ[intent]))
    return best, differ[best]


def from_record(record: Mapping[str, Any], pipelines: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings, as the page holds them, of the `dymo` text of a PNG; and what of it could not be taken over.

    Reads what this studio and `dymo generate` write. Names are compared with those offered here; none is opened as a path.
    """
    notes: list[str] = []
    if not isinstance(record.get("prompt"), str):
        raise ConfigError("the image's parameters have no prompt")
    found: dict[str, Any] = {"prompt": record["prompt"]}
    model = record.get("model")
    if isinstance(model, str) and model in pipelines:
        found["pipeline"] = model
    elif model is not None:
        notes.append(f"it was made with the pipeline {str(model)[:80]!r}, which is not offered here")
    call = _dictionary(record.get("call"))
    kept = {"num_inference_steps": "steps", "guidance_scale": "guidance_scale", "negative_prompt": "negative_prompt"}
    found |= {name: call[key] for key, name in kept.items() if key in call}
    if more := sorted(call.keys() - kept):
        notes.append(f"left out: {', '.join(more)[:80]}")
    if isinstance(record.get("seed"), int):
        found["seed"] = record["seed"]
    if "reward" in record:
        found["reward"] = record["reward"]
    if isinstance(record.get("graph"), dict):
        found["graph"] = record["graph"]
    budget = record.get("budget")
    if isinstance(budget, dict):
        found["seconds"] = budget.get("seconds")
        found["spending"] = _spending(budget.get("evaluations"), found.get("steps"))
    if record.get("preset") in PRESETS:
        overrides = _dictionary(record.get("overrides"))
        overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items() if k != "record_maps"}
        try:
            found["intent"], numbers = nearest_intent(preset(record["preset"], **overrides))
            found["numbers"] = json.loads(json.dumps(numbers))
        except (ConfigError, TypeError) as error:
            notes.append(f"the method's numbers: {_on_page(error)}")
    # What does not validate is left out, and said; the rest stands.
    try:
        Settings.model_validate({"pipeline": next(iter(pipelines)), **found})
    except ValidationError as error:
        for name in {str(one["loc"][0]) for one in error.errors()}:
            found.pop(name, None)
            notes.append(f"{LABELS.get(name, name)}: not usable here")
    if "prompt" not in found:
        raise ConfigError("the image's prompt cannot be used: it is empty or too long")
    try:
        Settings.read({"pipeline": next(iter(pipelines)), **found})
    except Exception as error:
        found.pop("graph", None)
        notes.append(f"the graph: {_on_page(error)}")
    return found, notes


def _on_page(error: Exception) -> str:
    return str(error.in_words(words) if isinstance(error, DyMOError) else error)[:200]


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _spending(evaluations: Any, steps: Any) -> Spending:
    if not isinstance(evaluations, int) or not isinstance(steps, int):
        return "open"
    return min(("quick", "usual"), key=lambda name: abs((SHARES[name] or 0) * steps - evaluations))
