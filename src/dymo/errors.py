"""The errors that dymo raises on purpose; each is also the built-in kind a caller would expect."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'eta'?)" for the known name that is most like a misspelt one; "" where none is like it."""
    close = get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_line(error: BaseException) -> str:
    """Of its message; the error's kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DyMOError(Exception):
    """The base of every error that dymo raises on purpose."""


class PromptError(DyMOError, ValueError):
    """A prompt, or the semantic graph given for it, cannot be used."""


class ConfigError(DyMOError, ValueError):
    """A setting is out of range or contradicts another one."""


class PipelineError(DyMOError, RuntimeError):
    """A diffusers pipeline cannot be guided, or did not behave as it must."""


class RewardError(DyMOError, RuntimeError):
    """A reward cannot be loaded, or its scores cannot be used."""


class PromptWarning(UserWarning):
    """A prompt is read otherwise than might be thought: in another language, by another parser than asked for, in several windows."""


class RewardHackingWarning(RuntimeWarning):
    """The guiding reward rises while held-out rewards fall."""
