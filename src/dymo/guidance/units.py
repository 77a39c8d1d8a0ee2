"""Units in which `eta`, `damping` and `h` mean the same for latents of every size and for every reward.

Moving all d entries of z_t by delta in the mean square along g changes an objective by delta sqrt(d) ||g||. That, and not ||g||, is
comparable between models: of the same objective, ||g|| at SDXL's 4 x 128 x 128 entries is half of what it is at SD1.5's 4 x 64 x 64.
A reward's points say as little: people tell images apart by .03 of HPSv2.1 and by one of ImageReward. Both are measured against what the
presets were tuned with, the embedded miniature and its reward, for which the factors are 1.
"""

from __future__ import annotations

import math

from torch import Tensor

ENTRIES = 16 * 16 * 16
"""d of the miniature's latents."""


def relative_size(size: Tensor, entries: int) -> Tensor:
    """||g|| (B,) of latents of d entries a sample, as it would be for latents of `ENTRIES`: sqrt(d / ENTRIES) ||g||."""
    return size * math.sqrt(entries / ENTRIES)


def slope(form: str, tau: float, cosine_scale: float | None, typical: float | None, scale: float, views: int = 1) -> float:
    """|d L_R| by which images differ that are one spread (`scale` points) of the reward apart, at its `typical` score.

    form, tau, cosine_scale: see `preference_loss`. typical None: a cosine of 1/4, as CLIP's are.
    """
    if form == "norm":
        return scale * math.sqrt(views)
    if form == "exponential" and cosine_scale is not None:
        cosine = 0.25 if typical is None else typical / cosine_scale
        return tau * scale / cosine_scale * math.exp(tau * cosine)
    return scale


TUNED = slope("exponential", tau=5.0, cosine_scale=26.043432235717773, typical=14.0, scale=0.8)
"""Of mini-pickscore."""


def relative_gain(form: str, tau: float, cosine_scale: float | None, typical: float | None, scale: float, views: int = 1) -> float:
    """What to multiply L_R by, so that a spread of this reward is worth what one of mini-pickscore is."""
    return TUNED / slope(form, tau, cosine_scale, typical, scale, views)
