"""Whether latents can still become an image: steps that nothing bounds grow without end where the gradient vanishes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import PipelineError
from ..parts import Name, Set, Setting
from ..trace import Step

LOST = 10.0
"""Length of latents, in that of noise as long as they should be, beyond which a model makes no image of them."""


def check_lengths(steps: Sequence[Step], noise: float, lengths: Sequence[float]) -> None:
    """Raises PipelineError where latents are lost: not finite, or moved so far that no image can come of them.

    steps: those that have led to the latents; noise: its length, in variance-preserving coordinates; lengths: of each image's latents, in
    that of noise.
    """
    for i, length in enumerate(lengths):
        longest = max((step.displacement[i] or 0.0 for step in steps), default=0.0) / noise
        if length <= LOST or (longest <= 1 and math.isfinite(length)):
            continue
        is_lost = f"{length:.3g} times as long as noise" if math.isfinite(length) else "not finite"
        why: tuple[object, ...] = ("the model's own prediction is so: use another precision of the pipeline (bfloat16 or float32)",)
        if longest > 1:
            why = (
                f"a step moved them {longest:.3g} times as far as noise is long, for steps grow without end where the gradient vanishes: ",
                Set(Setting("max_step", 0.06)), ", a lower ", Name(Setting("eta")), ", or ", Setting("preset", "default"),
                ", which bounds and damps its steps",
            )  # fmt: skip
        raise PipelineError(f"the latents of image {i + 1} are {is_lost} at step {len(steps)} (t = {steps[-1].timestep:g}): ", why)
