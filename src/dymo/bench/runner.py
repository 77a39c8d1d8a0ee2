"""Work a plan off: any number of processes share a store, and each takes what no other has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import DyMOError
from .plan import Plan, Row
from .store import Key, Store, StoreError

PATIENCE = 0.5
"""Seconds between looks at what others hold."""


class Worker(Protocol):
    """What paints and measures; `painter.Painter` is the one."""

    def paint(self, row: Row, keys: Sequence[Key]) -> None: ...

    def measure(self, keys: Sequence[Key]) -> None: ...


@dataclass(frozen=True)
class Job:
    """Pictures of one row that are painted together."""

    row: Row
    keys: tuple[Key, ...]
    after: tuple[Key, ...] = ()
    """The pictures that must be there first, one for each key; empty where none must."""

    def only(self, keys: Collection[Key]) -> Job:
        """The job without the pictures that are not among `keys`."""
        places = [i for i, key in enumerate(self.keys) if key in keys]
        own, after = (tuple(found[i] for i in places if found) for found in (self.keys, self.after))
        return Job(self.row, own, after)


@dataclass
class Progress:
    """How far a run is, by all processes; `on_change` is called as it moves. In pictures."""

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
        return sum(rows.get(job.row.name, mean) * len(job.keys) for job in jobs) / workers


def jobs_of(plan: Plan) -> list[Job]:
    """Every picture of the plan: rows of the same trained weights together, and in them batch by batch of prompts.

    Rows whose budget is another's come after it. Rows of equal settings are one job.
    """
    variants: dict[tuple, list[Row]] = {}
    for row in sorted(plan.rows, key=lambda row: row.match is not None):
        variants.setdefault((row.pipeline or "", row.unet or "", row.lora or ""), []).append(row)
    hashes = {row.name: plan.hash_of(row) for row in plan.rows}
    prompts = list(dict.fromkeys(plan.prompts))
    batches = [prompts[i : i + plan.batch] for i in range(0, len(prompts), plan.batch)]
    found = []
    for rows in variants.values():
        for seed in plan.seeds:
            for batch in batches:
                for row in rows:
                    keys = tuple(Key(hashes[row.name], prompt, seed) for prompt in batch)
                    base = row.match and hashes[row.match.row]
                    found.append(Job(row, keys, tuple(Key(base, prompt, seed) for prompt in batch) if base else ()))
    return list({job.keys: job for job in found}.values())


def work(
    plan: Plan, store: Store, worker: Worker, *, rank: int = 0, world: int = 1,
    on_change: Callable[[Progress, float | None], None] | None = None,
) -> Progress:  # fmt: skip
    """Paint and measure what is not there, until nothing is left or held by others; returns how it went.

    rank, world: which of how many processes this is; each begins at another place. A picture that cannot be painted is
    noted in the store and left. Raises StoreError where nothing can be written.
    """
    jobs = jobs_of(plan)
    start = len(jobs) * rank // world
    left = jobs[start:] + jobs[:start]
    waiting: list[Job] = []
    progress = Progress(sum(len(job.keys) for job in jobs))
    failed: set[Key] = set()

    def tell() -> None:
        progress.done, progress.failed = progress.total - sum(len(job.keys) for job in left + waiting), len(failed)
        if on_change is not None:
            on_change(progress, progress.remaining(left + waiting, world))

    while left:
        before = sum(len(job.keys) for job in left)
        while left:
            job = left.pop(0)
            there = [key for key in job.keys if store.has(key)]
            worker.measure(there)
            job = job.only([key for key in job.keys if key not in there])
            if job.after:
                failed.update(key for key, base in zip(job.keys, job.after, strict=True) if base in failed)
                job = job.only([key for key in job.keys if key not in failed])
            if not all(store.has(base) for base in job.after):
                waiting.append(job)
            elif job.keys and not _take(job, store, worker, progress, failed):
                waiting.append(job)
            tell()
        left, waiting = waiting, []
        if left and sum(len(job.keys) for job in left) == before:
            # All that is left is in other hands: wait for it, and take it over where they die.
            time.sleep(PATIENCE)
    store.sweep()
    tell()
    return progress


def _take(job: Job, store: Store, worker: Worker, progress: Progress, failed: set[Key]) -> bool:
    """Paint what nobody else paints of a job; False where somebody holds a part of it."""
    with ExitStack() as stack:
        mine = [key for key in job.keys if stack.enter_context(store.claimed(key))]
        # Some may have been finished just before their claims came free, by a process that did not live to measure them.
        todo = [key for key in mine if not store.has(key)]
        worker.measure([key for key in mine if key not in todo])
        began = time.perf_counter()
        if len(todo) < 2 or not _paint(job.row, todo, store, worker, failed):
            # One that does not fit, or too many for the memory: each by itself.
            for key in todo:
                _paint(job.row, [key], store, worker, failed)
        painted = [key for key in todo if key not in failed]
        if painted:
            progress.painted += len(painted)
            each = (time.perf_counter() - began) / len(painted)
            progress.spent.setdefault(job.row.name, []).extend([each] * len(painted))
        return len(mine) == len(job.keys)


def _paint(row: Row, keys: Sequence[Key], store: Store, worker: Worker, failed: set[Key]) -> bool:
    """Paint and measure; whether that went well. A single picture that fails is noted, and not the end of the run."""
    try:
        worker.paint(row, keys)
        worker.measure(keys)
        return True
    except StoreError:
        raise
    except (DyMOError, ArithmeticError, RuntimeError, ValueError, TypeError) as error:
        if len(keys) == 1:
            store.fail(keys[0], f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
            failed.add(keys[0])
        return False
