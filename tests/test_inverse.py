"""Linear measurements: their rows, the denoiser of what they leave open, and samples with given values."""

from __future__ import annotations

import math

import pytest
import torch

import gahb
from gahb import inverse

F64 = torch.float64
SHAPE = (1, 6, 6)
MASK = torch.rand(SHAPE, generator=torch.Generator().manual_seed(5)) < 0.4
MEASURES = {
    "inpainting": inverse.inpainting(MASK),
    "block means": inverse.block_means(2),
    "random projections": inverse.random_projections(9, 36, seed=1),
    "low frequencies": inverse.low_frequencies(1),
    "matrix": torch.linalg.qr(torch.randn(36, 5, generator=torch.Generator().manual_seed(2), dtype=F64)).Q.T,
}
each = pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))


def gaussian(decay: float = 3.0) -> gahb.Gaussian:
    """Smooth 6×6 images: covariances e^{-|i - j|/3} of mean 0.4."""
    place = torch.cartesian_prod(torch.arange(6), torch.arange(6)).double()
    return gahb.Gaussian(torch.full(SHAPE, 0.4), 0.05 * torch.exp(-torch.cdist(place, place) / decay))


@each
def test_rows_are_orthonormal_and_the_transpose_is_the_matrix(measure):
    A = inverse.matrix(measure, SHAPE)
    torch.testing.assert_close(A @ A.T, torch.eye(len(A), dtype=F64), rtol=0, atol=1e-12)
    v = torch.randn(3, len(A), generator=torch.Generator().manual_seed(3), dtype=F64)
    values = v if isinstance(measure, torch.Tensor) else v.reshape(3, *measure(torch.zeros(1, *SHAPE)).shape[1:])
    torch.testing.assert_close(inverse.transposed(measure, values, SHAPE).flatten(1), v @ A)


def test_what_is_measured():
    x = gahb.images.disks(2, 6)
    assert torch.equal(MEASURES["inpainting"](x), x[:, MASK])
    means = x.reshape(2, 1, 3, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(MEASURES["block means"](x), 2 * means)
    low = inverse.low_frequencies(1)
    wave = torch.cos(2 * math.pi * 2 * torch.arange(6) / 6).expand(1, 1, 6, 6)  # of frequency 2: it is cut off
    assert float(low(wave).abs().max()) < 1e-6
    torch.testing.assert_close(low(x.mean((2, 3), keepdim=True).expand_as(x))[:, 0, 1, 1], 6 * x.mean((1, 2, 3)))
    assert not torch.equal(inverse.random_projections(2, 36)(x), inverse.random_projections(2, 36, seed=1)(x))


@each
@pytest.mark.parametrize("sigma", [1.0, 0.2, 0.03])
def test_the_constrained_answer_is_the_optimum_of_the_conditional_law(measure, sigma):
    """Gaussian: E[x | y, v] by the covariance gain is the denoiser of `given`, to the digits that CG stops at."""
    f = gaussian()
    x = f.sample(3, seed=1)
    function = measure if callable(measure) else lambda images: images.flatten(1) @ measure.T
    constrained = inverse.Given(measure, function(x), x, "covariance")
    y = f.sample(3, seed=2) + sigma * torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=F64)
    found = constrained(f, y, torch.full((3,), sigma, dtype=F64), torch.arange(3))
    A = inverse.matrix(measure, SHAPE)
    for i in range(3):
        exact = f.given(A, A @ x[i].flatten())(y[i : i + 1], sigma)
        torch.testing.assert_close(found[i : i + 1], exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["ddim", "gradient-estimation", "ddpm", "stochastic"])
def test_a_gaussian_is_drawn_from_its_conditional_law_by_every_method(method):
    """The path with a measurement is that of the conditional Gaussian, whatever steps are taken: to 1e-5."""
    f, measure = gaussian(), MEASURES["block means"]
    v = measure(f.sample(1, seed=1))
    conditional = f.given(inverse.matrix(measure, SHAPE), v)
    settings = dict(method=method, start=conditional, dtype=F64, seed=2)
    settings |= {"h": 0.3} if method == "stochastic" else {"steps": 10}
    drawn = gahb.sample(f, 4, SHAPE, measure=measure, values=v[0], **settings)
    torch.testing.assert_close(drawn, gahb.sample(conditional, 4, SHAPE, **settings), rtol=0, atol=1e-5)
    assert float((measure(drawn) - v).abs().max()) < 1e-5


def test_mean_and_covariance_of_the_conditional_law():
    """DDIM in 20 steps, 400 samples, seed 0: means to 4.5 s.e.; covariance to 1.3 times its scatter and 10 %."""
    f, measure, n = gaussian(), MEASURES["inpainting"], 400
    v = measure(f.sample(1, seed=1))
    conditional = f.given(inverse.matrix(measure, SHAPE), v)
    out = gahb.sample(f, n, SHAPE, method="ddim", steps=20, start=conditional, measure=measure, values=v[0],
                      batch=n, dtype=F64).flatten(1)  # fmt: skip
    C = conditional.covariance
    free = C.diagonal() > 1e-9  # the others are measured
    assert int(free.sum()) == 36 - int(MASK.sum())
    off = (out.mean(dim=0) - conditional.mean.flatten()).abs()
    assert float((off[free] / (C.diagonal()[free] / n).sqrt()).max()) < 4.5 and float(off[~free].max()) < 1e-5
    noise = math.sqrt(float((C.norm() ** 2 + C.trace() ** 2) / n))
    assert float((out.T.cov() - C).norm()) < 1.3 * noise + 0.1 * float(C.norm())


def test_the_published_gain_keeps_the_values_and_is_biased_even_on_a_gaussian():
    """Correlation 0.9, one number known: exact by the covariance, not by the adjoint (1,000 samples, seed 0)."""
    f = gahb.Gaussian(torch.zeros(2), torch.tensor([[0.09, 0.081], [0.081, 0.09]]))
    known = dict(measure=torch.tensor([[1.0, 0.0]]), values=torch.tensor([0.3]), batch=1000, dtype=F64, h=0.1)
    mean = {}
    for gain in inverse.GAINS:
        out = gahb.sample(f, 1000, (2,), gain=gain, **known)
        torch.testing.assert_close(out[:, 0], torch.full((1000,), 0.3, dtype=F64), rtol=0, atol=1e-6)
        mean[gain] = float(out[:, 1].mean())
    scatter = math.sqrt(0.09 * (1 - 0.81) / 1000)
    assert abs(mean["covariance"] - 0.27) < 0.03 * 0.27 + 4 * scatter
    assert mean["adjoint"] < 0.27 - 4 * scatter


def test_values_of_each_image_alone_or_among_others():
    f, measure = gaussian(), MEASURES["block means"]
    v = measure(f.sample(5, seed=1))
    settings = dict(method="ddim", steps=4, measure=measure, dtype=F64)
    many = gahb.sample(f, 5, SHAPE, values=v, batch=2, **settings)
    alone = gahb.sample(f, 1, SHAPE, values=v[3], start_index=3, **settings)
    torch.testing.assert_close(alone[0], many[3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("gain", inverse.GAINS)
def test_a_blind_network_is_taken_too(gain):
    torch.manual_seed(0)
    network = gahb.UNet(4, 1).eval()
    x = gahb.images.disks(3, 8)
    measure = inverse.block_means(2)
    out = gahb.sample(network, 3, (1, 8, 8), method="ddim", steps=3, measure=measure, values=measure(x), gain=gain)
    assert out.shape == x.shape and bool(torch.isfinite(out).all())
    if gain == "adjoint":
        torch.testing.assert_close(measure(out), measure(x), rtol=0, atol=1e-5)


def test_conditional_law_by_hand():
    f = gahb.Gaussian(torch.tensor([1.0, 2.0]), torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
    given = f.given(torch.tensor([[0.0, 2.0]]), torch.tensor([10.0]))  # the second is 5
    torch.testing.assert_close(given.mean, torch.tensor([2.0, 5.0], dtype=F64))
    torch.testing.assert_close(given.covariance, torch.tensor([[5 / 3, 0], [0, 0]], dtype=F64))
    with pytest.raises(ValueError, match=r"measure must be \(m, 2\), got \(1, 3\)"):
        f.given(torch.ones(1, 3), torch.ones(1))
    with pytest.raises(ValueError, match="values must be 1, one for each row of measure, got 2"):
        f.given(torch.ones(1, 2), torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(measure=2 * torch.eye(36)[:3]), ValueError,
         "measure must have orthonormal rows, A Aᵀ = Id, got a defect .* of 3 at"),
        (dict(measure=torch.eye(35)), ValueError, r"measure must be \(m, 36\) with m from 1 to 36, got \(35, 35\)"),
        (dict(measure="blur"), TypeError, "measure must be a linear function of images or a matrix, got str"),
        (dict(measure=lambda x: x + 1), ValueError, "measure must be linear, got values other than zero"),
        (dict(measure=lambda x: torch.fft.fft2(x)), ValueError, "measure must map images .* got torch.complex64"),
        (dict(values=torch.zeros(4)), ValueError,
         r"values must be \(3,\), or \(2, 3\) with some for each.* got \(4,\)"),
        (dict(values=[0.0] * 3), TypeError, "values must be a tensor, what measure makes of images, got list"),
        (dict(values=torch.full((3,), math.nan)), ValueError, "values must be finite, got NaN"),
        (dict(gain="kalman"), ValueError, "gain must be one of covariance, adjoint, got 'kalman'"),
    ],
)  # fmt: skip
def test_refuses(arguments, error, message):
    given = {**dict(measure=torch.eye(36)[:3], values=torch.zeros(3)), **arguments}
    with pytest.raises(error, match=message):
        gahb.sample(gaussian(), 2, SHAPE, **given)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: inverse.inpainting(torch.ones(3)), TypeError, "mask must be a boolean tensor .* got torch.float32"),
        (lambda: inverse.inpainting(torch.zeros(3) > 0), ValueError, "mask must be true at one pixel at least, got"),
        (lambda: inverse.block_means(0), ValueError, "factor must be an integer of at least 1, got 0"),
        (lambda: inverse.block_means(4)(torch.zeros(1, *SHAPE)), ValueError, r"factor must divide the sides \(6, 6\)"),
        (lambda: inverse.low_frequencies(-1), ValueError, "count must be an integer of at least 0, got -1"),
        (lambda: inverse.low_frequencies(3)(torch.zeros(1, *SHAPE)), ValueError, "count must be below half of the"),
        (lambda: inverse.random_projections(5, 4), ValueError, "m must be at most d = 4, got 5"),
    ],
)  # fmt: skip
def test_builders_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()
