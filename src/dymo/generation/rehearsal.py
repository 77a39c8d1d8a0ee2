"""The first run of its kind under `compile=`: what torch makes of each stage is made before step 1."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Sequence
from weakref import WeakKeyDictionary

import torch

from ..config import Config
from ..guidance.objectives import Objective
from ..methods.dymo import rehearse
from ..pipelines.loop import PipelineLoop

log = logging.getLogger(__name__)

_DONE: WeakKeyDictionary[torch.nn.Module, set[Hashable]] = WeakKeyDictionary()
"""Denoiser -> the kinds of runs of it that were compiled in this process."""


def rehearsed(loop: PipelineLoop, objectives: Sequence[Objective], config: Config, kind: Hashable) -> float:
    """Seconds that it took to compile, 0.0 where nothing had to be."""
    done = _DONE.setdefault(loop.denoiser, set())
    if kind in done:
        return 0.0
    began, pieces = time.perf_counter(), _compiled()
    log.info("compiling: the first image of a size waits for it")
    rehearse(loop, objectives, config, loop.timesteps)
    done.add(kind)
    return time.perf_counter() - began if _compiled() > pieces else 0.0


def _compiled() -> int:
    """How many pieces of code torch has compiled in this process."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]
