"""The losses of the trained baselines against values and gradients computed by hand."""

import math

import pytest
import torch

from training.preference_losses import dpo_loss, gaussian_log_probability, kto_loss, spo_loss, terminal_step


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_dpo_is_log_two_at_the_reference_and_its_gradient_is_half_beta_times_the_doubt():
    errors = [torch.tensor([v], requires_grad=True) for v in (0.30, 0.25)]
    same = dpo_loss(*errors, torch.tensor([0.30]), torch.tensor([0.25]), beta=100.0)
    assert same.item() == pytest.approx(math.log(2), rel=1e-6)
    found = dpo_loss(*errors, torch.tensor([0.33]), torch.tensor([0.24]), beta=100.0)
    margin = -50 * ((0.30 - 0.25) - (0.33 - 0.24))  # 2: the preferred picture has become likelier
    assert found.item() == pytest.approx(-math.log(sigmoid(margin)), rel=1e-4)
    first, second = torch.autograd.grad(found, errors)
    assert first.item() == pytest.approx(50 * (1 - sigmoid(margin)), rel=1e-4)
    assert second.item() == pytest.approx(-first.item())


def test_kto_rewards_gains_on_what_is_liked_and_losses_on_what_is_not():
    error = torch.tensor([0.2, 0.5], requires_grad=True)
    found = kto_loss(error, torch.tensor([0.4, 0.4]), torch.tensor([True, False]), beta=10.0)
    baseline = (0.2 - 0.1) / 2
    ups, downs = 10 * (0.2 - baseline), -10 * (-0.1 - baseline)
    torch.testing.assert_close(found, -torch.tensor([sigmoid(ups), sigmoid(downs)]))
    (slope,) = torch.autograd.grad(found.sum(), error)
    by_hand = [10 * sigmoid(ups) * (1 - sigmoid(ups)), -10 * sigmoid(downs) * (1 - sigmoid(downs))]
    torch.testing.assert_close(slope, torch.tensor(by_hand))
    # A mean gain below zero is no baseline.
    worse = kto_loss(torch.tensor([0.6]), torch.tensor([0.4]), torch.tensor([True]), beta=10.0)
    assert worse.item() == pytest.approx(-sigmoid(-2.0), rel=1e-5)


def test_the_gaussians_log_probability_differs_from_torchs_by_its_constant_alone():
    z, mean, sigma = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.tensor([0.5, 2.0]).view(-1, 1, 1, 1)
    whole = torch.distributions.Normal(mean, sigma).log_prob(z).flatten(1).mean(1)
    constant = -sigma.flatten().log() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(gaussian_log_probability(z, mean, sigma), whole - constant)


def test_spo_against_hand_computed_values_and_gradient():
    best, worst = torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), -1.0)
    ref, sigma = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0)
    mean = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    found = spo_loss(best, worst, mean, ref, sigma, beta=10.0)
    # log p / p_ref: best -(0.25 - 1) / 8, worst -(2.25 - 1) / 8; their difference 0.25.
    assert found.item() == pytest.approx(-math.log(sigmoid(10 * 0.25)), rel=1e-5)
    (slope,) = torch.autograd.grad(found, mean)
    # d difference / d mean = (best - worst) / sigma^2.
    assert slope.item() == pytest.approx(-(1 - sigmoid(2.5)) * 10 * 2 / 4, rel=1e-5)
    assert spo_loss(best, worst, ref, ref, sigma, 10.0).item() == pytest.approx(math.log(2))


def test_the_truncation_is_drawn_about_42_of_50_and_stays_in_the_chain():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([terminal_step(50, generator) for _ in range(2000)]).float()
    assert abs(drawn.mean() - 42) < 0.5 and 4 < drawn.std() < 5.2 and drawn.max() <= 49
    assert terminal_step(1, generator) == 0
