"""The optimal C^α denoiser against the images themselves, against theory, and under the contract."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import jacfwd, jacrev, jvp, vjp, vmap

import gahb
from gahb.images import c_alpha

F64 = torch.float64


def noisy(n: int, size: int, sigma: float, *, alpha: float = 2.0, seed: int = 7):
    x = c_alpha(n, size, alpha, seed=seed).double()
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return x, x + sigma * z


# --- against brute force ------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "sigma", "convention"), [(1.0, 0.5, "holder"), (2.0, 1.0, "spectral")])
def test_brute_force_by_the_images_themselves(alpha, sigma, convention):
    """Thousands of images of the class, clipped as they are, are weighed by their likelihood."""
    images = c_alpha(3000, 4, alpha, convention=convention).double().flatten(1)
    _, y = noisy(2, 4, sigma, alpha=alpha)
    found = gahb.OptimalCAlpha(4, alpha, convention=convention).integrate(y, sigma)
    log = -torch.cdist(y.flatten(1), images).square() / (2 * sigma**2)
    weights = log.softmax(dim=1)
    mean = weights @ images
    variance = (weights @ images.square() - mean.square()).sum(dim=1)
    brute_force = 1 / weights.square().sum(dim=1)  # effective number of images
    assert brute_force.min() > 200
    error = (found.mean.flatten(1) - mean).square().sum(dim=1)
    assert (error / variance < 0.03 + 3 / brute_force).all()
    assert (error / variance).mean() < 0.015
    torch.testing.assert_close(16 * found.variance, variance, rtol=0.2, atol=0)


# --- against theory -----------------------------------------------------------------------


def test_stein_and_orthogonality():
    """Over images and noise: MSE = posterior variance = Stein's estimate, and E⟨x − f*, g(y)⟩ = 0 for any g."""
    n, size, sigma = 10, 6, 0.3
    x, y = noisy(n, size, sigma)
    f = gahb.OptimalCAlpha(size, 2.0, accuracy=0.05)
    found = f.integrate(y, sigma)
    error = (found.mean - x).square().flatten(1).mean(dim=1)
    stein = (found.mean - y).square().flatten(1).mean(dim=1) - sigma**2 + 2 * found.variance
    for estimate in (found.variance, stein):
        difference = estimate - error
        assert difference.mean().abs() < 3 * difference.std() / math.sqrt(n)
    linear = gahb.Gaussian.of(c_alpha(2000, size, 2.0, seed=8))
    for g in (found.mean, y, linear(y, sigma)):
        product = ((x - found.mean) * (g - 0.5)).flatten(1).sum(dim=1)
        assert product.mean().abs() < 3 * product.std() / math.sqrt(n)
    assert error.mean() < (linear(y, sigma) - x).square().mean()


def test_integration_error():
    """It is as small as asked for, and another pair of runs agrees."""
    _, y = noisy(1, 16, 0.05, alpha=4.0)  # first on pixels of twice the side
    found = gahb.OptimalCAlpha(16, 4.0).integrate(y, 0.05)
    other = gahb.OptimalCAlpha(16, 4.0, seed=1).integrate(y, 0.05)
    assert found.error < 0.01 * found.variance
    assert (found.mean - other.mean).square().mean() < 4 * (found.error + other.error)  # 1 × in expectation


# --- the Jacobian -------------------------------------------------------------------------


def test_jacobian_products():
    sigma, d = 0.3, 16
    _, y = noisy(1, 4, sigma)
    f = gahb.OptimalCAlpha(4, 2.0)
    J = torch.stack([jacrev(lambda u: f(u[None], sigma)[0])(row).reshape(d, d) for row in y])
    assert (J - J.mT).norm() < 1e-10 * J.norm()
    assert torch.linalg.eigvalsh(J).min() > -1e-10
    trace = sigma**2 * J.diagonal(dim1=1, dim2=2).sum(dim=1) / d
    torch.testing.assert_close(trace, f.integrate(y, sigma).variance, rtol=0.1, atol=0)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    expected = torch.einsum("bij,bj->bi", J, v.flatten(1)).reshape(v.shape)
    _, pull = vjp(lambda u: f(u, sigma), y)
    products = {"forward": jvp(lambda u: f(u, sigma), (y,), (v,))[1], "reverse": pull(v)[0]}
    for name, product in products.items():
        assert (product - expected).norm() < 1e-10 * expected.norm(), name


def test_jacobian_against_brute_force():
    """The posterior covariance over σ², from the images themselves."""
    images = c_alpha(3000, 4, 2.0).double().flatten(1)
    _, y = noisy(1, 4, 1.0)
    J = vmap(jacfwd(lambda u: gahb.OptimalCAlpha(4, 2.0)(u[None], 1.0)[0].flatten()))(y).reshape(16, 16)
    weights = (-(y.flatten(1) - images).square().sum(dim=1) / 2).softmax(dim=0)
    away = images - weights @ images
    covariance = (weights[:, None] * away).T @ away
    assert (J - covariance).norm() < 0.25 * covariance.norm()  # some 700 contours against some 1,500 images


def test_what_is_not_differentiated_says_so():
    _, y = noisy(1, 4, 1.0)
    f = gahb.OptimalCAlpha(4, 2.0)
    with pytest.raises(NotImplementedError, match="in sigma"):
        jvp(lambda s: f(y, s), (torch.tensor([0.3], dtype=F64),), (torch.ones(1, dtype=F64),))


# --- the contract -------------------------------------------------------------------------


def test_shapes_dtypes_and_one_noise_level_an_image():
    _, y = noisy(2, 4, 0.5)
    f, levels = gahb.OptimalCAlpha(4), torch.tensor([0.2, 0.9])
    together = f(y, levels)
    alone = torch.cat([f(row, float(level.double())) for row, level in zip(y.split(1), levels)])
    assert torch.equal(together, alone)
    single = f(y[:1].float().flatten(1), levels[:1])
    assert single.dtype == torch.float32 and single.shape == (1, 16)
    assert f(y[:0], 0.2).shape == (0, 1, 4, 4)
    found = f.integrate(y, levels)
    assert torch.equal(found.mean, together) and found.error.shape == found.variance.shape == (2,)
    assert gahb.OptimalCAlpha().d == 32**2


@pytest.mark.parametrize("sigma", [1e-3, 30.0])
def test_almost_no_noise_and_almost_nothing_else(sigma):
    """f* tends to y, and to the mean of the class, which is ½."""
    _, y = noisy(1, 8, sigma)
    out = gahb.OptimalCAlpha(8)(y, sigma)
    if sigma < 1:
        assert (out - y).square().mean() < 2 * sigma**2
    else:
        assert (out - 0.5).abs().max() < 0.1


def test_points_that_are_no_image():
    f = gahb.OptimalCAlpha(4)
    out = f(torch.full((1, 1, 4, 4), 50.0), 0.5)
    assert out.isfinite().all() and out.min() > 0.5
    assert f(torch.full((1, 1, 4, 4), torch.nan), 0.1).isnan().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gahb.OptimalCAlpha(3), "size must be an integer of at least 4, got 3"),
        (lambda: gahb.OptimalCAlpha(8, 0.0), "alpha must be a positive number"),
        (lambda: gahb.OptimalCAlpha(8, 2.0, convention="other"), "convention must be"),
        (lambda: gahb.OptimalCAlpha(8, 2.0, accuracy=0.0), "accuracy must be between 0 and 1"),
        (lambda: gahb.OptimalCAlpha(4)(torch.zeros(1, 1, 4, 4)), "sigma must be .* got None"),
        (lambda: gahb.OptimalCAlpha(4)(torch.zeros(1, 1, 4, 4), 0.0), "sigma must be positive"),
        (lambda: gahb.OptimalCAlpha(4)(torch.zeros(1, 1, 5, 5), 0.1), "d = 16"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
