"""Algorithm 1 on a loop in closed form: z0 ~ N(M, C^2), every level, step and move computed by hand; no diffusers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch

from dymo.budget import Allotment, Budget
from dymo.config import Config
from dymo.guidance.levels import Level, predict_noise, predict_z0
from dymo.guidance.loop import PREDICTION, Seen, Timestep
from dymo.guidance.observer import Observer
from dymo.methods.dymo import dymo

M, C, STEPS = 0.4, 0.8, 8
ABAR = [0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0]
PREFERENCE = dict(borders=(1000.0, 1000.0), semantic_weight=0.0, damping=0.0, max_step=None, eta_steps=None, units="absolute")


def level(abar):
    return Level(abar**0.5, (1 - abar) ** 0.5)


@dataclass
class Gaussian:
    """DDIM with noise `eta` on the exact posterior mean; samples share nothing."""

    z: torch.Tensor
    eta: float = 0.0
    calls: list = field(default_factory=list)

    @property
    def samples(self):
        return len(self.z)

    def __iter__(self):
        for i in range(STEPS):
            self.now = Timestep(i, STEPS, 900.0 * (1 - i / STEPS), level(ABAR[i]), level(ABAR[i + 1]), i / STEPS)
            self.left = False
            yield self.now
            assert self.left

    def predict(self, z=None, rows=None, need=PREDICTION):
        rows = list(range(self.samples)) if rows is None else rows
        self.calls.append(list(rows))
        z = (self.z[rows] if z is None else z).detach().requires_grad_()
        a, s = self.now.here.a, self.now.here.s
        output = s * (z - a * M) / (a**2 * C**2 + s**2)
        if need.through == "none":
            output = output.detach()
        z0 = predict_z0(z, output, self.now.here, "epsilon")
        eps = predict_noise(z.detach(), output.detach(), self.now.here, "epsilon")

        def pull(loss, keep=False):
            return torch.autograd.grad(loss.sum(), z, retain_graph=keep)[0]

        return Seen(rows, self.now, z, z0, eps, None, None, (0, 0), lambda z0: z0, pull)

    def sampler_step(self, seen, noise=None):
        here, there = self.now.here, self.now.there
        added = self.eta * (there.s / here.s) * max(0.0, 1 - (here.a / there.a) ** 2) ** 0.5
        step = there.a * seen.z0 + max(0.0, there.s**2 - added**2) ** 0.5 * seen.eps
        return (step + added * self.noise(seen.rows)).detach()

    def noise(self, rows):
        return torch.randn(len(rows), *self.z.shape[1:], dtype=self.z.dtype)

    def accept(self, z):
        self.z, self.left = z, True


@dataclass
class Linear:
    """L = -<u, z0'>: its gradient through the denoiser is -kappa u, kappa known."""

    u: torch.Tensor
    name: str = "preference"
    needs: str = "image"

    def loss(self, seen):
        return -(self.u * seen.images).flatten(1).sum(1)


U = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("gradient", ["full", "straight-through"])
def test_the_moves_are_those_computed_by_hand(gradient):
    eta, z = 0.05, torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loop = Gaussian(z.clone())
    dymo(loop, [Linear(U)], Config(**PREFERENCE, eta=eta, recurrences=0, gradient=gradient))
    for i in range(STEPS):
        here, there = level(ABAR[i]), level(ABAR[i + 1])
        variance = here.a**2 * C**2 + here.s**2
        eps = here.s * (z - here.a * M) / variance
        z0 = (z - here.s * eps) / here.a
        kappa = here.a * C**2 / variance if gradient == "full" else 1 / here.a
        length = eta * eps.flatten(1).norm(dim=1) / (kappa * U.norm())
        z = there.a * z0 + there.s * eps + length.view(3, 1, 1, 1) * U / U.norm()
    torch.testing.assert_close(loop.z.float(), z.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("recurrences", [0, 2])
def test_time_travel_keeps_the_mean_and_variance_computed_by_hand(recurrences):
    torch.manual_seed(0)
    n = 4000
    loop = Gaussian(torch.randn(n, 1, 2, 2, dtype=torch.float64), eta=1.0)
    dymo(loop, [Linear(U[:1, :2, :2])], Config(**PREFERENCE, eta=0.0, recurrences=recurrences))
    mean, variance = 0.0, 1.0
    for i in range(STEPS):
        here, there = level(ABAR[i]), level(ABAR[i + 1])
        k = here.s / (here.a**2 * C**2 + here.s**2)
        added = (there.s / here.s) * max(0.0, 1 - (here.a / there.a) ** 2) ** 0.5
        along = max(0.0, there.s**2 - added**2) ** 0.5
        slope = there.a * (1 - here.s * k) / here.a + along * k
        shift = there.a * here.s * k * M - along * k * here.a * M
        for r in range(recurrences + 1):
            mean, variance = slope * mean + shift, slope**2 * variance + added**2
            if r < recurrences:
                ratio = here.a / there.a
                mean, variance = ratio * mean, ratio**2 * variance + here.s**2 - (ratio * there.s) ** 2
    values = loop.z.flatten()
    assert abs(values.mean().item() - mean) < 4 * (variance / len(values)) ** 0.5
    assert abs(values.var().item() - variance) < 4 * variance * (2 / len(values)) ** 0.5
    assert len(loop.calls) == STEPS * (recurrences + 1)


def test_samples_travel_back_by_their_own_gradients():
    """r_t = floor(h ||g_t||), ||g_t|| = a |scale|: samples with larger losses are taken again more often."""
    scale = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)

    @dataclass
    class Scaled(Linear):
        def loss(self, seen):
            return scale[seen.rows] * super().loss(seen)

    loop = Gaussian(torch.randn(3, 2, 4, 4, dtype=torch.float64))
    config = Config(**PREFERENCE, eta=0.0, h=1.0, max_recurrences=3, gradient="straight-through")
    dymo(loop, [Scaled(U / U.norm())], config)
    wanted = [sum(1 + min(3, int(s / level(ABAR[i]).a)) for i in range(STEPS)) for s in scale.tolist()]
    assert [sum(i in rows for rows in loop.calls) for i in range(3)] == wanted


def test_another_objective_shares_the_weight_of_its_kind():
    """Two objectives on the image are the sum of their losses."""
    z = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    config = Config(**PREFERENCE, eta=0.05, recurrences=0)
    one, two = Gaussian(z.clone()), Gaussian(z.clone())
    dymo(one, [Linear(U)], config)
    dymo(two, [Linear(0.25 * U), Linear(0.75 * U, name="other")], config)
    torch.testing.assert_close(one.z, two.z)


def test_neither_diffusers_nor_transformers_is_imported():
    code = "import sys, dymo.methods.dymo, dymo.guidance.objectives; print(sorted({'diffusers', 'transformers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "config, budget, reads",
    [(dict(h=0.0), None, 0), (dict(h=1.0), None, STEPS), (dict(h=1.0, max_recurrences=0), None, 0), (dict(recurrences=0), None, 0),
     (dict(recurrences=1), None, STEPS), (dict(h=0.0), Budget(evaluations=2 * STEPS), STEPS), (dict(h=0.0), Budget(seconds=1e6), STEPS)],
)  # fmt: skip
def test_nobody_waits_for_the_size_of_a_gradient_that_decides_nothing(config, budget, reads):
    class Counted(Observer):
        count = 0

        def read(self, *values):
            self.count += 1
            return super().read(*values)

    z, observer = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64), Counted()
    loop = Gaussian(z)
    dymo(loop, [Linear(U)], Config(**PREFERENCE, eta=0.01, **config), Allotment(budget or Budget()), observer)
    assert observer.count == reads
