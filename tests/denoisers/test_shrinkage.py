"""Wiener and wavelet shrinkage against dense matrices and PyWavelets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from references import jacobian
from torch.func import jacfwd, jacrev, vmap

import gahb
from gahb.denoisers.shrinkage import _sure_threshold
from gahb.transforms import analyse, synthesise

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# --- thresholding ------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", ["hard", "soft"])
def test_threshold_against_a_loop(threshold):
    y, sigma, multiple = normal(1, 1, 8, 8), 0.4, 1.7
    T = multiple * sigma
    coarse, details = analyse(y, "sym4", 2)
    for level in details:
        for c in level:
            for (i, j), value in np.ndenumerate(c[0, 0].numpy().copy()):
                kept = value if threshold == "hard" else math.copysign(abs(value) - T, value)
                c[0, 0, i, j] = kept if abs(value) > T else 0.0
    expected = synthesise(coarse, details, "sym4")
    f = gahb.Wavelet("sym4", levels=2, threshold=threshold, multiple=multiple, shifts=1)
    torch.testing.assert_close(f(y, sigma), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("threshold", ["hard", "soft"])
def test_threshold_extremes(threshold):
    y = normal(2, 2, 16, 24)
    nothing = gahb.Wavelet(threshold=threshold, multiple=0, levels=3)
    torch.testing.assert_close(nothing(y, 0.5), y, rtol=0, atol=1e-10)
    for multiple in (1e9, math.inf):
        everything = gahb.Wavelet("haar", threshold=threshold, multiple=multiple, levels=3, shifts=1)
        means = torch.nn.functional.avg_pool2d(y, 8)  # Haar's coarse coefficients are block means
        expected = means.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
        torch.testing.assert_close(everything(y, 0.5), expected, rtol=0, atol=1e-10)


def test_default_multiples():
    assert gahb.Wavelet().multiple == 3.0 and gahb.Wavelet(threshold="soft").multiple == 1.5


@pytest.mark.parametrize("threshold", ["hard", "soft"])
def test_cycle_spinning_over_all_shifts_commutes_with_shifts(threshold):
    y = normal(1, 1, 8, 8)
    moved = torch.roll(y, (3, 5), dims=(2, 3))
    f = gahb.Wavelet(levels=2, threshold=threshold, shifts=4)
    torch.testing.assert_close(f(moved, 0.5), torch.roll(f(y, 0.5), (3, 5), dims=(2, 3)), rtol=0, atol=1e-12)
    once = gahb.Wavelet(levels=2, threshold=threshold, shifts=1)
    assert (once(moved, 0.5) - torch.roll(once(y, 0.5), (3, 5), dims=(2, 3))).abs().max() > 0.1
    loop = [
        torch.roll(once(torch.roll(y, (i, j), dims=(2, 3)), 0.5), (-i, -j), dims=(2, 3))
        for i in range(4)  # 0, 5, 10, 15 modulo 4
        for j in range(4)
    ]
    torch.testing.assert_close(f(y, 0.5), sum(loop) / 16, rtol=0, atol=1e-12)


def test_shifts_are_spread():
    """With two a direction: 0 and 5 pixels."""
    y, once = normal(1, 1, 16, 16), gahb.Wavelet(shifts=1)
    loop = [
        torch.roll(once(torch.roll(y, (i, j), dims=(2, 3)), 0.5), (-i, -j), dims=(2, 3)) for i in (0, 5) for j in (0, 5)
    ]
    torch.testing.assert_close(gahb.Wavelet(shifts=2)(y, 0.5), sum(loop) / 4, rtol=0, atol=1e-12)


@pytest.mark.parametrize("threshold", ["hard", "soft", "sure"])
def test_wavelet_denoises_what_is_sparse(threshold):
    square = torch.zeros(1, 1, 32, 32, dtype=F64)
    square[..., 8:24, 8:20] = 1
    y = square + 0.1 * normal(1, 1, 32, 32)
    assert (gahb.Wavelet(threshold=threshold)(y, 0.1) - square).square().mean() < 0.5 * 0.1**2


def test_sure_threshold_against_a_fine_grid():
    """From subbands of noise (a large T) to rough ones (T = 0), none above σ √(2 ln n)."""
    sigma = torch.tensor([0.5, 2.0], dtype=F64)[:, None, None, None]
    c = torch.stack([normal(2, 8, 6, seed=s) * scale for s, scale in enumerate((0.3, 1.0, 2.0, 10.0))], dim=1)
    found = _sure_threshold(c, sigma)
    assert found.shape == (2, 4, 1, 1)

    def risk(band, s, T):
        return sum(s**2 - 2 * s**2 * (abs(v) <= T) + min(v * v, T * T) for v in band.flatten().tolist())

    for b, s in enumerate((0.5, 2.0)):
        top = s * math.sqrt(2 * math.log(48))
        for k in range(4):
            grid = [risk(c[b, k], s, T) for T in np.linspace(0, top, 400)]
            T = found[b, k].item()
            assert 0 <= T <= top and risk(c[b, k], s, T * (1 + 1e-12)) <= min(grid) + 1e-9
    assert (found == 0).any() and (found > 1).any()


def test_sure_thresholds_are_those_of_each_subband():
    y, sigma = normal(2, 1, 16, 16) + 2 * (torch.arange(16) > 6), 0.9
    coarse, details = analyse(y, "haar", 2)
    shrunk = []
    for level in details:
        heights = [_sure_threshold(c, torch.full((2, 1, 1, 1), sigma, dtype=F64)) for c in level]
        shrunk.append(tuple(c.sign() * (c.abs() - T).clamp(min=0) for c, T in zip(level, heights)))
    f = gahb.Wavelet("haar", levels=2, threshold="sure", shifts=1)
    torch.testing.assert_close(f(y, sigma), synthesise(coarse, shrunk, "haar"), rtol=0, atol=1e-12)


# --- oracles -----------------------------------------------------------------------------


def test_the_oracle_keeps_what_is_above_the_noise():
    x = gahb.images.c_alpha(2, 32, 2.0, seed=1).double()
    f, sigma = gahb.Wavelet(shifts=1), 0.1
    coarse, details = analyse(x, "sym4", 4)
    large = [tuple((c.abs() > sigma).to(F64) for c in level) for level in details]

    def projected(y):
        coarse, details = analyse(y, "sym4", 4)
        kept = [tuple(c * m for c, m in zip(*pair)) for pair in zip(details, large)]
        return synthesise(coarse, kept, "sym4")

    y = x + sigma * normal(2, 1, 32, 32)
    torch.testing.assert_close(f.oracle(y, sigma, x), projected(y), rtol=0, atol=1e-12)
    # the risk of its docstring, over 200 draws of the noise: 4 standard errors
    draws = normal(200, 1, 32, 32, seed=2)
    first = x[:1].expand(200, -1, -1, -1)
    error = (f.oracle(first + sigma * draws, sigma, first) - first).square().sum(dim=(1, 2, 3))
    fine = torch.cat([c[0].flatten() for level in details for c in level])
    risk = coarse[0].numel() * sigma**2 + fine.square().clamp(max=sigma**2).sum()
    assert abs(error.mean() - risk) < 4 * error.std() / math.sqrt(200)


@pytest.mark.parametrize("threshold", ["hard", "soft", "sure"])
def test_an_oracle_without_decisions_is_the_denoiser(threshold):
    """The basis of wavelets is no image's own."""
    y, x, f = normal(2, 1, 16, 16), normal(2, 1, 16, 16, seed=1), gahb.Wavelet(threshold=threshold, shifts=2)
    assert torch.equal(f.oracle(y, 0.5, x, decisions=False), f(y, 0.5))


# --- Wiener ------------------------------------------------------------------------------


def test_wiener_of_a_known_spectrum_is_the_optimum_of_its_field():
    """Against the Gaussian whose covariance is circulant, with the spectrum for eigenvalues."""
    P = gahb.images.c_alpha_spectrum(6, 2).double()
    waves = torch.fft.fft2(torch.eye(36, dtype=F64).reshape(36, 6, 6))
    covariance = torch.fft.ifft2(waves * P).real.reshape(36, 36)
    optimum = gahb.Gaussian(torch.full((36,), 0.4, dtype=F64), covariance)
    y = 0.4 + normal(3, 1, 6, 6)
    f = gahb.Wiener.of_spectrum(P, mean=0.4)
    torch.testing.assert_close(f(y, 0.2).flatten(1), optimum(y.flatten(1), 0.2), rtol=0, atol=1e-12)
    colours = gahb.Wiener.of_spectrum(torch.stack([P, P]), mean=0.4)
    torch.testing.assert_close(colours(y.expand(-1, 2, -1, -1), 0.2)[:, 1:], f(y, 0.2), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"spectrum must be \(H, W\) or \(C, H, W\), finite and ≥ 0, got .* from -1"):
        gahb.Wiener.of_spectrum(-torch.ones(4, 4))


def test_wiener_is_the_gaussian_with_the_circulant_covariance():
    images = torch.rand(9, 1, 6, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    f = gahb.Wiener(images)
    # slow: the covariance of pixels p and q, averaged over images and over all common shifts
    away = images - images.mean()
    C = torch.zeros(24, 24, dtype=F64)
    for i in range(6):
        for j in range(4):
            flat = torch.roll(away, (i, j), dims=(2, 3)).flatten(1)
            C += flat.T @ flat / (9 * 24)
    gaussian = gahb.Gaussian(images.mean().expand(24), C)
    y = normal(3, 1, 6, 4)
    for sigma in (0.01, 0.3, torch.tensor([0.1, 1.0, 5.0], dtype=F64)):
        torch.testing.assert_close(f(y, sigma), gaussian(y, sigma), rtol=1e-10, atol=1e-10)


def test_wiener_of_several_channels_and_extremes():
    images = torch.rand(5, 3, 4, 4, dtype=F64)
    f = gahb.Wiener(images)
    torch.testing.assert_close(f(images, 1e-9), images)
    torch.testing.assert_close(f(images, 1e9), images.mean().expand_as(images))


# --- the contract ------------------------------------------------------------------------

DENOISERS = {
    "Wiener": lambda: gahb.Wiener(torch.rand(6, 1, 4, 8, generator=torch.Generator().manual_seed(0))),
    "hard": lambda: gahb.Wavelet(levels=2, shifts=2),
    "soft": lambda: gahb.Wavelet(levels=2, threshold="soft", shifts=2),
    "sure": lambda: gahb.Wavelet(levels=2, threshold="sure", shifts=2),
}


@pytest.mark.parametrize("name", DENOISERS)
def test_contract(name):
    f, y = DENOISERS[name](), normal(3, 1, 4, 8)
    before, rng = y.clone(), torch.get_rng_state()
    for dtype in (torch.float32, torch.float64):
        out = f(y.to(dtype), 0.3)
        assert out.shape == y.shape and out.dtype == dtype
        torch.testing.assert_close(out.double(), f(y, 0.3), rtol=0, atol=1e-5)
    sigmas = torch.tensor([0.1, 0.3, 2.0], dtype=F64)
    apart = torch.cat([f(row[None], float(s)) for row, s in zip(y, sigmas)])
    torch.testing.assert_close(f(y, sigmas), apart)
    torch.testing.assert_close(vmap(lambda u, s: f(u[None], s)[0])(y, sigmas), apart)
    assert torch.equal(y, before) and torch.equal(rng, torch.get_rng_state())


@pytest.mark.parametrize("name", DENOISERS)
def test_contract_under_torch_func(name):
    f, y = DENOISERS[name](), normal(2, 1, 4, 8)
    reference = jacobian(f, y, 0.5)
    for mode in (jacfwd, jacrev):
        J = vmap(mode(lambda u: f(u[None], 0.5)[0]))(y).reshape(2, 32, 32)
        torch.testing.assert_close(J, reference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (None, "sigma must be a number or a tensor, got None"),
        (0.0, "sigma must be positive and finite, got 0.0"),
        (math.nan, "sigma must be positive and finite, got nan"),
        (torch.ones(5), r"sigma must be a number or \(2,\)"),
    ],
)
def test_contract_refuses_a_bad_sigma(name, sigma, message):
    with pytest.raises(ValueError, match=message):
        DENOISERS[name]()(normal(2, 1, 4, 8), sigma)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gahb.Wavelet("bior2.2"), "wavelet must name an orthogonal wavelet of PyWavelets, got 'bior2.2'"),
        (lambda: gahb.Wavelet("dmey"), "wavelet must name an orthogonal wavelet of PyWavelets, got 'dmey'"),
        (lambda: gahb.Wavelet("fourier"), "wavelet must name an orthogonal wavelet of PyWavelets, got 'fourier'"),
        (lambda: gahb.Wavelet(threshold="medium"), "threshold must be 'hard', 'soft' or 'sure', got 'medium'"),
        (lambda: gahb.Wavelet(threshold="sure", multiple=2), "multiple must be None with threshold 'sure'"),
        (
            lambda: gahb.Wavelet().oracle(torch.zeros(2, 1, 8, 8), 0.1, torch.zeros(8, 8)),
            r"x must be shaped like y, \(2, 1, 8, 8\), got \(8, 8\)",
        ),
        (lambda: gahb.Wavelet(multiple=-1), "multiple must be ≥ 0, got -1"),
        (lambda: gahb.Wavelet(multiple=math.nan), "multiple must be ≥ 0, got nan"),
        (lambda: gahb.Wavelet(levels=0), "levels must be an integer of at least 1, got 0"),
        (lambda: gahb.Wavelet(shifts=0), "shifts must be an integer of at least 1, got 0"),
        (lambda: gahb.Wavelet()(torch.zeros(3, 16), 0.1), r"y must be \(B, C, H, W\), got shape \(3, 16\)"),
        (lambda: gahb.Wiener(torch.full((2, 1, 4, 4), 2.0)), r"images must have values in \[0, 1\], got values from 2"),
        (lambda: gahb.Wiener(torch.zeros(4, 4)), r"images must be \(n, C, H, W\) with at least one image"),
        (
            lambda: gahb.Wiener(torch.rand(2, 1, 4, 4))(torch.zeros(1, 1, 4, 5), 0.1),
            r"y must be \(B, 1, 4, 4\), got \(1, 1, 4, 5\)",
        ),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
