"""Run a comparison: several processes may share its store, and each takes what no other has taken."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, DyMOError
from .needs import need
from .plan import Comparison
from .rows import RowSpec
from .store import Key, Store, StoreError
from .worker import CallError, LoadPipeline, Worker, has_score, scores_of

PATIENCE = 0.5  # seconds between looks at what others are generating


class Rank(NamedTuple):
    """Which of how many processes this is, and which accelerator of its machine is its own."""

    rank: int = 0
    world: int = 1
    local: int = 0


ALONE = Rank()


def rank_here() -> Rank:
    """What `accelerate launch` (or torchrun) says in the environment; alone where it says nothing.

    The processes need no connection to each other: they share the store.
    """
    said = {name: os.environ.get(name, alone) for name, alone in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))}
    whole = all(value.strip().isdecimal() for value in said.values())
    rank = Rank(*map(int, said.values())) if whole else None
    if rank is None or rank.rank >= rank.world:
        shown = ", ".join(f"{name}={value}" for name, value in said.items())
        remedy = "they are set by accelerate launch, whole numbers with RANK below WORLD_SIZE; mend them, or unset them to run alone"
        raise ConfigError(f"the environment has {shown}: {remedy}")
    return rank


class Job(NamedTuple):
    """Images of one row that are generated together."""

    row: RowSpec
    keys: tuple[Key, ...]
    after: str | None  # the configuration whose images of the same prompts and seeds set the budget


@dataclass
class Progress:
    """How far a run is. In images, of all processes but for `generated`."""

    total: int
    done: int = 0
    failed: int = 0
    generated: int = 0  # by this process


OnChange = Callable[[Progress], None]


def jobs_of(plan: Comparison) -> list[Job]:
    """Every image of the comparison: rows of the same trained weights together, and in them batch by batch of prompts.

    Rows whose budget is another's come after it. Rows of equal settings are one job.
    """
    variants: dict[tuple, list[RowSpec]] = defaultdict(list)
    for row in sorted(plan.rows, key=lambda row: row.match is not None):
        variants[row.pipeline, row.unet, row.lora].append(row)
    hashes = {row.name: plan.hash_of(row) for row in plan.rows}
    batches = [plan.prompts[i : i + plan.batch] for i in range(0, len(plan.prompts), plan.batch)]
    jobs: dict[tuple[Key, ...], Job] = {}
    for rows, seed, batch in itertools.product(variants.values(), plan.seeds, batches):
        for row in rows:
            keys = tuple(Key(hashes[row.name], prompt, seed) for prompt in batch)
            jobs[keys] = Job(row, keys, hashes[row.match.row] if row.match else None)
    return list(jobs.values())


def work(
    plan: Comparison, store: Store, worker: Any, rank: Rank = ALONE, on_change: OnChange = lambda progress: None
) -> Progress:
    """Generate and measure what is not there, until nothing is left or in the hands of others.

    worker: has `generate(row, keys)` and `measure(keys)`, as `Worker`. Each rank begins at another place. An image that
    cannot be generated is noted in the store and left; those of an earlier release are taken over. Raises StoreError where nothing
    can be written, and CallError.
    """
    for row in plan.rows:
        store.move(plan.older_hash_of(row), plan.hash_of(row))
    jobs = jobs_of(plan)
    start = len(jobs) * rank.rank // rank.world
    left = jobs[start:] + jobs[:start]
    names = {scores_of(name) for name in plan.metrics}
    progress, failed = Progress(sum(len(job.keys) for job in jobs)), set[Key]()

    def done(key: Key) -> bool:
        return key in failed or ((record := store.record(key)) is not None and all(has_score(record, name) for name in names))

    def attempt(job: Job) -> bool:
        """Whether the job is done now; else another process is at it, or it waits for a row."""
        if job.after:
            bases = {key: key._replace(configuration=job.after) for key in job.keys}
            # An image that is there and could not be measured says what it cost all the same.
            failed.update(key for key, base in bases.items() if base in failed and store.record(base) is None)
            if not all(base in failed or store.record(base) for base in bases.values()):
                return False
        if all(map(done, job.keys)):
            return True
        with store.claimed(repr(job.keys)) as mine:
            if mine:
                todo = [key for key in job.keys if not done(key)]
                fresh = [key for key in todo if store.record(key) is None]
                # Where a batch fails: one that cannot be generated, or too many for the memory. Each by itself.
                if len(todo) < 2 or not _tried(job.row, todo, store, worker, failed):
                    for key in todo:
                        _tried(job.row, [key], store, worker, failed)
                progress.generated += sum(key not in failed for key in fresh)
            return mine

    while left:
        waiting = []
        for i, job in enumerate(left):
            if not attempt(job):
                waiting.append(job)
            progress.failed = len(failed)
            progress.done = progress.total - sum(len(job.keys) for job in [*waiting, *left[i + 1 :]])
            on_change(progress)
        if len(waiting) == len(left):
            # All that is left is in other hands: wait for it, and take it over where they die.
            time.sleep(PATIENCE)
        left = waiting
    return progress


def _tried(row: RowSpec, keys: Sequence[Key], store: Store, worker: Any, failed: set[Key]) -> bool:
    """Generate what is not there, and measure; whether that went well. Of a single image a failure is noted."""
    try:
        missing = [key for key in keys if store.record(key) is None]
        if missing:
            worker.generate(row, missing)
        worker.measure(keys)
        return True
    except (StoreError, CallError):
        raise
    except (DyMOError, ArithmeticError, RuntimeError, ValueError, TypeError) as error:
        if len(keys) == 1:
            store.fail(keys[0], f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
            failed.add(keys[0])
        return False


def work_here(plan: Comparison, store: Store, load: LoadPipeline, device: str, *rest: Any) -> Progress:
    """`work` in this process; rest: rank and on_change. Raises ConfigError where a metric or reward cannot be loaded."""
    with closing(Worker(plan, store, load, device)) as worker:
        return work(plan, store, worker, *rest)


def work_on_ray(
    plan: Comparison, folder: Path, load_on: Callable[[str], LoadPipeline], address: str | None = None
) -> Progress:
    """`work` by one worker an accelerator of a Ray cluster, or one a CPU where it has none. `folder` must be shared."""
    ray = need("ray")
    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = gpus or max(1, int(resources.get("CPU", 1)))
    device, text = ("cuda" if gpus else "cpu"), plan.model_dump_json()

    @ray.remote(num_gpus=1 if gpus else 0, num_cpus=1, max_retries=-1)
    def one(rank: int) -> Progress:
        mine = Comparison.read(json.loads(text))
        return work_here(mine, Store(folder), load_on(device), device, Rank(rank, count))

    found = ray.get([one.remote(rank) for rank in range(count)])
    most = max(p.done for p in found), max(p.failed for p in found)
    return Progress(found[0].total, *most, sum(p.generated for p in found))
