"""What a message names, as objects, which each surface says in its own words: an option, a widget, a label on a page.

`str()` of a part is the library's own words, those of Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Words = Callable[["Part"], "str | None"]
"""What a surface calls a part; None where it has no words of its own for it."""


class Part:
    """Something that surfaces say differently."""


@dataclass(frozen=True)
class Setting(Part):
    """A keyword of `DyMO`, of its call, or of `Config`, with a value: eta=0.2. Without one it is asked for: graph=."""

    name: str
    value: Any = ...

    def __str__(self) -> str:
        return f"{self.name}={'' if self.value is ... else repr(self.value)}"


class Argument(Setting):
    """An argument of the pipeline's own call: guidance_scale=, use_pe=False."""


class OfParser(Setting):
    """A setting of what reads the prompts: model=, on_failure='fallback'."""


class OfReward(Setting):
    """A setting of a reward: source=."""


class OfMethod(Setting):
    """A setting of one of `dymo.methods`, which may have the name of another one of `Config`: k=4."""


class Limit(Setting):
    """What a budget allows: Budget(evaluations=100)."""

    def __str__(self) -> str:
        return f"Budget({super().__str__()})"


class Option(Setting):
    """What the library has no keyword for, and the command line an option: --model NAME."""

    def __str__(self) -> str:
        return f"--{self.name.replace('_', '-')}" + ("" if self.value is ... else f" {self.value}")


@dataclass(frozen=True)
class Name(Part):
    """A setting in the middle of a sentence, by its name alone: lower num_inference_steps."""

    of: Setting

    def __str__(self) -> str:
        return self.of.name


@dataclass(frozen=True)
class Set(Part):
    """What to do with a setting: set semantic_weight=0."""

    of: Setting

    def __str__(self) -> str:
        return f"set {self.of}"


@dataclass(frozen=True)
class Sampler(Part):
    """The scheduler to put into the pipeline, by its class in diffusers."""

    kind: str

    def __str__(self) -> str:
        return f"pipe.scheduler = {self.kind}.from_config(pipe.scheduler.config)"


@dataclass(frozen=True)
class Offload(Part):
    """Moving the "model" at work, or the layers of it ("sequential"), to the device for as long as it works."""

    kind: str

    def __str__(self) -> str:
        return f"enable_{self.kind}_cpu_offload()"


class Code(str):
    """A value that is written so, where `repr` does not say it: [print]."""

    __repr__ = str.__str__


@dataclass(frozen=True)
class InPython(Part):
    """What can be done in Python alone, and what every other surface says in place of it."""

    text: str
    elsewhere: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Where(Part):
    """Words that a surface leaves out if it has none for the setting in them: " with source="."""

    before: str
    of: Setting

    def __str__(self) -> str:
        return f"{self.before}{self.of}"


def surface(say: Callable[[Setting], str | None], name: Callable[[Setting], str | None], do: str) -> Words:
    """The words of a surface. say, name: a setting with its value, and by its name alone; do: "add {}", of one to be set."""

    def words(part: Part) -> str | None:
        match part:
            case Setting():
                return say(part)
            case Name(of):
                return name(of)
            case Set(of):
                said = say(of)
                return said and do.format(said)
            case Sampler(kind):
                return say(Option("scheduler", kind))
            case Offload(kind):
                return say(Option("offload", kind))
            case Where(before, of):
                said = say(of)
                return "" if said is None else f"{before}{said}"
            case InPython(_, elsewhere):
                return elsewhere
        return None

    return words
