"""The errors that dymo raises on purpose; each is also the built-in kind a caller would expect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Self

from .parts import Part, Words


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'eta'?)" for the known name that is most like a misspelt one; "" where none is like it."""
    close = get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_line(error: BaseException) -> str:
    """Of its message; the error's kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _flat(parts: Iterable[object]) -> Iterator[object]:
    for part in parts:
        if isinstance(part, (Message, tuple)):
            yield from _flat(part.parts if isinstance(part, Message) else part)
        else:
            yield part


class Message(Exception):
    """What an error or a warning says: texts and parts, one after the other, which are its `parts`.

    A part may be another message, or a tuple of parts. `str()`, and the one of `args`, is the whole in the words of Python.
    """

    def __init__(self, *parts: object):
        super().__init__()
        self.parts = tuple(_flat(parts))
        self.args = ("".join(map(str, self.parts)),)

    def in_words(self, words: Words) -> Self:
        """The same in the words of a surface; a part that it has no words for stays as it is.

        What else the error holds, as its notes, is kept; a class of other packages may be made of other arguments.
        """
        said = ((part, words(part) if isinstance(part, Part) else None) for part in self.parts)
        found = type(self).__new__(type(self))
        vars(found).update(vars(self))
        Message.__init__(found, *(part if text is None else text for part, text in said))
        return found


class Told(str):
    """A message as a record keeps it, which is a text in the words of Python; a surface says it in its own, while the process lasts."""

    parts: tuple[object, ...]

    def __new__(cls, text: str, parts: tuple[object, ...] = ()) -> Self:
        told = super().__new__(cls, text)
        told.parts = parts
        return told

    def in_words(self, words: Words) -> str:
        return str(Message(*self.parts).in_words(words))


class DyMOError(Message):
    """The base of every error that dymo raises on purpose."""


class PromptError(DyMOError, ValueError):
    """A prompt, or the semantic graph given for it, cannot be used."""


class ConfigError(DyMOError, ValueError):
    """A setting is out of range or contradicts another one."""


class PipelineError(DyMOError, RuntimeError):
    """A diffusers pipeline cannot be guided, or did not behave as it must."""


class RewardError(DyMOError, RuntimeError):
    """A reward cannot be loaded, or its scores cannot be used."""


class PromptWarning(Message, UserWarning):
    """A prompt is read otherwise than might be thought: in another language, by another parser than asked for, in several windows."""


class ModelWarning(Message, UserWarning):
    """A file of weights is taken for what it may not be."""


class RunWarning(Message, RuntimeWarning):
    """A run does not do all that was asked of it."""


class RewardHackingWarning(RunWarning):
    """The guiding reward rises while held-out rewards fall."""
