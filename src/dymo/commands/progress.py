"""The bar that shows a run with its rising reward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..trace import Step


@dataclass
class Course:
    """One run on the bar: give `on_step` to the aligner."""

    progress: Progress
    task: TaskID
    first: float | None = field(default=None)

    def on_step(self, step: Step) -> None:
        """Show an accepted step: its stage and the mean reward of the batch with what it has gained."""
        known = [value for value in step.reward if value is not None]
        said = step.stage
        if known:
            reward = sum(known) / len(known)
            self.first = reward if self.first is None else self.first
            said = f"{step.stage} · reward {reward:.3f} ({reward - self.first:+.3f})"
        self.progress.update(self.task, advance=1, said=said)


@contextmanager
def shown(console: Console, description: str, steps: int | None) -> Iterator[Course]:
    """A bar of `steps` steps that goes away when the run ends. Nothing is drawn where `console` is no terminal."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield Course(progress, progress.add_task(description, total=steps, said=""))
