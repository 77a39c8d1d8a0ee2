"""The pipeline as it is: the row that every other one is compared with (SD3.5 and FLUX are such rows)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Result, Run


@dataclass(frozen=True)
class Plain:
    """Optimises nothing. Its pictures are the pipeline's own, bit for bit."""

    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        with Run(pipe, prompts, None, budget, generator, pipeline_kwargs) as run:
            return run.result(run.paint())
