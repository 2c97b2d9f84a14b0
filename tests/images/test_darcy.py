"""Darcy flow: the solver against a solution that is known, the residual against a loop, the law of the permeability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gahb.images import darcy, darcy_fields, darcy_images, darcy_pressure, darcy_residual
from gahb.images.darcy import CORNER, LENGTH, RATE, corners, log_permeability, waves, waves_variance

SIZE = 24


def centres(size: int) -> tuple[np.ndarray, np.ndarray]:
    places = (np.arange(size) + 0.5) / size
    return np.meshgrid(places, places, indexing="ij")


def manufactured(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """K, p and f = −∇·(K∇p), with p = cos πs cos 2πt and log K = a sin 2πs cos πt."""
    s, t = centres(size)
    a, pi = 0.7, math.pi
    K = np.exp(a * np.sin(2 * pi * s) * np.cos(pi * t))
    K_s, K_t = 2 * a * pi * np.cos(2 * pi * s) * np.cos(pi * t) * K, -a * pi * np.sin(2 * pi * s) * np.sin(pi * t) * K
    p = np.cos(pi * s) * np.cos(2 * pi * t)
    p_s, p_t = -pi * np.sin(pi * s) * np.cos(2 * pi * t), -2 * pi * np.cos(pi * s) * np.sin(2 * pi * t)
    f = 5 * pi**2 * K * p - K_s * p_s - K_t * p_t
    return tuple(torch.from_numpy(v)[None] for v in (K, p, f - f.mean()))


def test_the_solver_is_of_second_order():
    """Errors at three grids fall by 4 with each doubling."""
    errors = []
    for size in (16, 32, 64):
        K, p, f = manufactured(size)
        errors.append((darcy_pressure(K, f) - p).square().mean().sqrt().item())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders == pytest.approx([2, 2], abs=0.1) and errors[0] < 0.1, errors


def by_loop(K: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The balance of each cell, face by face."""
    n = len(K)
    r = -corners(n).copy()
    for i in range(n):
        for j in range(n):
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < n and 0 <= m < n:
                    r[i, j] += n**2 * math.sqrt(K[i, j] * K[k, m]) * (p[i, j] - p[k, m])
    return r


def test_the_residual_is_the_balance_of_each_cell():
    generator = torch.Generator().manual_seed(0)
    log_k, p = torch.randn(2, 2, 16, 16, generator=generator, dtype=torch.float64)
    found = darcy_residual(darcy_images(log_k.exp(), p))
    expected = np.stack([by_loop(a.exp().numpy(), b.numpy()) for a, b in zip(log_k, p)])
    assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_the_solution_has_no_residual():
    """In float64 to rounding; in the float32 of the pictures to what their rounding is worth on this grid."""
    K, _ = darcy_fields(darcy(3, SIZE).double())
    p = darcy_pressure(K)
    assert darcy_residual(darcy_images(K, p)).abs().max() < 1e-9
    assert p.mean((1, 2)).abs().max() < 1e-15 and p.dtype == torch.float64
    x = darcy(20, SIZE)
    one_rounding = 2.0**-24 * math.sqrt(20) * SIZE**2
    assert darcy_residual(x).abs().mean() < one_rounding


def test_noise_counts_as_the_square_of_the_grid():
    """White noise of deviation s in p, with K = 1, makes √20 s / h² in the inner cells."""
    generator = torch.Generator().manual_seed(1)
    for size in (16, 32):
        noise = 0.01 * torch.randn(200, size, size, generator=generator, dtype=torch.float64)
        r = darcy_residual(darcy_images(torch.ones_like(noise), noise)) + torch.from_numpy(corners(size))
        assert r[:, 1:-1, 1:-1].std().item() == pytest.approx(math.sqrt(20) * 0.01 * size**2, rel=0.02)


def test_residuals_have_gradients():
    x = darcy(1, 16).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: darcy_residual(v)[:, ::5, ::5], x, fast_mode=True)


@pytest.mark.parametrize("size", [16, 24, 30])
def test_sources_balance(size):
    f = corners(size)
    assert f.sum() == pytest.approx(0, abs=1e-9)
    assert np.abs(f).sum() / size**2 == pytest.approx(2 * RATE * CORNER**2)
    assert f[0, 0] == RATE and f[-1, -1] == -RATE and f[0, -1] == 0


def test_waves_are_eigenfunctions_of_the_covariance():
    """∫ exp(−|s − t| / ℓ) φ(t) dt = λ φ(s), by the midpoint rule; φ are orthonormal."""
    m, n = 12, 2000
    t = (np.arange(n) + 0.5) / n
    variance = waves_variance(m)
    phi = waves(m, t) / np.sqrt(variance)[:, None]
    covariance = np.exp(-np.abs(t[:, None] - t) / LENGTH)
    assert np.allclose(phi @ phi.T / n, np.eye(m), atol=1e-3)
    assert np.allclose(covariance @ phi.T / n, phi.T * variance, atol=1e-4)
    assert (np.diff(variance) < 0).all()


def test_log_permeability_is_one_function():
    """A finer grid has the coarser one's means of 2 × 2 cells, to second order of the shortest wave."""
    normals = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    fine, coarse = log_permeability(normals, 192), log_permeability(normals, 64)
    assert torch.allclose(fine[:, 1::3, 1::3], coarse, atol=1e-12)


def test_permeability_has_the_covariance_of_its_sum():
    x = darcy(600, 16)
    log_k = 8 * (x[:, 0].double() - 0.5).flatten(1)
    modes = log_permeability(torch.eye(64), 16).flatten(1)
    expected = (modes.square().sum(0)).mean()
    assert log_k.var(0).mean() == pytest.approx(expected.item(), rel=0.05)
    assert log_k.mean().abs() < 0.05


def test_an_image_depends_on_its_number_only():
    x = darcy(300, 16, seed=3)  # some of them are drawn anew
    for i in (0, 57, 299):
        assert torch.equal(darcy(1, 16, seed=3, start=i)[0], x[i])
    assert x.min() >= 0 and x.max() <= 1 and not torch.equal(darcy(1, 16, seed=4)[0], x[0])


def test_some_draws_are_taken_anew(monkeypatch):
    import importlib

    module, attempts = importlib.import_module("gahb.images.darcy"), []
    draw = module._draw

    def counted(indices, size, seed, attempt):
        attempts.append((len(indices), attempt))
        return draw(indices, size, seed, attempt)

    monkeypatch.setattr(module, "_draw", counted)
    darcy(300, 16, seed=3)
    assert attempts[0] == (300, 0) and 0 < attempts[1][0] < 20 and attempts[1][1] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: darcy(1, 8), "size must be at least 16, which resolves the shortest wave of the permeability, got 8"),
        (lambda: darcy(0, 16), "n must be an integer of at least 1, got 0"),
        (lambda: darcy_pressure(torch.zeros(1, 16, 16)), "permeability must be positive and finite, got values from 0"),
        (lambda: darcy_pressure(torch.ones(16, 16)), r"permeability must be \(n, size, size\), got shape \(16, 16\)"),
        (lambda: darcy_pressure(torch.ones(1, 8, 8)), "size must be at least 16"),
        (lambda: darcy_pressure(torch.ones(1, 16, 16), torch.ones(16, 16)), "source must have mean 0"),
        (lambda: darcy_pressure(torch.ones(1, 16, 16), torch.ones(3)), r"source must be \(16, 16\) or shaped like"),
        (lambda: darcy_images(torch.ones(1, 16, 16), torch.ones(2, 16, 16)), "pressure must be shaped like permeab"),
        (lambda: darcy_residual(torch.ones(2, 1, 16, 16)), r"images must be \(n, 2, size, size\)"),
        (lambda: darcy_fields(torch.ones(1, 2, 8, 8)), "size must be at least 16"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
