"""What a run tells those who listen: trace, progress bars, logs, user interfaces.

A listener is any callable `event -> None`; `aligner(pipe, prompt, listeners=[...])` takes it. An exception in a listener
ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import trace


@dataclass(frozen=True)
class Event:
    """The base of all events."""


@dataclass(frozen=True)
class Started(Event):
    """The prompt is read, and the first step is about to begin."""

    steps: int
    samples: int
    prompts: list[str]


@dataclass(frozen=True)
class Begun(Event):
    """With scouts, before `Started`: step `step` of `steps`, from 1, of seed `seed` of `seeds`, from 0, is done.

    Of all seeds' steps, `done` are done; seeds that are begun at once take turns. `preview()` as for `Accepted`. The reward then
    chooses among the seeds.
    """

    seed: int
    seeds: int
    step: int
    steps: int
    done: int
    preview: Callable[[], Any]


@dataclass(frozen=True)
class Compiled(Event):
    """With compile=True, before the first step of the first image of a size: everything that the run needs is compiled."""

    seconds: float


@dataclass(frozen=True)
class Evaluated(Event):
    """One guided evaluation of the denoiser is done: the `evaluation`-th of step `index`, from 0."""

    index: int
    timestep: float
    evaluation: int


@dataclass(frozen=True)
class Accepted(Event):
    """A step is done. `preview()` decodes its one-step predictions: images (B, 3, H, W) in [0, 1].

    maps: with record_maps, "sample:word" -> the word's attention map at this step, as in the trace.
    """

    step: trace.Step
    preview: Callable[[], Any]
    maps: Mapping[str, list] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished(Event):
    """The images are there."""

    trace: trace.Trace


@dataclass(frozen=True)
class Failed(Event):
    """The run ended with an exception, which goes on to the caller."""

    error: BaseException


@dataclass(frozen=True)
class Cancelled(Event):
    """The run was told to stop after step `index`; the images are what the latents were then."""

    index: int


Listener = Callable[[Event], None]


def tell(listeners: Iterable[Listener], event: Event) -> None:
    """Give every listener the event, in order."""
    for listener in listeners:
        listener(event)
