"""The pipeline as it is: the row that every other one is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .contract import Result
from .run import Run


@dataclass(frozen=True)
class Plain:
    """Optimises nothing. Its images are the pipeline's own, bit for bit; any pipeline that can be steered will do, with any scheduler."""

    reads_reward: ClassVar[bool] = False

    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        with Run(pipe, prompts, None, budget, generator, pipeline_kwargs) as run:
            return run.result(run.generate())
