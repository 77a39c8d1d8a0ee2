"""The course of one image's guidance, as the page draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..trace import Step


def course(steps: Sequence[Step]) -> dict[str, Any]:
    """Lists of one value a step: t, reward, recurrences, and the weight of each objective; None where there was none."""
    names = dict.fromkeys(name for step in steps for name in step.weights)
    return {
        "t": [step.timestep for step in steps],
        "reward": [step.reward[0] if step.reward else None for step in steps],
        "recurrences": [step.recurrences[0] if step.recurrences else 0 for step in steps],
        "weights": {
            name: [step.weights[name][0] if name in step.weights else None for step in steps] for name in names
        },
    }
