"""The KL bound: an equality for true scores, strict for other fields, against closed forms and Lyapunov's equation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

import gahb
from gahb.measure.kl import cached, gaussian_divergence, quadrature_weights

F64 = torch.float64
ID = torch.eye(2, dtype=F64)
MEAN, COVARIANCE = torch.tensor([0.3, -0.2], dtype=F64), torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=F64)
OTHER_MEAN, OTHER = torch.zeros(2, dtype=F64), torch.tensor([[0.5, -0.2], [-0.2, 0.9]], dtype=F64)
TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64)
LOW, HIGH = 0.05, 10.0


def levels(count: int, low: float = LOW, high: float = HIGH) -> list[float]:
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=F64).tolist()


def normal(n: int, mean=MEAN, covariance=COVARIANCE, seed: int = 0) -> torch.Tensor:
    z = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=F64)
    return mean + z @ torch.linalg.cholesky(covariance).T


def gaussian_pair():
    return gahb.Gaussian(OTHER_MEAN, OTHER), gahb.Gaussian(MEAN, COVARIANCE)


def gain(covariance: torch.Tensor, sigma: float) -> torch.Tensor:
    return covariance @ torch.linalg.inv(covariance + sigma**2 * ID)


# --- two Gaussians -------------------------------------------------------------------------


def expected_distance(sigma: float) -> float:
    """E‖f − f*‖² for y ~ N(μ, C + σ²), both denoisers affine: tr(D S Dᵀ) + ‖f(μ) − μ‖²."""
    D = gain(OTHER, sigma) - gain(COVARIANCE, sigma)
    shift = OTHER_MEAN + gain(OTHER, sigma) @ (MEAN - OTHER_MEAN) - MEAN
    return (torch.trace(D @ (COVARIANCE + sigma**2 * ID) @ D.T) + shift.square().sum()).item()


def test_two_gaussians_the_bound_is_the_divergence():
    """The expectation over y in closed form, adaptive quadrature and the weights of kl_bound over all σ: to 1e-6."""
    exact = gaussian_divergence(MEAN, COVARIANCE, OTHER_MEAN, OTHER)
    integrand = lambda u: expected_distance(math.exp(u)) * math.exp(-2 * u)  # noqa: E731
    adaptive, error = quad(integrand, -12, 12, epsabs=1e-10, limit=200)
    assert error < 1e-7 and abs(adaptive - exact) < 1e-6
    sigmas = torch.tensor(levels(1001, 1e-5, 1e5), dtype=F64)
    values = torch.tensor([integrand(u) for u in sigmas.log().tolist()], dtype=F64)
    assert abs((quadrature_weights(sigmas) @ values).item() - exact) < 1e-6


@pytest.mark.parametrize("images", [False, True])
def test_two_gaussians_measured(images):
    """Between two levels the integral is the difference of the divergences there, within 3 standard errors."""
    x = normal(4000)
    x = x.reshape(-1, 1, 1, 2) if images else x
    bound = gahb.kl_bound(*gaussian_pair(), x, levels(41), batch=4000)
    pair = (MEAN, COVARIANCE, OTHER_MEAN, OTHER)
    exact = gaussian_divergence(*pair, LOW) - gaussian_divergence(*pair, HIGH)
    assert abs(bound.value - exact) < 3 * bound.stderr < 0.1 * exact
    for k in range(0, 41, 8):
        expected = expected_distance(bound.sigmas[k].item()) / bound.sigmas[k] ** 2
        assert abs(bound.by_sigma[k] - expected) < 4 * bound.by_sigma_stderr[k]
    assert abs(bound.excess - exact) < 3 * bound.excess_stderr


def test_the_standard_error_is_the_spread_over_repetitions():
    """300 bounds of 50 points: the spread of the values is the mean standard error, within 15 %; so for the excess."""
    f, best = gaussian_pair()
    runs = [gahb.kl_bound(f, best, normal(50, seed=k), levels(9), seed=1000 + k) for k in range(300)]
    for value, stderr in (("value", "stderr"), ("excess", "excess_stderr")):
        values, errors = (torch.tensor([getattr(run, name) for run in runs]) for name in (value, stderr))
        assert abs(values.std() / errors.mean() - 1) < 0.15


def test_excess_and_distance_agree_for_the_optimum_and_only_for_it():
    """Orthogonality tests f*: the paired gap vanishes, and does not for an impostor half-way to f."""
    f, best = gaussian_pair()
    x = normal(4000)

    def gap(optimal):
        bound = gahb.kl_bound(f, optimal, x, levels(13), batch=4000)
        paired = quadrature_weights(bound.sigmas) @ (bound.excess_per_image - bound.per_image)
        return paired.mean().item() / (paired.std().item() / math.sqrt(len(paired)))

    assert abs(gap(best)) < 3
    assert abs(gap(lambda y, sigma: (f(y, sigma) + best(y, sigma)) / 2)) > 10


@pytest.mark.parametrize("count", [5, 8, 9, 16, 17, 33])
def test_halving_the_grid_changes_less_than_the_stated_error(count):
    x = normal(500)
    bound = gahb.kl_bound(*gaussian_pair(), x, levels(count))
    finer = gahb.kl_bound(*gaussian_pair(), x, levels(2 * count - 1))
    assert abs(finer.value - bound.value) < bound.quadrature
    assert count < 33 or bound.quadrature < 1e-3 * bound.value


def test_a_falling_grid_is_the_rising_one_turned():
    x, sigmas = normal(50), levels(9)
    up, down = gahb.kl_bound(*gaussian_pair(), x, sigmas), gahb.kl_bound(*gaussian_pair(), x, sigmas[::-1])
    assert up.value > 0 and abs(up.value - down.value) < 1e-12 and abs(up.quadrature - down.quadrature) < 1e-12
    torch.testing.assert_close(up.by_sigma, down.by_sigma.flip(0), rtol=0, atol=0)


@settings(max_examples=50)
@given(st.lists(st.floats(0.1, 1.0), min_size=2, max_size=15), st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_quadrature_weights_are_exact_for_parabolas_in_log_sigma(steps, a, b, c):
    """In any spacing: a parabola from 1 to σ_max integrates exactly."""
    u = torch.tensor([0.0, *steps], dtype=F64).cumsum(0)
    exact = a * u[-1] + b * u[-1] ** 2 / 2 + c * u[-1] ** 3 / 3
    assert abs(quadrature_weights(u.exp()) @ (a + b * u + c * u**2) - exact) < 1e-7 * (1 + u[-1] ** 3)


def test_parts_of_the_range_add_up():
    bound = gahb.kl_bound(*gaussian_pair(), normal(50), levels(9, 0.01, 1.0))
    low, high = bound.between(high=0.1), bound.between(low=0.1)
    torch.testing.assert_close(low + high, bound.between(), rtol=1e-12, atol=0)
    assert abs(low.mean() + high.mean() - bound.value) < 1e-12 and low.mean() < high.mean()
    torch.testing.assert_close(bound.between(1e-3, 2.0), bound.between(), rtol=0, atol=0)


@pytest.mark.parametrize("falling", [False, True])
def test_parts_may_end_between_two_levels(falling):
    """As on a grid that has those ends, up to the curvature between two levels."""
    grid, pair, x = torch.tensor(levels(33, 0.01, 1.0)), gaussian_pair(), normal(50)
    bound = gahb.kl_bound(*pair, x, grid.flip(0) if falling else grid)
    finer = gahb.kl_bound(*pair, x, torch.tensor(sorted([*grid.tolist(), 0.03, 0.4])))
    exact, found = finer.between(0.03, 0.4), bound.between(0.03, 0.4)
    torch.testing.assert_close(found.mean(), exact.mean(), rtol=2e-3, atol=0)
    parts = bound.between(high=0.03) + found + bound.between(low=0.4)
    torch.testing.assert_close(parts.mean(), bound.between().mean(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("ends", [(-0.1, 1.0), (0.4, 0.1), (math.nan, 1.0), (0.1, math.nan)])
def test_parts_refuse_what_is_no_range(ends):
    bound = gahb.kl_bound(*gaussian_pair(), normal(4), levels(5))
    with pytest.raises(ValueError, match=f"0 ≤ low ≤ high, got {ends[0]!r} and {ends[1]!r}"):
        bound.between(*ends)


def test_parts_of_no_width_or_outside_the_levels_are_nothing():
    bound = gahb.kl_bound(*gaussian_pair(), normal(4), levels(5, 0.01, 1.0))
    for ends in ((0.3, 0.3), (0.0, 0.005), (0.0, 0.0), (2.0, math.inf)):
        assert torch.equal(bound.between(*ends).abs(), torch.zeros(4, dtype=F64))


# --- means of several denoisers ------------------------------------------------------------


def test_the_mean_of_two_denoisers_is_the_mean_of_their_integrals():
    """Value, excess and integrand are means; the standard error is that of paired images."""
    (f, best), x, sigmas = gaussian_pair(), normal(40), levels(9)
    runs = [gahb.kl_bound(g, best, x, sigmas) for g in (f, lambda y, sigma: y / 2)]
    mean = runs[0].averaged(runs[1])
    for name in ("value", "excess", "by_sigma", "excess_by_sigma", "per_image", "excess_per_image"):
        assert getattr(mean, name) == pytest.approx((getattr(runs[0], name) + getattr(runs[1], name)) / 2, rel=1e-12)
    paired = (runs[0].between() + runs[1].between()) / 2
    assert mean.stderr == pytest.approx(paired.std().item() / math.sqrt(40), rel=1e-9)
    alone = runs[0].averaged()
    assert (alone.value, alone.stderr, alone.quadrature) == (runs[0].value, runs[0].stderr, runs[0].quadrature)


def test_means_refuse_other_levels_or_images():
    pair, x = gaussian_pair(), normal(6)
    bound = gahb.kl_bound(*pair, x, levels(5))
    for other in (gahb.kl_bound(*pair, x, levels(5, 0.1)), gahb.kl_bound(*pair, x[:4], levels(5))):
        with pytest.raises(ValueError, match="others must have these 5 levels and 6 images, got 5 levels"):
            bound.averaged(other)


# --- two mixtures --------------------------------------------------------------------------


def test_two_mixtures_the_bound_is_the_divergence():
    """Both are true scores: bound = KL at the lowest level − KL at the highest, by Monte Carlo, within 3 s.e."""
    p = gahb.GaussianMixture([0.6, 0.4], [[-1.0, 0.0], [1.0, 0.5]], torch.stack([0.1 * ID, 0.05 * COVARIANCE]))
    q = gahb.GaussianMixture([0.3, 0.7], [[-0.8, 0.3], [0.9, 0.2]], torch.stack([0.2 * ID, 0.1 * ID]))
    bound = gahb.kl_bound(q, p, p.sample(4000, seed=0), levels(33), batch=4000)
    x = p.sample(40_000, seed=1)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    low, high = (p.log_density(x + s * z, s) - q.log_density(x + s * z, s) for s in (LOW, HIGH))
    divergence, stderr = (low - high).mean().item(), ((low - high).std() / 200).item()
    assert abs(bound.value - divergence) < 3 * math.hypot(bound.stderr, stderr) < 0.15 * divergence


# --- fields that are no scores of one density --------------------------------------------------


def drifting(sigma: float) -> torch.Tensor:
    """At each σ the optimal denoiser of some Gaussian, and symmetric; but of another one at every σ."""
    return gain((1 + 0.8 * math.sin(2 * math.log(sigma))) * OTHER, sigma)


def swirling(sigma: float) -> torch.Tensor:
    """Not symmetric, so not the gradient of anything."""
    return gain(OTHER, sigma) + 0.8 * sigma**2 / (1 + sigma**2) ** 2 * TURN


def faithful(sigma: float) -> torch.Tensor:
    return gain(OTHER, sigma)


def model_covariances(field, sigmas: np.ndarray) -> np.ndarray:
    """Σ of the reverse SDE at falling σ: −dΣ/dt = MΣ + ΣMᵀ + Id with t = σ², M = (A − Id)/t; OTHER + t at first."""

    def rate(u, flat):
        sigma = math.exp(u)
        M = field(sigma).numpy() - np.eye(2)
        S = flat.reshape(2, 2)
        return -2 * (M @ S + S @ M.T + sigma**2 * np.eye(2)).ravel()

    start = (OTHER + sigmas[0] ** 2 * ID).numpy().ravel()
    u = np.log(sigmas)
    run = solve_ivp(rate, (u[0], u[-1]), start, t_eval=u, method="DOP853", rtol=1e-11, atol=1e-13)
    return run.y.T.reshape(-1, 2, 2)


def ledger(field, count: int = 801):
    """Bound, divergence of the model, and ∫E‖f − f_q‖²σ⁻³dσ with f_q from the scores of the model's own marginals."""
    sigmas = np.array(levels(count))[::-1].copy()
    S = torch.from_numpy(model_covariances(field, sigmas))
    distance, slack = [], []
    for sigma, model in zip(sigmas.tolist(), S):
        A, noisy = field(sigma), COVARIANCE + sigma**2 * ID
        D, E = A - gain(COVARIANCE, sigma), A - (ID - sigma**2 * torch.linalg.inv(model))
        distance.append(torch.trace(D @ noisy @ D.T) / sigma**2)
        slack.append(torch.trace(E @ noisy @ E.T) / sigma**2)
    weights = quadrature_weights(torch.from_numpy(sigmas))
    zero = torch.zeros(2, dtype=F64)
    ends = [gaussian_divergence(zero, COVARIANCE + sigmas[k] ** 2 * ID, zero, S[k]) for k in (0, -1)]
    bound = ends[0] + (weights @ torch.stack(distance)).item()
    return bound, ends[1], (weights @ torch.stack(slack)).item()


def test_a_linear_score_is_no_stricter_than_its_divergence():
    bound, divergence, slack = ledger(faithful)
    assert abs(bound - divergence) < 1e-7 and slack < 1e-12 and divergence > 0.5


@pytest.mark.parametrize("field", [drifting, swirling])
def test_the_bound_is_strict_for_other_fields(field):
    """By the slack that the identity of chapter 2 says: the field's distance to the scores of its own marginals."""
    bound, divergence, slack = ledger(field)
    assert bound > divergence + 0.05 and divergence > 0.1
    assert abs(bound - divergence - slack) < 1e-6


@pytest.mark.parametrize("field", [drifting, swirling])
def test_the_bound_is_measured_for_other_fields(field):
    zero = torch.zeros(2, dtype=F64)
    x, best = normal(4000, mean=zero), gahb.Gaussian(zero, COVARIANCE)
    bound = gahb.kl_bound(lambda y, sigma: y @ field(sigma).T, best, x, levels(41), batch=4000)
    exact = ledger(field)[0] - gaussian_divergence(zero, COVARIANCE, zero, OTHER, HIGH)
    assert abs(bound.value - exact) < 3 * bound.stderr < 0.1 * exact


def test_the_model_of_a_swirling_field_is_what_its_reverse_diffusion_makes():
    """Lyapunov against 20,000 paths by Euler's rule, 800 steps: covariances within 4 s.e. and the step's 2 %."""
    sigmas = np.array(levels(801))[::-1].copy()
    generator = torch.Generator().manual_seed(0)
    y = normal(20_000, torch.zeros(2, dtype=F64), OTHER + HIGH**2 * ID)
    for sigma, following in zip(sigmas[:-1].tolist(), sigmas[1:].tolist()):
        dt = sigma**2 - following**2
        drift = (y @ swirling(sigma).T - y) / sigma**2
        y = y + dt * drift + math.sqrt(dt) * torch.randn(y.shape, generator=generator, dtype=F64)
    exact = torch.from_numpy(model_covariances(swirling, sigmas)[-1])
    scale = torch.outer(exact.diagonal(), exact.diagonal()).sqrt()
    assert ((y.T @ y / len(y) - exact).abs() / scale).max() < 4 * math.sqrt(2 / len(y)) + 0.02


# --- Gaussians apart -----------------------------------------------------------------------


def test_gaussian_divergence_is_the_one_of_torch():
    law = torch.distributions.MultivariateNormal
    expected = torch.distributions.kl_divergence(law(MEAN, COVARIANCE + 0.04 * ID), law(OTHER_MEAN, OTHER + 0.04 * ID))
    assert abs(gaussian_divergence(MEAN, COVARIANCE, OTHER_MEAN, OTHER, 0.2) - expected.item()) < 1e-12
    as_image = (MEAN.reshape(1, 1, 2), COVARIANCE, OTHER_MEAN.reshape(1, 1, 2), OTHER)
    assert abs(gaussian_divergence(*as_image, 0.2) - expected.item()) < 1e-12
    assert gaussian_divergence(MEAN, COVARIANCE, MEAN, COVARIANCE) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(covariance=torch.eye(3)), r"covariance must be \(2, 2\), as the mean has 2 values, got \(3, 3\)"),
        (dict(other_covariance=torch.zeros(2, 2)), "other_covariance .* must be positive definite, at sigma = 0"),
        (dict(other_mean=torch.zeros(3)), "other_mean must have 2 values, as mean has, got 3"),
        (dict(sigma=-1.0), "sigma must be a number ≥ 0, got -1.0"),
        (dict(sigma=math.nan), "sigma must be a number ≥ 0, got nan"),
    ],
)
def test_gaussian_divergence_refuses(change, message):
    given = dict(mean=MEAN, covariance=COVARIANCE, other_mean=OTHER_MEAN, other_covariance=OTHER)
    with pytest.raises(ValueError, match=message):
        gaussian_divergence(**{**given, **change})


# --- behaviour -----------------------------------------------------------------------------


def test_cached_asks_once_for_the_same_points():
    asked = []

    def denoiser(y, sigma=None):
        asked.append(sigma)
        return y / 2

    kept, x = cached(denoiser), normal(20)
    runs = [gahb.kl_bound(lambda y, sigma: y, kept, x, levels(3), batch=10) for _ in range(2)]
    assert runs[0].value == runs[1].value and len(asked) == 6
    assert torch.equal(kept(x, 0.5), x / 2) and torch.equal(kept(x.float(), 0.5), x.float() / 2)
    kept(x, 0.7)
    assert len(asked) == 9


def test_the_noise_is_the_seed_s_and_batches_change_nothing():
    x, pair, sigmas = normal(21), gaussian_pair(), levels(5)
    first = gahb.kl_bound(*pair, x, sigmas, seed=3)
    again = gahb.kl_bound(*pair, x, sigmas, seed=3, batch=4)
    torch.testing.assert_close(again.per_image, first.per_image, rtol=1e-12, atol=0)
    assert again.value == pytest.approx(first.between().mean().item(), rel=1e-12)
    assert again.stderr == pytest.approx(first.between().std().item() / math.sqrt(21), rel=1e-12)
    assert first.value != gahb.kl_bound(*pair, x, sigmas, seed=4).value
    assert math.isnan(gahb.kl_bound(*pair, x[:1], sigmas).stderr)


def test_measuring_leaves_everything_as_it_was():
    network, x = gahb.UNet(4, 1).eval(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    rng = torch.get_rng_state()
    bound = gahb.kl_bound(network, gahb.Wiener(x), x, [0.1, 0.2, 0.4])
    assert torch.equal(rng, torch.get_rng_state()) and torch.is_grad_enabled() and not network.training
    assert all(p.grad is None for p in network.parameters())
    assert bound.value > 0 and not bound.per_image.requires_grad


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(sigmas=[0.1, 0.2]), ValueError, r"sigmas must be three or more positive levels, .* got \[0.1, 0.2\]"),
        (dict(sigmas=[0.1, 0.3, 0.2]), ValueError, "sigmas must be three or more positive levels, rising or falling"),
        (dict(sigmas=[0.1, 0.1, 0.2]), ValueError, "sigmas must be three or more positive levels, rising or falling"),
        (dict(sigmas=[0.0, 0.1, 0.2]), ValueError, r"sigmas must be .* got \[0.0, 0.1, 0.2\]"),
        (dict(sigmas=[0.1, 0.2, math.nan]), ValueError, "sigmas must be .* nan"),
        (dict(sigmas=[0.1, 0.2, math.inf]), ValueError, "sigmas must be .* inf"),
        (dict(sigmas=0.1), TypeError, "sigmas must be a sequence of noise levels, got 0.1"),
        (dict(images=MEAN), ValueError, "images must have a batch axis"),
        (dict(images=torch.zeros(0, 2)), ValueError, r"images must be \(n, …\) with n ≥ 1, got shape \(0, 2\)"),
        (dict(batch=0), ValueError, "batch must be an integer of at least 1, got 0"),
        (dict(denoiser=gahb.UNet(4, 1)), ValueError, "denoiser is in training mode"),
        (dict(optimal=gahb.UNet(4, 1)), ValueError, "optimal is in training mode"),
    ],
)
def test_refuses(change, error, message):
    f, best = gaussian_pair()
    given = dict(denoiser=f, optimal=best, images=normal(4), sigmas=[0.1, 0.2, 0.4])
    with pytest.raises(error, match=message):
        gahb.kl_bound(**{**given, **change})
