"""Who works a plan off: this process (one of several, under `accelerate launch`), or a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .metrics import load_metrics
from .needs import need
from .painter import LoadPipeline, Painter
from .plan import Plan
from .runner import Progress, work
from .store import Store

LoadOn = Callable[[str], LoadPipeline]
"""A device -> what loads pipelines on it."""
OnChange = Callable[[Progress, "float | None"], None]


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is, and which accelerator of its machine is its own."""

    rank: int = 0
    world: int = 1
    local: int = 0


def place_here() -> Place:
    """What `accelerate launch` (or torchrun) says in the environment; alone where it says nothing.

    The processes need no connection to each other: they meet in the store, and a dead one holds nobody up.
    """
    names = {"rank": "RANK", "world": "WORLD_SIZE", "local": "LOCAL_RANK"}
    try:
        return Place(**{key: int(os.environ[name]) for key, name in names.items() if name in os.environ})
    except ValueError as error:
        raise ConfigError(f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: {error}") from error


def work_here(
    plan: Plan, folder: Path, load_on: LoadOn, device: str, place: Place = Place(), on_change: OnChange | None = None
) -> tuple[Progress, dict[str, str]]:
    """Work on the plan in this process until nothing is left; also the metrics that could not be loaded, with reasons."""
    metrics, missing = load_metrics(plan.metrics, device)
    store = Store(folder)
    painter = Painter(plan, store, load_on(device), metrics)
    try:
        progress = work(plan, store, painter, rank=place.rank, world=place.world, on_change=on_change)
    finally:
        painter.close()
    return progress, missing


def work_on_ray(
    plan: Plan, folder: Path, load_on: LoadOn, address: str | None = None
) -> tuple[Progress, dict[str, str]]:
    """The same by one worker an accelerator of a Ray cluster, or one a CPU where it has none. `folder` must be shared."""
    ray = need("ray")
    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = gpus or max(1, int(resources.get("CPU", 1)))
    device, text = ("cuda" if gpus else "cpu"), plan.to_json()

    @ray.remote(num_gpus=1 if gpus else 0, num_cpus=1, max_retries=-1)
    def one(rank: int) -> Any:
        import json

        return work_here(Plan.from_dict(json.loads(text)), folder, load_on, device, Place(rank, count))

    found = ray.get([one.remote(rank) for rank in range(count)])
    whole = Progress(found[0][0].total, max(p.done for p, _ in found), max(p.failed for p, _ in found))
    whole.painted = sum(p.painted for p, _ in found)
    return whole, found[0][1]
