"""The progress bar of a run, fed by the aligner's events; the one place where the commands meet those."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..events import Accepted, Event, Started
from ..trace import Step

logger = logging.getLogger(__name__)


class Watcher:
    """A listener of one aligned run: shows its accepted steps on a bar, with the mean reward and what it has gained."""

    def __init__(self, bar: Progress, description: str, steps: int | None):
        self.bar = bar
        self.task = bar.add_task(description, total=steps, said="")
        self.first: float | None = None

    def __call__(self, event: Event) -> None:
        logger.debug("%s", event)
        if isinstance(event, Started):
            self.bar.update(self.task, total=event.steps)
        elif isinstance(event, Accepted):
            self._accepted(event.step)

    def _accepted(self, step: Step) -> None:
        known = [value for value in step.reward if value is not None]
        said = step.stage
        if known:
            reward = sum(known) / len(known)
            self.first = reward if self.first is None else self.first
            said = f"{step.stage} · reward {reward:.3f} ({reward - self.first:+.3f})"
        self.bar.update(self.task, advance=1, said=said)


@contextmanager
def watched(console: Console, description: str, steps: int | None) -> Iterator[Watcher]:
    """A bar of `steps` steps that goes away when the run ends. Nothing is drawn where `console` is no terminal."""
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False), TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        yield Watcher(bar, description, steps)


def busy(console: Console, what: str, in_logs: bool = False) -> AbstractContextManager[Any]:
    """A spinner on a terminal; elsewhere nothing, or with `in_logs` one line."""
    if console.is_terminal:
        return console.status(what)
    if in_logs:
        console.print(what, markup=False, highlight=False)
    return nullcontext()


class TimeLeft:
    """How long a run of equal parts will still take, from those that are done."""

    def __init__(self, parts: int, one: str = "image", many: str = "images"):
        self.parts, self.names, self.done, self.began = parts, (one, many), 0, time.monotonic()

    def __call__(self) -> str:
        """Call it after each part: "about 2 min 05 s left for 7 images", or "" after the last."""
        self.done += 1
        left = self.parts - self.done
        seconds = (time.monotonic() - self.began) / self.done * left
        return f"about {clock(seconds)} left for {left} {self.names[left > 1]}" if left else ""


def clock(seconds: float) -> str:
    """ "42 s", "2 min 05 s", "1 h 03 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
