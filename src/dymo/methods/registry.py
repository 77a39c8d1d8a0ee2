"""Methods by name: a line each."""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from .. import plugins
from ..config import SETTINGS
from ..errors import ConfigError, did_you_mean
from ..parts import OfMethod
from .contract import Method

METHODS = {
    # name -> module and class in this folder, and what it is in a few words
    "plain": ("plain.Plain", "the pipeline as it is"),
    "best-of-n": ("best_of_n.BestOfN", "the best of N seeds by the reward"),
    "dymo": ("aligned.Aligned", "this library's method"),
    "freedom": ("freedom.FreeDoM", "the reward's gradient in the middle of the trajectory, with time travel"),
    "dno": ("dno.DNO", "optimises the initial noise and every step's"),
    "reno": ("reno.ReNO", "optimises the initial noise, returns the best seen"),
    "embedding": ("embedding.Embedding", "optimises the prompt's embedding"),
    "rewrite": ("rewrite.Rewrite", "a language model rewrites the prompt"),
    "attend-excite": ("attend_excite.AttendExcite", "moves the latents until every subject has attention"),
    "fk-steering": ("fk_steering.FKSteering", "resamples particles by an intermediate reward"),
}


def reads_reward(method: Method) -> bool:
    """Whether the images of a method depend on the reward that it is given: yes, unless its class says `reads_reward = False`."""
    return getattr(method, "reads_reward", True)


def needs_reward(method: Method) -> bool:
    """Whether a method cannot run without a reward, as its class says by `needs_reward = True`."""
    return getattr(method, "needs_reward", False)


def follows_gradient(method: Method) -> bool:
    """Whether a method takes the gradient of the reward that it is given, as its class says by `follows_gradient = True`."""
    return getattr(method, "follows_gradient", False)


def load_method(name: str, **settings: Any) -> Method:
    """The method `name` with its settings: one of `METHODS`, an entry point of `dymo.methods`, or `file.py:name`.

    Raises ConfigError on an unknown name or setting, and on a setting of another type than its field.
    """
    if name in METHODS:
        module, _, kind = METHODS[name][0].partition(".")
        found = getattr(import_module(f".{module}", __package__), kind)
    elif plugins.is_reference(name) or plugins.is_known(name, "dymo.methods"):
        found = plugins.load(name, "dymo.methods")
        if not callable(getattr(found, "run", None)):
            raise ConfigError(f"{name} is no method: it has no run(pipe, prompts, reward, budget, generator, ...)")
    elif said := plugins.no_name(name):
        raise ConfigError(f"the method {said}")
    else:
        raise ConfigError(f"unknown method {name!r}{did_you_mean(name, METHODS)}: choose one of {', '.join(METHODS)}, or FILE.py:NAME")
    if not isinstance(found, type):
        if settings:
            raise ConfigError(f"{name} takes no settings: it is made already, and not a class")
        return found
    known = [field.name for field in dataclasses.fields(found) if field.init] if dataclasses.is_dataclass(found) else list(settings)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        hint = ""
        if name == "dymo" and unknown[0] in SETTINGS:
            hint = f"; a value of the method's goes into settings, as {{{unknown[0]!r}: {settings[unknown[0]]!r}}}"
        raise ConfigError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(known) or 'none'}{hint}")
    _check_types(name, found, settings)
    try:
        return found(**settings)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made with {settings!r}: {error}") from error


def _check_types(name: str, kind: type, settings: dict[str, Any]) -> None:
    """Raises ConfigError on a setting that is not of the type of its field: of a whole number neither 2.5 nor "4" nor True.

    A class of one's own whose annotations cannot be resolved, or mean nothing to pydantic, is believed.
    """
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        return
    for key, value in settings.items():
        try:
            kinds: TypeAdapter[Any] = TypeAdapter(hints.get(key, Any), config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:
            continue
        if wanted := _wanted(kinds, value):
            raise ConfigError(f"{name}: ", OfMethod(key, value), f": {wanted}")


def _wanted(kinds: TypeAdapter[Any], value: Any) -> str:
    """What to give in place of a value that is of none of these types; "" where it is of one."""
    try:
        try:
            kinds.validate_python(value, strict=True)
        except ValidationError:
            if not isinstance(value, list):
                raise
            kinds.validate_json(json.dumps(value, default=repr), strict=True)  # in a plan a tuple is a list
    except ValidationError as error:
        return " or ".join(dict.fromkeys(_WORDS.get(one["type"]) or one["msg"].replace("Input should be", "give") for one in error.errors()))
    return ""


_WORDS = {"int_type": "give a whole number", "float_type": "give a number", "string_type": "give a text", "callable_type": "give a function"}
