"""Warnings where the reward has no effect on a run: it acts at no step, or its gradient is too small to move anything."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..config import Config
from ..errors import RunWarning
from ..guidance.loop import Timestep
from ..guidance.objectives import Objective
from ..guidance.schedule import stage
from ..parts import Code, Setting
from ..rewards import Reward, scale_of
from ..trace import Trace

FAINT = 0.02
"""Of `damping`: a gradient of that size moves the latents by a twenty-fifth of what one of the size of `damping` does."""


def check_moved(config: Config, trace: Trace, reward: Reward) -> None:
    """Warns where the reward moved next to nothing, as one of one's own does whose `scale` is not that of its scores."""
    sizes = [size for step in trace.steps if step.stage == "preference" for size in step.gradient_norm if size]
    if config.damping and sizes and max(sizes) < FAINT * config.damping:
        most = float(f"{max(sizes):.1g}")  # rounded, so that the images of a comparison say the same, once
        scale = f"{scale_of(reward) * most / config.damping:.1g}"
        meant = "the points that images of one prompt usually differ by"
        remedy = f"set its `scale`, {meant} ({scale_of(reward):g} now), to about {scale}" if config.units == "relative" else "multiply its scores"
        warnings.warn(RunWarning(
            f"the reward {reward.name} moved the images by next to nothing: its gradient is {most:g} at most, and steps fade away below "
            f"{config.damping:g} (damping): {remedy}, or give ", Setting("damping", Code(f"{most:g}")),
        ), stacklevel=5)  # fmt: skip


def check_stages(config: Config, objectives: Sequence[Objective], timesteps: Sequence[Timestep]) -> None:
    """Warns where the reward acts at no step of the run: at one or two steps, all may lie in the semantic stage."""
    stages = [stage(config, now) for now in timesteps]
    if any(o.needs == "image" for o in objectives) and not {"mixed", "preference"} & set(stages):
        t = ", ".join(f"{now.t:g}" for now in timesteps[:4])
        warnings.warn(RunWarning(
            f"the reward is used at none of the {len(stages)} steps (t = {t}): they lie in the stage of the words. Give more steps, "
            f"{'raise' if config.borders_by == 'timestep' else 'lower'} ", Setting("borders", config.borders),
            ", or use the method 'reno' for models of one step",
        ), stacklevel=5)  # fmt: skip
