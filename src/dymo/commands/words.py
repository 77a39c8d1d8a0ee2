"""What the options of a command call the settings that messages name."""

from __future__ import annotations

import dataclasses
import json

import typer

from ..config import SETTINGS
from ..parts import Argument, Limit, OfMethod, OfParser, OfReward, Option, Setting, Words, surface
from .schema import Common

_OPTIONS = {"num_inference_steps": "steps"}
_OF_PARSER = {"model": "parser_model", "base_url": "base_url", "on_failure": "on_failure", "concurrency": "concurrency"}
_OF_BENCH = {"model": "pipeline", "config": "pipeline_config"}


def words_of(kind: type[Common]) -> Words:
    """The words of the command with these options; what none of them says stays in the library's own."""
    fields = [field for field in dataclasses.fields(kind) if field.metadata["of"] is typer.Option]
    named = (field.metadata["names"] or (f"--{field.name.replace('_', '-')}",) for field in fields)
    flags = {names[0].removeprefix("--").replace("-", "_"): names[0] for names in named}

    def flag(of: Setting) -> str | None:
        if isinstance(of, OfParser):
            return flags.get(_OF_PARSER.get(of.name, ""))
        if isinstance(of, Limit):
            return flags.get(f"budget_{of.name}")
        if isinstance(of, Option):
            return flags.get(_OF_BENCH.get(of.name, of.name) if "pipeline" in flags else of.name)
        if isinstance(of, OfMethod) or (isinstance(of, OfReward) and of.name != "source"):
            return None
        if of.name == "compile":
            return flags.get("graphs" if str(of.value).startswith("graphs") else "compile")
        return flags.get(_OPTIONS.get(of.name, of.name))

    def say(of: Setting) -> str | None:
        given = of.value is not ...
        if (found := flag(of)) is not None:
            several = of.value if isinstance(of.value, (list, tuple)) else [of.value] if given and of.name != "compile" else []
            return " ".join(f"{found} {value}" for value in several) or found
        if type(of) is Setting and of.name in SETTINGS and "set" in flags:
            # Round brackets are the shell's own.
            return f"--set {of.name}={json.dumps(of.value).replace(' ', '')}" if isinstance(of.value, (tuple, list)) else f"--set {of}"
        if isinstance(of, Argument) and given and "pipeline_kwargs" in flags:
            return f"--pipeline-kwargs '{json.dumps({of.name: of.value}, default=str)}'"
        return None

    return surface(say, flag, "add {}")
