"""The least of a pipeline that the engine can steer: a loop over timesteps, one row a sample, and a denoiser known in closed form.

`Bare` calls its scheduler as diffusers' own loops do, those of flow matching included, which scale no input.
"""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn

Posterior = Callable[[Tensor, float, float], Tensor]
"""E[z0 | z = a z0 + s eps] of (z, a, s)."""


def gaussian(m: float = 0.4, c: float = 0.8) -> Posterior:
    """z0 ~ N(m, c^2) at every pixel."""

    def mean(z: Tensor, a: float, s: float) -> Tensor:
        return m + c**2 * a * (z - a * m) / (a**2 * c**2 + s**2)

    return mean


def mixture(means: Tensor, width: float) -> Posterior:
    """z0 (., 2, n, 1), each of its n points drawn from normal distributions of `width` around `means` (k, 2)."""

    def mean(z: Tensor, a: float, s: float) -> Tensor:
        points = z[..., 0].transpose(1, 2)  # (., n, 2)
        v = a**2 * width**2 + s**2
        off = points.unsqueeze(2) - a * means  # (., n, k, 2)
        share = torch.softmax(-(off**2).sum(-1) / (2 * v), dim=-1)
        each = means + a * width**2 / v * off
        return (share.unsqueeze(-1) * each).sum(2).transpose(1, 2).unsqueeze(-1)

    return mean


class Exact(nn.Module):
    """What `scheduler`'s denoiser would predict, of latents scaled to unit variance, at a timestep of any spacing."""

    def __init__(self, scheduler, posterior: Posterior):
        super().__init__()
        self.scheduler, self.posterior = scheduler, posterior
        self.config = types.SimpleNamespace(in_channels=2, out_channels=2)

    def level(self, t: float) -> tuple[float, float]:
        if hasattr(self.scheduler.config, "sigma_data"):
            return math.cos(t), math.sin(t)
        if not hasattr(self.scheduler, "alphas_cumprod") or getattr(self.scheduler.config, "use_flow_sigmas", False):
            share = t / 1000  # of the noise, or of the image
            return (share, 1 - share) if getattr(self.scheduler.config, "invert_sigmas", False) else (1 - share, share)
        abar = self.scheduler.alphas_cumprod.double()
        log = ((1 - abar) / abar).log()
        low = min(int(t), len(log) - 2)
        ratio = torch.exp(log[low] + (t - low) * (log[low + 1] - log[low])).item()
        return (1 / (1 + ratio)) ** 0.5, (ratio / (1 + ratio)) ** 0.5

    def forward(self, z: Tensor, t, return_dict: bool = True):
        a, s = self.level(float(t))
        z0 = self.posterior(z, a, s)
        kind = getattr(self.scheduler.config, "prediction_type", "flow_prediction")
        if kind == "flow_prediction":
            return ((z0 - z if getattr(self.scheduler.config, "invert_sigmas", False) else z - z0) / s,)
        eps = (z - a * z0) / s
        turned = a * eps - s * z0
        return ({"epsilon": eps, "v_prediction": turned, "trigflow": turned, "sample": z0}[kind],)


class Bare:
    """`pipe(latents=standard normal noise, num_inference_steps=..., generator=...)` -> the last latents, as `images`."""

    def __init__(self, scheduler, posterior: Posterior):
        self.scheduler, self.unet = scheduler, Exact(scheduler, posterior)
        self.vae = types.SimpleNamespace(config=types.SimpleNamespace())

    do_classifier_free_guidance = property(lambda self: False)
    guidance_scale = property(lambda self: 1.0)

    def prepare_latents(self, latents: Tensor) -> Tensor:
        return latents * getattr(self.scheduler, "init_noise_sigma", 1.0)

    @contextlib.contextmanager
    def progress_bar(self, total: int):
        yield types.SimpleNamespace(update=lambda n=1: None)

    @torch.no_grad()
    def __call__(self, latents: Tensor, num_inference_steps: int, generator=None, extra=None):
        deviation = getattr(self.scheduler.config, "sigma_data", 1.0)  # of TrigFlow's latents, whose last timestep is the end of the last step
        trig = hasattr(self.scheduler.config, "sigma_data")
        self.scheduler.set_timesteps(num_inference_steps, **({"intermediate_timesteps": None} if trig else {}))
        timesteps = self.scheduler.timesteps[: -1 if trig else None]
        latents = self.prepare_latents(latents) * deviation
        scale = getattr(self.scheduler, "scale_model_input", lambda z, t: z / deviation)
        given = dict(extra or {})
        for _, t in enumerate(timesteps):
            output = self.unet(scale(latents, t), t, return_dict=False)[0] * deviation
            latents = self.scheduler.step(output, t, latents, **given, return_dict=False)[0]
        return types.SimpleNamespace(images=latents)
