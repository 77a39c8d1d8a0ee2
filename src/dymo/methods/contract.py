"""What every method is to those who compare methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..budget import Budget
from ..trace import Trace


@dataclass
class Result:
    """What a method made: `images` in the `output_type` asked for ("pil" by default), and the account of the run."""

    images: Any
    trace: Trace


class Method(Protocol):
    """One system. Reusable, and without state between runs; its settings are the fields of a dataclass.

    Your own: give `file.py:name` wherever a method's name is asked for, or the entry point group `dymo.methods`.
    """

    def run(
        self,
        pipe: Any,
        prompts: str | Sequence[str],
        reward: Any = None,
        budget: Budget | None = None,
        generator: Any = None,
        **pipeline_kwargs: Any,
    ) -> Result:
        """Generate one image a prompt (times `num_images_per_prompt`) with `pipe`, which is as before afterwards.

        reward: what to raise, in any form that `load_reward` takes; only methods that need none accept None. budget: what one image may spend.
        generator: a torch.Generator, or one an image; `pipeline_kwargs` reach the pipeline untouched.
        Raises PromptError, ConfigError, PipelineError or RewardError.
        """
        ...
