"""The methods by name: a line each."""

from __future__ import annotations

import dataclasses
import difflib
from importlib import import_module
from typing import Any

from ..errors import ConfigError
from .base import Method

METHODS = {
    # name -> module and class in this folder, and what it is in a few words
    "plain": ("plain.Plain", "the pipeline as it is"),
    "best-of-n": ("best_of_n.BestOfN", "the best of N seeds by the reward"),
    "dymo": ("dymo.Aligned", "this library's method"),
    "freedom": ("freedom.FreeDoM", "the reward's gradient in the middle of the trajectory, with time travel"),
    "dno": ("dno.DNO", "optimises the initial noise and every step's"),
    "reno": ("reno.ReNO", "optimises the initial noise, returns the best seen"),
    "embedding": ("embedding.Embedding", "optimises the prompt's embedding"),
    "rewrite": ("rewrite.Rewrite", "a language model rewrites the prompt"),
    "attend-excite": ("attend_excite.AttendExcite", "moves the latent until every subject has attention"),
    "fk-steering": ("fk_steering.FKSteering", "resamples particles by an intermediate reward"),
}


def load_method(name: str, **settings: Any) -> Method:
    """The method `name` with its settings. Raises ConfigError on an unknown name or setting."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        raise ConfigError(
            f"unknown method {name!r}{f', did you mean {near[0]!r}?' if near else ''}: choose one of {', '.join(METHODS)}"
        )
    module, _, kind = METHODS[name][0].partition(".")
    found = getattr(import_module(f".{module}", __package__), kind)
    known = [field.name for field in dataclasses.fields(found) if field.init]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(known) or 'none'}")
    return found(**settings)
