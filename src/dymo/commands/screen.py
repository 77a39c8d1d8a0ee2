"""What is shown on a screen: tables, the progress bar of a run fed by the aligner's events, and the time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from ..events import Accepted, Begun, Event, Started
from ..report.table import Table

logger = logging.getLogger(__name__)


def say(console: Console, *lines: str) -> None:
    """Lines as they are: no markup in them, and never broken for a file or a pipe."""
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def show_table(table: Table, console: Console) -> None:
    """Lines that are never broken for a file or a pipe.

    On a terminal too narrow for them, cells wrapped to its width; where it is less than half as wide, a row below the other.
    """
    text = table.to_text()
    widest = max(map(len, text.splitlines()))
    if not console.is_terminal or widest <= console.width:
        say(console, text)
    elif widest <= 2 * console.width:
        grid = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in table.columns:
            if column.numeric:
                grid.add_column(column.title, justify="right")
            else:
                grid.add_column(column.title, overflow="fold")
        for cells in table.texts():
            grid.add_row(*map(Text, cells))
        console.print(grid)
    else:
        for name, *cells in table.texts():
            grid = Grid.grid(padding=(0, 1, 0, 2), pad_edge=True)
            for column, cell in zip(table.columns[1:], cells, strict=True):
                grid.add_row(Text(column.title, style="dim"), Text(cell))
            console.print(Text(name, style="bold"), grid, sep="\n")


@contextmanager
def watched(console: Console, description: str, steps: int | None) -> Iterator[Any]:
    """A listener of one aligned run that shows its steps on a bar, with the mean reward and what it has gained.

    The bar goes away when the run ends; nothing is drawn where `console` is no terminal.
    """
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False), TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    task = bar.add_task(description, total=steps, said="")
    means: list[float] = []

    def listen(event: Event) -> None:
        logger.debug("%s", event)
        if isinstance(event, Begun):
            bar.update(task, total=event.seeds * event.steps, completed=event.done, said=f"seed {event.seed + 1} of {event.seeds} begun")
        elif isinstance(event, Started):
            bar.reset(task, total=event.steps, said="")
        elif isinstance(event, Accepted):
            said = event.step.stage
            if known := [value for value in event.step.reward if value is not None]:
                means.append(sum(known) / len(known))
                said += f" · reward {means[-1]:.3f} ({means[-1] - means[0]:+.3f})"
            bar.update(task, advance=1, said=said)

    with bar:
        yield listen


def busy(console: Console, what: str, in_logs: bool = False) -> AbstractContextManager[Any]:
    """A spinner on a terminal; elsewhere nothing, or with `in_logs` one line."""
    if console.is_terminal:
        return console.status(what)
    if in_logs:
        say(console, what)
    return nullcontext()


class TimeLeft:
    """How long a run of equal parts will still take, from those that are done."""

    def __init__(self, parts: int, one: str = "image", many: str = "images"):
        self.parts, self.names, self.done, self.began = parts, (one, many), 0, time.monotonic()

    def __call__(self) -> str:
        """Call it after each part: "about 2 min 05 s left for 7 images", or "" after the last."""
        self.done += 1
        left = self.parts - self.done
        minutes, seconds = divmod(round((time.monotonic() - self.began) / self.done * left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = (
            f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
        )
        return f"about {clock} left for {left} {self.names[left > 1]}" if left else ""
