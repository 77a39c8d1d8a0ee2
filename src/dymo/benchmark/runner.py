"""Work a plan off: any number of processes share a store, and each takes what no other has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import DyMOError
from .plan import Plan, Row
from .store import Key, Store, StoreError

PATIENCE = 0.5
"""Seconds between looks at what others hold."""


class Worker(Protocol):
    """What paints and measures; `painter.Painter` is the one."""

    def paint(self, row: Row, key: Key) -> None: ...

    def measure(self, key: Key) -> None: ...


@dataclass(frozen=True)
class Job:
    """One picture."""

    row: Row
    key: Key
    after: Key | None = None
    """The picture that must be there first."""


@dataclass
class Progress:
    """How far a run is, by all processes; `on_change` is called as it moves."""

    total: int
    done: int = 0
    failed: int = 0
    painted: int = 0
    """By this process."""
    spent: dict[str, list[float]] = field(default_factory=dict)
    """Row -> seconds of each of its pictures here."""

    def remaining(self, jobs: Iterable[Job], workers: int = 1) -> float | None:
        """Estimated seconds for `jobs`: each by the mean of its row so far, or by that of all. None before the first."""
        everything = [seconds for row in self.spent.values() for seconds in row]
        if not everything:
            return None
        mean = sum(everything) / len(everything)
        rows = {name: sum(row) / len(row) for name, row in self.spent.items()}
        return sum(rows.get(job.row.name, mean) for job in jobs) / workers


def jobs_of(plan: Plan) -> list[Job]:
    """Every picture of the plan: rows of the same trained weights together, and in them prompt by prompt.

    Rows whose budget is another's come after it.
    """
    variants: dict[tuple, list[Row]] = {}
    for row in sorted(plan.rows, key=lambda row: row.match is not None):
        variants.setdefault((row.pipeline or "", row.unet or "", row.lora or ""), []).append(row)
    hashes = {row.name: plan.hash_of(row) for row in plan.rows}
    found = []
    for rows in variants.values():
        for seed in plan.seeds:
            for prompt in plan.prompts:
                for row in rows:
                    after = None if row.match is None else Key(hashes[row.match.row], prompt, seed)
                    found.append(Job(row, Key(hashes[row.name], prompt, seed), after))
    return found


def work(
    plan: Plan, store: Store, worker: Worker, *, rank: int = 0, world: int = 1,
    on_change: Callable[[Progress, float | None], None] | None = None,
) -> Progress:  # fmt: skip
    """Paint and measure what is not there, until nothing is left or held by others; returns how it went.

    rank, world: which of how many processes this is; each begins at another place. A picture that cannot be painted is
    noted in the store and left. Raises StoreError where nothing can be written.
    """
    jobs = list({job.key: job for job in jobs_of(plan)}.values())
    start = len(jobs) * rank // world
    left = jobs[start:] + jobs[:start]
    progress = Progress(len(jobs))
    failed: set[Key] = set()

    def tell() -> None:
        progress.done, progress.failed = len(jobs) - len(left), len(failed)
        if on_change is not None:
            on_change(progress, progress.remaining(left, world))

    while left:
        before, waiting = len(left), []
        while left:
            job = left.pop(0)
            if store.has(job.key):
                worker.measure(job.key)
            elif job.after in failed:
                failed.add(job.key)
            elif job.after is not None and not store.has(job.after):
                waiting.append(job)
            elif not _take(job, store, worker, progress, failed):
                waiting.append(job)
            tell()
        left = waiting
        if left and len(left) == before:
            # All that is left is in other hands: wait for it, and take it over where they die.
            time.sleep(PATIENCE)
    tell()
    return progress


def _take(job: Job, store: Store, worker: Worker, progress: Progress, failed: set[Key]) -> bool:
    """Paint a job if nobody else does; False where somebody does."""
    with store.claimed(job.key) as mine:
        if not mine:
            return False
        if store.has(job.key):  # it was finished just before the claim came free
            return True
        began = time.perf_counter()
        try:
            worker.paint(job.row, job.key)
            worker.measure(job.key)
        except StoreError:
            raise
        except (DyMOError, ArithmeticError, RuntimeError, ValueError, TypeError) as error:
            # One row that does not fit this pipeline, or one picture that runs out of memory, is not the end of the run.
            store.fail(job.key, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
            failed.add(job.key)
            return True
        progress.painted += 1
        progress.spent.setdefault(job.row.name, []).append(time.perf_counter() - began)
        return True
