"""Slopes and exact errors: power laws, dense covariances, and the bootstrap against repeated draws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gahb
from gahb import rates

F64 = torch.float64
SIGMAS = [0.02, 0.1, 0.5]


def spectrum(n: int = 8, alpha: float = 2.0) -> torch.Tensor:
    return gahb.images.c_alpha_spectrum(n, alpha)


def dense(P: torch.Tensor) -> torch.Tensor:
    """The covariance (n², n²), written down from the waves."""
    n = len(P)
    waves = torch.fft.fft2(torch.eye(n * n, dtype=F64).reshape(-1, n, n), norm="ortho")
    return torch.fft.ifft2(waves * P, norm="ortho").real.reshape(n * n, n * n)


def conditional_variance(C: torch.Tensor, seen: torch.Tensor, p: int, sigma: float) -> float:
    c = C[seen, p]
    K = C[seen][:, seen] + sigma**2 * torch.eye(len(seen), dtype=F64)
    return float(C[p, p] - c @ torch.linalg.solve(K, c))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_wiener_error_is_that_of_the_gaussian_posterior():
    P = spectrum()
    C, everything = dense(P), torch.arange(64)
    for sigma, error in zip(SIGMAS, rates.wiener_error(P, SIGMAS)):
        by_pixel = [conditional_variance(C, everything, p, sigma) for p in range(64)]
        assert error == pytest.approx(sum(by_pixel) / 64, rel=1e-9)


def test_wiener_error_is_measured():
    """By the filter itself, on images of the class."""
    x = gahb.images.c_alpha(400, 16, 2.0, contour=False, contrast="fixed").double()
    P = spectrum(16)
    filter = gahb.Wiener(x.float())
    filter.mean, filter.spectrum = torch.tensor(0.5, dtype=F64), P[None]
    run = gahb.psnr_curve(filter, x, SIGMAS)
    error = rates.wiener_error(P, SIGMAS)
    assert torch.all((run.mse / error).log10().abs() * 10 < 4 * run.stderr)


def test_an_unknown_mean_is_a_frequency_of_infinite_variance():
    P = spectrum()
    wide = P.clone()
    wide[0, 0] = 1e12
    torch.testing.assert_close(rates.wiener_error(P, SIGMAS, free_mean=True), rates.wiener_error(wide, SIGMAS))
    assert torch.all(rates.wiener_error(P, SIGMAS, free_mean=True) > rates.wiener_error(P, SIGMAS))


def test_wiener_slopes_are_the_derivative():
    P, h = spectrum(16, 3.0), 1e-4
    for sigma, slope in zip(SIGMAS, rates.wiener_slopes(P, SIGMAS)):
        around = [sigma * math.exp(-h), sigma * math.exp(h)]
        low, high = rates.wiener_error(P, around).log().tolist()
        assert slope == pytest.approx((high - low) / (4 * h), rel=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_the_slope_of_a_large_torus_tends_to_the_rate(alpha):
    """With P = c |k|^-(2α+2) on very many frequencies, away from both ends."""
    k = torch.fft.fftfreq(1024, 1 / 1024, dtype=F64)
    radius = (k[:, None] ** 2 + k**2).sqrt()
    radius[0, 0] = math.inf
    P = radius ** -(2 * alpha + 2)
    assert rates.wiener_slopes(P, [20.0 ** -(alpha + 1)]) == pytest.approx(alpha / (alpha + 1), abs=0.01)


@pytest.mark.parametrize("free_mean", [False, True])
@pytest.mark.parametrize(("n", "radius"), [(6, 1), (6, 2), (7, 3)])
def test_window_error_by_hand(n, radius, free_mean):
    P = spectrum(n)
    C = dense(P) + 1e5 * free_mean  # a flat prior of the mean, nearly
    rows, columns = (grid.flatten() for grid in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    expected = []
    for p in range(n * n):
        near = ((rows - rows[p]).abs() <= radius) & ((columns - columns[p]).abs() <= radius)
        expected.append(conditional_variance(C, near.nonzero().flatten(), p, 0.1))
    found = rates.window_error(P, [0.1], radius, step=1, free_mean=free_mean)
    assert float(found) == pytest.approx(sum(expected) / n**2, rel=1e-5 if free_mean else 1e-9)


def test_a_window_of_everything_is_wiener_and_a_larger_one_is_better():
    P = spectrum(8)
    torch.testing.assert_close(rates.window_error(P, SIGMAS, 8), rates.wiener_error(P, SIGMAS))
    whole = rates.window_error(P, SIGMAS, 8, free_mean=True)
    torch.testing.assert_close(whole, rates.wiener_error(P, SIGMAS, free_mean=True))
    errors = torch.stack([rates.window_error(P, SIGMAS, radius) for radius in (1, 2, 3, 8)])
    assert torch.all(errors.diff(dim=0) < 0)


def test_window_error_refuses_a_spectrum_without_the_symmetries():
    P = spectrum(8)
    P[1, 2] *= 2
    with pytest.raises(ValueError, match="unchanged by mirroring and by exchanging its axes"):
        rates.window_error(P, [0.1], 2)


@given(st.floats(0.1, 1.5), st.floats(1e-4, 1))
def test_slope_of_a_power_law(exponent, constant):
    mse = constant * torch.tensor(SIGMAS, dtype=F64) ** (2 * exponent)
    found = rates.slope(mse[:, None].expand(-1, 3), SIGMAS, draws=5)
    assert found.value == pytest.approx(exponent, abs=1e-9)
    assert found.stderr == pytest.approx(0, abs=1e-9)


def test_slope_takes_only_the_levels_within():
    mse = torch.tensor([1.0, 0.02**1.4, 0.2**1.4, 1.0])[:, None].expand(-1, 2)
    found = rates.slope(mse, [0.01, 0.02, 0.2, 0.5], within=(0.02, 0.2))
    assert found.value == pytest.approx(0.7, abs=1e-6)
    with pytest.raises(ValueError, match=r"within must hold at least two of sigmas .*, got \(0.3, 0.5\)"):
        rates.slope(mse, [0.01, 0.02, 0.2, 0.5], within=(0.3, 0.5))
    with pytest.raises(ValueError, match=r"per_image must be \(3, n\) for 3 sigmas, got \(4, 2\)"):
        rates.slope(mse, SIGMAS)


def test_the_bootstrap_says_how_slopes_scatter():
    """Against 300 other sets of 40 images; and 95 % intervals hold the truth about as often."""
    scale = torch.tensor(SIGMAS, dtype=F64)[:, None] ** 1.2
    truth = float(rates.slope((scale * (0.25 * normal(3, 200_000)).exp()), SIGMAS, draws=2).value)
    sets = [rates.slope(scale * (0.25 * normal(3, 40, seed=seed)).exp(), SIGMAS, draws=200) for seed in range(300)]
    scatter = torch.tensor([s.value for s in sets]).std()
    assert float(torch.tensor([s.stderr for s in sets]).mean()) == pytest.approx(float(scatter), rel=0.15)
    held = sum(s.interval[0] <= truth <= s.interval[1] for s in sets) / 300
    assert 0.88 <= held <= 0.99


def test_differences_are_paired():
    """What two denoisers share cancels: the difference is known better than either slope."""
    scale = torch.tensor(SIGMAS, dtype=F64)[:, None]
    common = (0.5 * normal(3, 40)).exp()
    one, two = (rates.slope(scale**e * common, SIGMAS) for e in (1.2, 1.5))
    difference = two - one
    assert difference.value == pytest.approx(0.15)
    assert difference.stderr == pytest.approx(0, abs=1e-9) and one.stderr > 0.01
    with pytest.raises(ValueError, match="draws must be as many, got 1000 and 10"):
        one - rates.slope(scale * common, SIGMAS, draws=10)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_increments_of_a_smooth_path_grow_with_their_order(order):
    t = torch.arange(4096, dtype=F64) / 4096
    path = torch.sin(2 * math.pi * t)[None]
    assert rates.increment_exponent(path, [1, 2, 4], order=order) == pytest.approx(order, abs=1e-3)


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_increments_find_the_regularity_of_a_gaussian_path(alpha):
    k = torch.arange(1, 2049, dtype=F64)
    waves = torch.nn.functional.pad(torch.view_as_complex(normal(200, 2048, 2)) * k ** -(alpha + 0.5), (1, 2047))
    path = torch.fft.ifft(waves).real
    assert rates.increment_exponent(path, [16, 32, 64], order=3) == pytest.approx(alpha, abs=0.03)
    with pytest.raises(ValueError, match=r"lags must be at least two, got \[4\]"):
        rates.increment_exponent(path, [4])
