"""scikit-image's denoisers under the contract: the same numbers, and refusals that say why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_nl_means, denoise_wavelet
from torch.func import jvp

import gahb

DENOISERS = {"BayesShrink": lambda: gahb.BayesShrink(levels=2, shifts=2), "NonLocalMeans": gahb.NonLocalMeans}


def noisy(n: int = 2, size: int = 32, dtype=torch.float64) -> torch.Tensor:
    clean = gahb.images.photos(n, size, split="test").to(dtype)
    return clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_bayes_shrink_is_the_average_over_all_shifts():
    y = noisy(1)
    total = np.zeros((32, 32))
    for i in range(3):
        for j in range(3):
            moved = np.roll(y[0, 0].numpy(), (i, j), axis=(0, 1))
            one = denoise_wavelet(moved, sigma=0.1, method="BayesShrink", mode="soft", wavelet_levels=2)
            total += np.roll(one, (-i, -j), axis=(0, 1))
    ours = gahb.BayesShrink(levels=2, shifts=3)(y, 0.1)
    np.testing.assert_allclose(ours[0, 0], total / 9, atol=1e-12)
    once = gahb.BayesShrink(levels=2, shifts=1)(y, 0.1)
    assert (once - ours).abs().max() > 1e-3


def test_non_local_means_is_told_sigma():
    y = noisy(1)
    expected = denoise_nl_means(y[0, 0].numpy(), patch_size=5, patch_distance=6, h=0.6 * 0.1, sigma=0.1, fast_mode=True)
    np.testing.assert_allclose(gahb.NonLocalMeans()(y, 0.1)[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("name", DENOISERS)
def test_contract(name):
    f, y = DENOISERS[name](), noisy()
    before, rng, numpy_rng = y.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sigmas = torch.tensor([0.05, 0.2])
    out = f(y, sigmas)
    assert out.shape == y.shape and out.dtype == y.dtype and not out.requires_grad
    apart = torch.cat([f(row[None], float(s)) for row, s in zip(y, sigmas)])
    torch.testing.assert_close(out, apart, rtol=1e-6, atol=1e-7)
    assert f(y.float(), 0.1).dtype == torch.float32
    assert torch.equal(y, before) and torch.equal(rng, torch.get_rng_state())
    assert np.array_equal(numpy_rng, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", DENOISERS)
def test_it_removes_noise(name):
    clean = gahb.images.photos(4, 64, split="test")
    curve = gahb.psnr_curve(DENOISERS[name](), clean, [0.1, 0.2])
    assert bool((curve.psnr > curve.input_psnr + 2).all())


@pytest.mark.parametrize("name", DENOISERS)
def test_derivatives_are_refused_and_not_silently_zero(name):
    f, y = DENOISERS[name](), noisy()
    message = "not differentiable and refuse torch.func"
    with pytest.raises(NotImplementedError, match=message):
        jvp(lambda u: f(u, 0.1), (y,), (y,))
    with pytest.raises(NotImplementedError, match=message):
        gahb.sure(f, y, 0.1, probes=1)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize(
    ("shape", "sigma", "message"),
    [
        ((2, 3, 32, 32), 0.1, r"y must be \(B, 1, H, W\), got shape \(2, 3, 32, 32\)"),
        ((2, 32), 0.1, r"y must be \(B, 1, H, W\), got shape \(2, 32\)"),
        ((2, 1, 32, 32), None, "sigma must be a number or a tensor, got None"),
        ((2, 1, 32, 32), -1.0, "sigma must be positive and finite, got -1.0"),
    ],
)
def test_contract_refuses(name, shape, sigma, message):
    with pytest.raises(ValueError, match=message):
        DENOISERS[name]()(torch.zeros(shape), sigma)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gahb.BayesShrink(levels=0), "levels must be an integer of at least 1, got 0"),
        (lambda: gahb.BayesShrink(shifts=0), "shifts must be an integer of at least 1, got 0"),
        (lambda: gahb.NonLocalMeans(patch=0), "patch must be an integer of at least 1, got 0"),
        (lambda: gahb.NonLocalMeans(distance=0), "distance must be an integer of at least 1, got 0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
