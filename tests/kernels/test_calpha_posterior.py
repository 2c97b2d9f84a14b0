"""The parts of the C^α posterior against dense matrices, and its window against its particles."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb.images.calpha import FIELD_SD, c_alpha_spectrum, contour_heights, contour_spectrum
from gahb.kernels.calpha import coverage
from gahb.kernels.calpha_particles import Particles

F64 = torch.float64


def particles_of(size: int, sigma: float, *, alpha: float = 2.0, index: int = 0) -> Particles:
    """Particles of the posterior of a noisy image of the class."""
    x = gahb.images.c_alpha(1, size, alpha, start=index).double()
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(index), dtype=F64)
    posterior = gahb.OptimalCAlpha(size, alpha)._posterior
    particles = Particles(posterior.waves, y.flatten(), 16, torch.Generator().manual_seed(0))
    particles.enter(posterior.fine)
    particles.cool(1 / sigma**2)
    particles.settle()
    return particles


def test_evidence_and_conditional_moments_against_dense_matrices():
    size, sigma, d = 8, 0.1, 64
    particles = particles_of(size, sigma)
    assert 0 < len(particles.window.pixels) < d  # pixels of both kinds
    [(_, draws)] = particles.draws(particles.grid)
    row = torch.arange(size)
    lag = (row[:, None] - row) % size
    P = torch.fft.ifft2(c_alpha_spectrum(size, 2.0) / FIELD_SD**2).real[lag[:, None, :, None], lag[None, :, None, :]]
    P = P.reshape(d, d)
    shares = coverage(particles._heights(particles.weights), size).flatten(1)
    y, logs, means, traces, products = particles.y, [], [], [], 0.0
    v = torch.randn(3, d, generator=torch.Generator().manual_seed(1), dtype=F64)
    for s, (c1, c2), (g1, g2) in zip(shares, draws.centre, draws.gain):
        signal = g1**2 * s[:, None] * P * s + g2**2 * (1 - s)[:, None] * P * (1 - s)
        noisy = torch.distributions.MultivariateNormal(s * c1 + (1 - s) * c2, signal + sigma**2 * torch.eye(d))
        gain = signal @ torch.linalg.inv(noisy.covariance_matrix)
        logs.append(noisy.log_prob(y))
        means.append(noisy.mean + gain @ (y - noisy.mean) - y)
        traces.append((signal - gain @ signal).trace())
        products = products + v @ (signal - gain @ signal) / sigma**2
    logs = torch.stack(logs)
    torch.testing.assert_close(particles.log - particles.log[0], logs - logs[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(draws.changes(), torch.stack(means), rtol=0, atol=1e-8)
    torch.testing.assert_close(draws.spreads(), torch.stack(traces), rtol=1e-6, atol=0)
    torch.testing.assert_close(draws.products(v, torch.ones(16)), products, rtol=0, atol=1e-6)


@pytest.mark.parametrize("index", range(3))
def test_contours_seldom_leave_the_window(index):
    """At low contrast and much noise the contour may pass anywhere: so must the window let it."""
    particles = particles_of(12, 1.0, index=index)
    generator = torch.Generator().manual_seed(3)
    drawn = [particles.contours.propose(particles.weights, 1.0, generator) for _ in range(40)]
    inside = torch.cat([particles.window.holds(particles._heights(weights)) for weights in drawn])
    assert inside.double().mean() > 0.97


@pytest.mark.parametrize(("size", "alpha"), [(32, 1.0), (20, 2.0), (20, 4.0)])
def test_waves_have_the_law_of_the_contours(size, alpha):
    columns = 320
    waves = gahb.OptimalCAlpha(size, alpha)._posterior.waves
    covariance = torch.fft.ifft(contour_spectrum(columns, alpha)).real
    tolerance = 2 * (5e-4 / size) ** 2  # a sine may be left out whose cosine is not
    assert waves.square().sum(dim=0).sub(covariance[0]).abs().max() < tolerance
    assert ((waves.T @ waves)[7] - covariance.roll(7)).abs().max() < tolerance
    heights = contour_heights(2000, columns, alpha).double() - 0.5
    found = (heights * heights.roll(1, dims=1)).mean()
    assert found == pytest.approx(float(covariance[1]), rel=0.05)


def test_coverage_of_some_pixels_and_of_large_ones():
    heights = contour_heights(3, 320, 1.0).double().clamp(0, 1)
    every = coverage(heights, 20)
    pixels = torch.tensor([0, 7, 211, 399])
    torch.testing.assert_close(coverage(heights, 20, pixels), every.flatten(1)[:, pixels])
    torch.testing.assert_close(coverage(heights, 10), torch.nn.functional.avg_pool2d(every[:, None], 2)[:, 0])


def test_weighted_draws_on_large_pixels_agree_with_draws_on_small_ones(monkeypatch):
    sigma = 0.8
    x = gahb.images.c_alpha(1, 16, 2.0).double()
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    weighted = gahb.OptimalCAlpha(16, 2.0, accuracy=0.06).integrate(y, sigma)
    monkeypatch.setattr("gahb.kernels.calpha_posterior.ROUGH", float("inf"))
    direct = gahb.OptimalCAlpha(16, 2.0, accuracy=0.06).integrate(y, sigma)
    assert (weighted.mean - direct.mean).square().mean() < 4 * (weighted.error + direct.error)
    torch.testing.assert_close(weighted.variance, direct.variance, rtol=0.15, atol=0)
