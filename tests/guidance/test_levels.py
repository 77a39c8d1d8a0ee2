import pytest
import torch

from dymo.guidance.levels import Level, at_resolution, noisy_step, predict_noise, predict_z0, renoise

LEVELS = [Level(0.9, (1 - 0.81) ** 0.5), Level(0.1, 0.99**0.5), Level(1.0, 3.0), Level(1.0, 0.05)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "trigflow"])
def test_a_true_prediction_gives_back_the_clean_latent_and_the_noise(level, kind):
    z0, eps = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64)
    z = level.a * z0 + level.s * eps
    a, s = level.a / level.radius, level.s / level.radius
    output = {"epsilon": eps, "v_prediction": a * eps - s * z0, "sample": z0, "trigflow": level.a * eps - level.s * z0}[kind]
    torch.testing.assert_close(predict_z0(z, output, level, kind), z0)
    torch.testing.assert_close(predict_noise(z, output, level, kind), eps)


@pytest.mark.parametrize(("here", "there"), [(LEVELS[0], LEVELS[1]), (LEVELS[3], LEVELS[2])])
def test_renoising_a_gaussian_gives_the_noisier_level_s_own_law(here, there):
    """z0 ~ N(m, c^2): z_here renoised must have z_there's mean a m and variance a^2 c^2 + s^2."""
    generator, n, m, c = torch.Generator().manual_seed(0), 400_000, 1.5, 0.7
    draw = lambda: torch.randn(n, generator=generator, dtype=torch.float64)  # noqa: E731
    z = renoise(here.a * (m + c * draw()) + here.s * draw(), here, there, draw())
    variance = there.a**2 * c**2 + there.s**2
    assert abs(z.mean() - there.a * m) < 5 * (variance / n) ** 0.5
    assert abs(z.var() - variance) < 5 * variance * (2 / n) ** 0.5


FLOWS = [Level(0.2, 0.8), Level(0.6, 0.4)]


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("here", "there"), [(LEVELS[1], LEVELS[0]), (LEVELS[2], LEVELS[3]), FLOWS])
def test_a_noisy_step_from_true_predictions_gives_the_cleaner_level_s_own_law(here, there, eta):
    """And at eta 1 what is kept of z_here's noise is what the posterior of z_there given z_here and z0 keeps."""
    generator, n = torch.Generator().manual_seed(0), 400_000
    z0, eps, noise = torch.randn(3, n, generator=generator, dtype=torch.float64)
    z = noisy_step(z0, eps, here, there, eta, noise)
    covariance = torch.cov(torch.stack([z, z0, eps]))
    assert covariance[0, 0] == pytest.approx(there.a**2 + there.s**2, rel=0.01)
    assert covariance[0, 1] == pytest.approx(there.a, abs=0.01)
    if eta == 1:
        # cov(z_there, z_here | z0) = s_there^2 a_here / a_there, of the forward kernel.
        assert covariance[0, 2] * here.s == pytest.approx(there.s**2 * here.a / there.a, abs=0.01)
    if eta == 0:
        assert torch.equal(z, there.a * z0 + there.s * eps)


def test_a_flow_s_prediction_is_the_noise_less_the_image():
    z0, eps = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64)
    for level in FLOWS:
        z = level.a * z0 + level.s * eps
        torch.testing.assert_close(predict_z0(z, eps - z0, level, "flow_prediction"), z0)
        torch.testing.assert_close(predict_noise(z, eps - z0, level, "flow_prediction"), eps)


def test_renoising_composes():
    """s -> t -> u has the variance of s -> u."""
    a, b, c = Level(0.9, 0.19**0.5), Level(0.5, 0.75**0.5), Level(0.1, 0.99**0.5)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    kernel = lambda x, y: (renoise(one, x, y, zero).item(), renoise(zero, x, y, one).item())  # noqa: E731
    (r1, s1), (r2, s2), (r, s) = kernel(a, b), kernel(b, c), kernel(a, c)
    assert r1 * r2 == pytest.approx(r)
    assert (r2 * s1) ** 2 + s2**2 == pytest.approx(s**2)


def test_renoising_to_the_same_level_changes_nothing():
    z = torch.randn(3)
    assert torch.equal(renoise(z, LEVELS[0], LEVELS[0], torch.randn(3)), z)


def test_a_flow_s_velocity_gives_back_noise_and_image():
    z0, eps = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for s in (1.0, 0.6, 0.01):
        level = Level(1 - s, s)
        z, v = level.a * z0 + s * eps, eps - z0
        for kind, output in {"flow_prediction": v, "reversed_flow_prediction": -v}.items():
            torch.testing.assert_close(predict_z0(z, output, level, kind), z0, atol=1e-5, rtol=0)
            torch.testing.assert_close(predict_noise(z, output, level, kind), eps, atol=1e-5, rtol=0)


def test_a_level_at_another_resolution_is_the_shift_undone():
    for s in (0.05, 0.5, 0.911, 1.0):
        for side in (32, 64, 128):
            alpha, found = side / 64, at_resolution(Level(1 - s, s), side * side)
            assert alpha * found.s / (1 + (alpha - 1) * found.s) == pytest.approx(s)
            assert found.a == pytest.approx(1 - found.s)
    # SD's t = 800 is s = .836 of a flow, and at 128 x 128 latents .911.
    assert at_resolution(Level(1 - 0.911, 0.911), 128 * 128).s == pytest.approx(0.836, abs=1e-3)
