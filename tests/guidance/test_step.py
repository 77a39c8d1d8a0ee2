import pytest
import torch

from dymo.guidance.step import damped, failures, move, norms, polyak_length, residual_length


def test_the_polyak_step_is_equation_7():
    g, eps = torch.randn(2, 3, 4, 4, 4)
    made = move(g, polyak_length(0.3, eps, norms(g)), torch.full((3,), 1e9), torch.ones(3, dtype=torch.bool))
    expected = -0.3 * (norms(eps) / norms(g) ** 2).view(3, 1, 1, 1) * g
    torch.testing.assert_close(made.displacement, expected)


def test_the_reference_s_step_has_the_residual_s_length():
    g, residual = torch.randn(2, 3, 4, 4, 4)
    made = move(g, residual_length(1.5, residual), torch.full((3,), 1e9), torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(norms(made.displacement), 1.5 * norms(residual))
    cosine = torch.nn.functional.cosine_similarity(made.displacement.flatten(1), g.flatten(1))
    torch.testing.assert_close(cosine, -torch.ones(3))


def test_a_vanishing_gradient_cannot_make_the_step_explode():
    g = torch.full((1, 4), 1e-12)
    made = move(g, polyak_length(1.0, torch.ones(1, 4), norms(g)), torch.tensor([0.5]), torch.tensor([True]))
    assert made.length.item() == norms(made.displacement).item() == pytest.approx(0.5)


def test_failures_are_told_apart_and_do_not_move():
    g = torch.tensor([[1.0, 2.0], [float("nan"), 1.0], [float("inf"), 0.0], [0.0, 0.0]])
    why = failures(g)
    assert why == [None, "nan", "infinite", "zero"]
    usable = torch.tensor([w is None for w in why])
    made = move(g, polyak_length(1.0, torch.ones(4, 2), norms(g)), torch.full((4,), 9.0), usable)
    assert made.displacement.isfinite().all()
    assert made.length.gt(0).tolist() == [True, False, False, False]


def test_damping_fades_a_step_whose_gradient_vanishes():
    size = torch.tensor([10.0, 0.1, 1e-4])
    length = damped(torch.ones(3), size, 0.1)
    torch.testing.assert_close(length, torch.tensor([1.0, 0.5, 1e-6]), atol=1e-3, rtol=1e-3)
    assert torch.equal(damped(torch.ones(3), size, 0.0), torch.ones(3))
