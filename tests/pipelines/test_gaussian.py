"""The whole pipeline on a denoiser whose posterior is known: z0 ~ N(m, c^2), a linear reward, each move by hand."""

import types

import pytest
import tiny
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from torch import nn

from dymo import DyMO

M, C, SCALE = 0.4, 0.8, 0.01
U = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2))


class Denoiser(nn.Module):
    """E[eps | z] of z = a z0 + s eps, in variance-preserving coordinates, which Euler's input scaling gives too."""

    def __init__(self, abar, dtype=torch.float32):
        super().__init__()
        self.abar, self.dtype = abar, dtype
        self.config = types.SimpleNamespace(
            in_channels=3, sample_size=8, time_cond_proj_dim=None, block_out_channels=(8,)
        )
        self.weight = nn.Parameter(torch.ones(()))
        self.device = torch.device("cpu")

    def forward(self, z, t, encoder_hidden_states=None, return_dict=True, **kwargs):
        abar = self.abar[int(t)]
        return (self.weight * (1 - abar).sqrt() * (z - abar.sqrt() * M) / (abar * C**2 + 1 - abar),)


class Linear(nn.Module):
    """A "decoder" that shrinks the latent, so that no pixel saturates."""

    dtype = torch.float32
    config = types.SimpleNamespace(scaling_factor=1.0)

    def decode(self, z, return_dict=False):
        return (2 * SCALE * z,)


def reward(images, prompts):
    return ((images - 0.5) * U).sum((1, 2, 3))


def pipeline(kind):
    pipe = tiny.sd(scheduler_kind=kind)
    pipe.unet = Denoiser(pipe.scheduler.alphas_cumprod)
    return pipe


def by_hand(z, abar, times, eta, through_denoiser):
    """DDIM with, after each step, eta ||eps|| / ||g||^2 g towards the reward: g = -kappa SCALE U."""
    for t, before in zip(times, [*times[1:], None], strict=True):
        here, there = abar[t], abar[before] if before is not None else abar[0]
        variance = here * C**2 + 1 - here
        eps = (1 - here).sqrt() * (z - here.sqrt() * M) / variance
        kappa = here.sqrt() * C**2 / variance if through_denoiser else 1 / here.sqrt()
        z0 = (z - (1 - here).sqrt() * eps) / here.sqrt()
        z = there.sqrt() * z0 + (1 - there).sqrt() * eps + eta * eps.norm() / (kappa * SCALE * U.norm()) * U / U.norm()
    return z


@pytest.mark.parametrize("gradient", ["full", "conditional", "straight-through"])
def test_guidance_by_a_linear_reward_moves_the_latent_as_computed_by_hand(gradient):
    pipe, eta, noise = (
        pipeline(DDIMScheduler),
        1e-3,
        torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
    )
    aligner = DyMO(
        reward,
        semantic_weight=0,
        borders=(1000, 1000),
        recurrences=0,
        eta=eta,
        eta_steps=None,
        max_step=1e9,
        damping=0.0,
        units="absolute",
        gradient=gradient,
        preview_vae=Linear(),
    )
    settings = dict(num_inference_steps=10, height=16, width=16, output_type="latent", guidance_scale=3.0)
    found = aligner(pipe, "x", latents=noise.clone(), **settings)
    expected = by_hand(
        noise[0],
        pipe.scheduler.alphas_cumprod,
        pipe.scheduler.timesteps.tolist(),
        eta,
        through_denoiser=gradient != "straight-through",
    )
    torch.testing.assert_close(found.images[0], expected, atol=2e-4, rtol=1e-4)
    plain = pipe("x", latents=noise.clone(), **settings).images
    assert reward(SCALE * found.images + 0.5, None) > reward(SCALE * plain + 0.5, None)
    # And the reward that the trace saw is the one of the closed-form prediction.
    assert found.trace.steps[-1].reward[0] > found.trace.steps[0].reward[0]


def law_by_hand(abar, times, rounds):
    """Mean and variance of the ancestral chain (DDIM, eta 1) that takes each step `rounds` times, in closed form."""
    mean, var = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for t, before in zip(times, [*times[1:], None], strict=True):
        here, there = abar[t].double(), (abar[before] if before is not None else abar[0]).double()
        k = (1 - here).sqrt() / (here * C**2 + 1 - here)
        noise = (1 - there) / (1 - here) * (1 - here / there)
        toward_z0, toward_eps = there.sqrt(), (1 - there - noise).sqrt()
        slope = toward_z0 * (1 - (1 - here).sqrt() * k) / here.sqrt() + toward_eps * k
        shift = toward_z0 * (1 - here).sqrt() * k * M - toward_eps * k * here.sqrt() * M
        for i in range(rounds):
            mean, var = slope * mean + shift, slope**2 * var + noise
            if i < rounds - 1:
                mean, var = (here / there).sqrt() * mean, here / there * var + 1 - here / there
    return mean.item(), var.item()


@pytest.mark.parametrize("recurrences", [0, 2])
def test_time_travel_gives_the_law_computed_by_hand(recurrences):
    """No push at all: what the chain of steps and re-noisings does to a Gaussian is known exactly."""
    pipe = pipeline(DDIMScheduler)
    aligner = DyMO(
        reward, semantic_weight=0, borders=(1000, 1000), recurrences=recurrences, eta=0.0, preview_vae=Linear()
    )
    settings = dict(num_inference_steps=10, height=16, width=16, output_type="latent", guidance_scale=1.0, eta=1.0)
    found = aligner(pipe, ["x"] * 64, generator=torch.Generator().manual_seed(0), **settings)
    values = found.images.flatten()
    assert found.trace.evaluations == [10 * (recurrences + 1)] * 64
    mean, variance = law_by_hand(pipe.scheduler.alphas_cumprod, pipe.scheduler.timesteps.tolist(), recurrences + 1)
    assert abs(values.mean().item() - mean) < 4 * (variance / values.numel()) ** 0.5
    assert abs(values.var().item() - variance) < 4 * variance * (2 / values.numel()) ** 0.5


def test_euler_moves_as_ddim_does():
    """The same displacement in variance-preserving coordinates, whichever way the scheduler writes its latent."""
    first = {}
    for kind in (DDIMScheduler, EulerDiscreteScheduler):
        pipe = pipeline(kind)
        pipe.scheduler = kind.from_config(pipe.scheduler.config, timestep_spacing="leading", steps_offset=1)
        noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        aligner = DyMO(
            reward,
            semantic_weight=0,
            borders=(1000, 1000),
            recurrences=0,
            eta=1e-3,
            max_step=1e9,
            damping=0.0,
            preview_vae=Linear(),
        )
        # Euler multiplies the start by its largest sigma's radius: give both the same latent at their own scale.
        scale = 1.0 if kind is DDIMScheduler else 1 / pipe.scheduler.init_noise_sigma
        if kind is EulerDiscreteScheduler:
            pipe.scheduler.set_timesteps(10)
            scale = (1 + pipe.scheduler.sigmas[0] ** 2) ** 0.5 / pipe.scheduler.init_noise_sigma
        found = aligner(
            pipe,
            "x",
            latents=noise * scale,
            num_inference_steps=10,
            height=16,
            width=16,
            output_type="latent",
            guidance_scale=1.0,
        )
        first[kind] = found.trace.steps[0]
    ddim, euler = first[DDIMScheduler], first[EulerDiscreteScheduler]
    assert euler.gradient_norm[0] == pytest.approx(ddim.gradient_norm[0], rel=1e-3)
    assert euler.displacement[0] == pytest.approx(ddim.displacement[0], rel=1e-3)
