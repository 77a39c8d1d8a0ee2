"""Noise levels: the one-step prediction of the clean latents, and the way back in time.

Every family writes z = a z0 + s eps: variance preserving (DDIM, DDPM) with a = sqrt(abar), s = sqrt(1 - abar);
variance exploding (Euler) with a = 1, s = sigma; flow matching with a = 1 - s. The formulas below hold for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample", "flow_prediction", "reversed_flow_prediction", "trigflow")


@dataclass(frozen=True)
class Level:
    """One noise level: z = a z0 + s eps, a and s >= 0 and not both 0."""

    a: float
    s: float

    @property
    def radius(self) -> float:
        """z / radius is the same latent in variance-preserving coordinates."""
        return math.hypot(self.a, self.s)

    @property
    def angle(self) -> float:
        """arctan(s / a), from 0 (clean) to pi / 2 (pure noise): the log signal-to-noise ratio is -2 log tan of it."""
        return math.atan2(self.s, self.a)


def at_resolution(level: Level, pixels: int) -> Level:
    """The noise level at which latents of 64 x 64 are hidden as latents of so many pixels are at `level`.

    The same noise hides less of an image of more pixels: with alpha = sqrt(pixels) / 64 the level s' of a flow stands for
    s = s' / (alpha + (1 - alpha) s'), the inverse of the shift of arXiv 2403.03206, equation 23.
    """
    alpha = math.sqrt(pixels) / 64
    s = level.s / (alpha + (1 - alpha) * level.s)
    return Level(1 - s, s)


def predict_z0(z: Tensor, output: Tensor, level: Level, prediction_type: str) -> Tensor:
    """z0' = (z_t - s eps) / a from the denoiser's output after guidance; both (B, ...) -> (B, ...).

    The one-step prediction of arXiv 2412.00759, which it writes with the score -eps / s. "v_prediction" is
    v = a' eps - s' z0 in variance-preserving coordinates (arXiv 2202.00512), as diffusers has it; "flow_prediction" is
    eps - z0, at levels with a + s = 1 (arXiv 2210.02747), and "reversed_flow_prediction" z0 - eps; "trigflow" is a eps - s z0
    itself, at levels (a, s) = r (cos t, sin t) of a fixed radius r (arXiv 2410.11081). Raises ValueError.
    """
    if prediction_type == "epsilon":
        return (z - level.s * output) / level.a
    if prediction_type == "v_prediction":
        return level.a * z / level.radius**2 - level.s / level.radius * output
    if prediction_type == "trigflow":
        return (level.a * z - level.s * output) / level.radius**2
    if prediction_type == "sample":
        return output
    if prediction_type == "flow_prediction":
        return z - level.s * output
    if prediction_type == "reversed_flow_prediction":
        return z + level.s * output
    raise ValueError(f"prediction_type={prediction_type!r}: one of {', '.join(PREDICTION_TYPES)}")


def predict_noise(z: Tensor, output: Tensor, level: Level, prediction_type: str) -> Tensor:
    """eps from the denoiser's output; both (B, ...) -> (B, ...)."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return level.s * z / level.radius**2 + level.a / level.radius * output
    if prediction_type == "trigflow":
        return (level.s * z + level.a * output) / level.radius**2
    if prediction_type == "flow_prediction":
        return z + level.a * output
    if prediction_type == "reversed_flow_prediction":
        return z - level.a * output
    return (z - level.a * predict_z0(z, output, level, prediction_type)) / level.s


def noisy_step(z0: Tensor, eps: Tensor, here: Level, there: Level, eta: float, noise: Tensor) -> Tensor:
    """DDIM's step with noise, for levels of any family (arXiv 2010.02502, equation 12); all (B, ...), `noise` standard normal.

    eta 1 draws from q(z_there | z_here, z0), 0 is the deterministic step; the law of z_there is the same for all of them
    where z0 and eps are true.
    """
    ratio = here.a / there.a if there.a else 0.0
    kept = max(here.s**2 - (ratio * there.s) ** 2, 0.0) ** 0.5 / here.s
    added = eta * there.s * kept
    return there.a * z0 + max(there.s**2 - added**2, 0.0) ** 0.5 * eps + added * noise


def renoise(z: Tensor, here: Level, there: Level, noise: Tensor) -> Tensor:
    """A draw from q(z_there | z_here), the exact kernel to the noisier level; `noise` is standard normal, like z.

    Between neighbouring training timesteps this is sqrt(1 - beta_t) z_{t-1} + sqrt(beta_t) eps, the time travel of
    arXiv 2412.00759.
    """
    ratio = there.a / here.a
    variance = there.s**2 - (ratio * here.s) ** 2
    return ratio * z + max(variance, 0.0) ** 0.5 * noise
