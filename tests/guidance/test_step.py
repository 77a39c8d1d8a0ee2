import dataclasses

import pytest
import torch

from dymo import Config, ConfigError
from dymo.guidance.levels import Level
from dymo.guidance.loop import Seen, Timestep
from dymo.guidance.step import damped, failure, move, norms, usable

PLAIN = dict(damping=0.0, max_step=None, eta_steps=None, units="absolute")


HERE, THERE = Level(0.6, 0.8), Level(0.8, 0.6)


def seen(eps, residual=None, here=HERE, there=THERE):
    now = Timestep(0, 1, 500.0, here, there, 0.0)
    return Seen(list(range(len(eps))), now, eps, eps, eps, lambda: residual, None, (0, 0), None, None)


def test_polyak_s_step():
    g, eps = torch.randn(2, 3, 4, 4, 4)
    made = move(Config(eta=0.3, **PLAIN), "semantic", g, seen(eps))
    torch.testing.assert_close(made.displacement, -0.3 * (norms(eps) / norms(g) ** 2).view(3, 1, 1, 1) * g)
    torch.testing.assert_close(made.size, norms(g))


def test_the_reference_s_step_has_the_residual_s_length():
    g, eps, residual = torch.randn(3, 3, 4, 4, 4)
    config = Config(step_rule="residual", eta=(9.0, 1.5, 9.0), **PLAIN)
    made = move(config, "mixed", g, seen(eps, residual))
    torch.testing.assert_close(norms(made.displacement), 1.5 * norms(residual))
    cosine = torch.nn.functional.cosine_similarity(made.displacement.flatten(1), g.flatten(1))
    torch.testing.assert_close(cosine, -torch.ones(3))
    with pytest.raises(ConfigError, match="step_rule='residual'"):
        move(config, "mixed", g, seen(eps))


def test_lengths_are_the_same_in_both_coordinates():
    """z = a z0 + s eps, and the same latent over its radius: the displacement is as long in units of the radius."""
    g, eps = torch.randn(2, 2, 4, 4, 4)
    preserving = move(Config(eta=0.3), "semantic", g, seen(eps))
    exploding = move(Config(eta=0.3), "semantic", g / 5, seen(eps, here=Level(3.0, 4.0), there=Level(4.0, 3.0)))
    torch.testing.assert_close(5 * preserving.displacement, exploding.displacement)
    torch.testing.assert_close(preserving.size, exploding.size)


def test_a_vanishing_gradient_cannot_make_the_step_explode():
    g, eps = torch.full((1, 4), 1e-12), torch.ones(1, 4)
    made = move(Config(eta=1.0, damping=0.0, max_step=0.25, eta_steps=None), "semantic", g, seen(eps))
    assert made.length.item() == norms(made.displacement).item() == pytest.approx(0.5)


@pytest.mark.parametrize("max_step", [None, 0.01])
def test_a_stage_moves_as_far_whatever_the_steps(max_step):
    g, eps = torch.randn(2, 1, 4, 4, 4)
    lengths = {}
    for steps in (5, 12, 25, 100):
        config = Config(eta=0.3, damping=0.0, max_step=max_step)
        now = [dataclasses.replace(seen(eps), timestep=Timestep(i, steps, 500.0, HERE, THERE, i / steps)) for i in range(steps)]
        lengths[steps] = sum(move(config, "semantic", g, one).length.item() for one in now)
        plain = move(dataclasses.replace(config, eta_steps=None), "semantic", g, now[0]).length.item()
        assert steps != 25 or lengths[steps] == pytest.approx(25 * plain)
    assert lengths[12] == pytest.approx(lengths[25]) == pytest.approx(lengths[100])
    assert lengths[5] == pytest.approx(0.5 * lengths[25])  # no step is more than 2.5 times as long
    # The last 10 of 25 steps, as with img2img.
    part = dataclasses.replace(seen(eps), timestep=Timestep(3, 10, 500.0, HERE, THERE, 18 / 25))
    assert move(Config(eta=0.3, damping=0.0, max_step=max_step), "semantic", g, part).length.item() == pytest.approx(lengths[25] / 25)


def test_failures_are_told_apart_and_do_not_move():
    g = torch.tensor([[1.0, 2.0], [float("nan"), 1.0], [float("inf"), 0.0], [0.0, 0.0]])
    assert list(map(failure, norms(g).tolist())) == [None, "nan", "infinite", "zero"]
    assert usable(norms(g)).tolist() == [True, False, False, False]
    made = move(Config(eta=1.0, **PLAIN), "semantic", g, seen(torch.ones(4, 2)))
    assert made.displacement.isfinite().all()
    assert made.length.gt(0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("settings", [{}, PLAIN, {"max_step": None}, {"damping": 0.0}, {"step_rule": "residual"}])
def test_gradients_whose_norm_leaves_float32_do_not_move(settings):
    g, eps, residual = torch.randn(3, 4, 4, 8, 8)
    g = g * torch.tensor([1e-40, 1e-25, 1e20, 1e37]).view(4, 1, 1, 1)
    made = move(Config(eta=0.3, **settings), "semantic", g, seen(eps, residual))
    assert not made.displacement.any() and not made.length.any()
    assert list(map(failure, made.size.tolist())) == ["zero", "zero", "infinite", "infinite"]


@pytest.mark.parametrize("size", [1e-18, 1e-15, 1e15, 1e18])
def test_the_smallest_and_largest_gradients_that_move_go_no_further_than_their_length(size):
    g, eps = torch.randn(2, 1, 4, 8, 8)
    made = move(Config(eta=0.3), "semantic", size * g / g.norm(), seen(eps))
    capped = move(Config(eta=0.3, damping=0.0), "semantic", size * g / g.norm(), seen(eps))
    for one in (made, capped):
        torch.testing.assert_close(norms(one.displacement), one.length)
        assert one.length.isfinite().all() and one.length < 2.5 * 0.06 * norms(eps) * 1.001


def test_damping_fades_a_step_whose_gradient_vanishes():
    size = torch.tensor([10.0, 0.1, 1e-4])
    length = damped(torch.ones(3), size, 0.1)
    torch.testing.assert_close(length, torch.tensor([1.0, 0.5, 1e-6]), atol=1e-3, rtol=1e-3)
    assert torch.equal(damped(torch.ones(3), size, 0.0), torch.ones(3))
