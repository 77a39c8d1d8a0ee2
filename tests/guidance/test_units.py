"""Step lengths hold for latents of every size and for every reward."""

import math

import pytest
import torch

from dymo.config import PRESETS, Config
from dymo.guidance.levels import Level
from dymo.guidance.loop import Seen, Timestep
from dymo.guidance.objectives import preference_loss
from dymo.guidance.step import move
from dymo.guidance.units import ENTRIES, TUNED, relative_gain, relative_size, slope
from dymo.rewards import SPECS, load_reward


def moved(z, **settings):
    """The displacement of z by the gradient of the mean of its entries' squares."""
    z = z.requires_grad_()
    (g,) = torch.autograd.grad(z.square().flatten(1).mean(1).sum(), z)
    now = Timestep(0, 25, 500.0, Level(0.6, 0.8), Level(0.8, 0.6), 0.5)
    seen = Seen([0], now, z, z, z, None, None, (0, 0), lambda x: x, lambda loss, keep: g)
    return move(Config(max_step=None, **settings), "preference", g, seen)


@pytest.mark.parametrize("settings", [{}, {"damping": 0.3}, {"damping": 0.0}])
def test_latents_of_four_times_the_entries_are_moved_alike(settings):
    z = torch.randn(1, 4, 8, 8)
    small, large = moved(z, **settings), moved(z.repeat(1, 1, 2, 2), **settings)
    torch.testing.assert_close(large.size, small.size)
    torch.testing.assert_close(large.displacement, small.displacement.repeat(1, 1, 2, 2))
    torch.testing.assert_close(moved(z.repeat(1, 1, 2, 2), units="absolute", **settings).size, moved(z, units="absolute", **settings).size / 2)


def test_for_the_miniature_nothing_changes():
    size = torch.rand(3)
    assert torch.equal(relative_size(size, ENTRIES), size)
    reward = load_reward("mini-pickscore")
    assert relative_gain("exponential", 5.0, reward.cosine_scale, reward.typical, reward.scale) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("form", ["exponential", "score", "norm"])
@pytest.mark.parametrize("name", SPECS)
def test_a_spread_of_every_reward_is_worth_as_much(name, form):
    """By the loss itself, differentiated at the reward's typical score."""
    spec, views = SPECS[name], 3
    scores = torch.full((views, 1), sum(spec.typical) / 2, requires_grad=True)
    cosine = {"pickscore": 100.0, "step-aware-sd15": 100.0, "step-aware-sdxl": 100.0, "hpsv2": 1.0, "hpsv2.1": 1.0, "clipscore": 1.0}.get(name)
    gain = relative_gain(form, 5.0, cosine, sum(spec.typical) / 2, spec.scale, views)
    (slopes,) = torch.autograd.grad(preference_loss(scores, form, 5.0, cosine).sum(), scores)
    # Where it is negative, the norm of scores falls as they rise.
    assert gain * spec.scale * slopes.sum().abs().item() == pytest.approx(TUNED, rel=1e-5)


def test_a_cosine_whose_typical_score_is_not_said_is_a_quarter():
    assert slope("exponential", 5.0, 100.0, None, 1.0) == slope("exponential", 5.0, 100.0, 25.0, 1.0) == pytest.approx(0.05 * math.exp(1.25))


def test_the_equations_of_others_are_in_their_own_units():
    assert {name for name, config in PRESETS.items() if config.units == "absolute"} == {"paper", "official-sd15", "official-sdxl"}
