"""Score, PSNR curves and Stein's estimate on denoisers whose errors are known."""

from __future__ import annotations

import math

import pytest
import torch

import gahb
from gahb.transforms import analyse

F64 = torch.float64


def identity(y, sigma=None):
    return y


def zero(y, sigma=None):
    return torch.zeros_like(y)


def normal(*shape: int, seed: int = 0, dtype=F64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(n: int = 12, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(7))


# --- score -------------------------------------------------------------------------------


def test_score_is_the_displacement_over_the_variance():
    y, sigmas = normal(3, 1, 2, 2), torch.tensor([0.1, 1.0, 2.0])
    half = lambda u, sigma=None: u / 2  # noqa: E731
    torch.testing.assert_close(gahb.score(half, y, 0.5), -2 * y)
    torch.testing.assert_close(gahb.score(half, y, sigmas)[2], -y[2] / 8)
    C = torch.diag(torch.tensor([1.0, 4.0], dtype=F64))
    points = normal(5, 2)
    exact = -points / (C.diagonal() + 0.3**2)
    torch.testing.assert_close(gahb.score(gahb.Gaussian(torch.zeros(2), C), points, 0.3), exact)


# --- PSNR --------------------------------------------------------------------------------


def test_psnr_of_the_identity_is_that_of_the_noise():
    x, sigmas = images(), [0.05, 0.3, 1.0]
    curve = gahb.psnr_curve(identity, x.double(), sigmas, seed=3)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).double()
    per_image = z.square().flatten(1).mean(dim=1)
    for row, s in enumerate(sigmas):
        torch.testing.assert_close(curve.per_image[row], s**2 * per_image, rtol=1e-9, atol=0)
        torch.testing.assert_close(curve.mse[row], s**2 * per_image.mean(), rtol=1e-9, atol=0)
    torch.testing.assert_close(curve.sigmas, torch.tensor(sigmas, dtype=F64))
    torch.testing.assert_close(curve.input_psnr, torch.tensor([-20 * math.log10(s) for s in sigmas], dtype=F64))


def test_psnr_is_that_of_the_mean_error_with_its_standard_error():
    """One image a hundred times worse than the others tells the two means apart."""
    x = images(20)
    off = torch.full((20, 1, 1, 1), 0.01)
    off[3] = 0.1
    curve = gahb.psnr_curve(lambda y, sigma=None: x + off, x, [0.2], batch=20)
    errors = off.flatten().double().square()
    torch.testing.assert_close(curve.per_image[0], errors, rtol=1e-5, atol=0)
    mean = errors.mean()
    assert abs(curve.psnr[0] + 10 * mean.log10()) < 1e-4
    assert abs(curve.psnr[0] + 10 * errors.log10().mean()) > 5
    # delta method: d(-10 log10 m) = 10/(ln 10) dm/m
    assert abs(curve.stderr[0] - 10 / math.log(10) * errors.std() / math.sqrt(20) / mean) < 1e-4


def test_standard_error_of_psnr_is_its_spread_over_repetitions():
    """400 curves of 16 images of pure noise: their spread is the mean standard error, within 15 %."""
    x = torch.zeros(16, 1, 2, 2)
    runs = [gahb.psnr_curve(identity, x, [1.0], seed=k) for k in range(400)]
    spread = torch.cat([run.psnr for run in runs]).std()
    claimed = torch.cat([run.stderr for run in runs]).mean()
    assert abs(claimed / spread - 1) < 0.15


def test_one_image_has_no_standard_error():
    curve = gahb.psnr_curve(identity, images(1), [0.1])
    assert bool(curve.stderr.isnan().all()) and bool(curve.psnr.isfinite().all())


def test_psnr_is_paired_and_independent_of_batches():
    x, seen = images(10), {}

    def spy(label):
        def denoiser(y, sigma=None):
            seen.setdefault((label, sigma), []).append(y.clone())
            return y

        return denoiser

    a = gahb.psnr_curve(spy("a"), x, [0.1, 0.5], seed=4, batch=3)
    b = gahb.psnr_curve(spy("b"), x, [0.1, 0.5], seed=4)
    assert torch.equal(a.per_image, b.per_image)
    for sigma in (0.1, 0.5):
        assert torch.equal(torch.cat(seen["a", sigma]), torch.cat(seen["b", sigma]))
    z = [(torch.cat(seen["a", s]) - x) / s for s in (0.1, 0.5)]
    torch.testing.assert_close(*z, rtol=0, atol=1e-5)  # the same noise at every level
    assert not torch.equal(a.per_image, gahb.psnr_curve(identity, x, [0.1, 0.5], seed=5).per_image)
    prefix = gahb.psnr_curve(identity, x[:4], [0.1, 0.5], seed=4)
    torch.testing.assert_close(prefix.per_image, a.per_image[:, :4])


def test_measuring_leaves_everything_as_it_was():
    network, x = gahb.UNet(4, 1).eval(), images(4)
    before, rng = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    gahb.psnr_curve(network, x, torch.tensor([0.1, 0.2]))
    gahb.sure(network, x, 0.1, probes=1)
    assert torch.equal(rng, torch.get_rng_state()) and torch.is_grad_enabled() and not network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: gahb.psnr_curve(identity, images(), []),
            ValueError,
            r"sigmas must be positive .* at least one, got \[\]",
        ),
        (
            lambda: gahb.psnr_curve(identity, images(), [0.1, 0]),
            ValueError,
            r"sigmas must be positive .* got \[0.1, 0.0\]",
        ),
        (
            lambda: gahb.psnr_curve(identity, images(), [math.nan]),
            ValueError,
            r"sigmas must be positive .* got \[nan\]",
        ),
        (
            lambda: gahb.psnr_curve(identity, images(), [math.inf]),
            ValueError,
            r"sigmas must be positive .* got \[inf\]",
        ),
        (
            lambda: gahb.psnr_curve(identity, images(), 0.1),
            TypeError,
            "sigmas must be a sequence of noise levels, got 0.1",
        ),
        (
            lambda: gahb.psnr_curve(identity, images()[:0], [0.1]),
            ValueError,
            r"images must be \(n, …\) with n ≥ 1, got shape \(0, 1, 8, 8\)",
        ),
        (
            lambda: gahb.psnr_curve(identity, images().byte(), [0.1]),
            TypeError,
            "images must be floating point, got torch.uint8",
        ),
        (
            lambda: gahb.psnr_curve(identity, images(), [0.1], batch=0),
            ValueError,
            "batch must be an integer of at least 1, got 0",
        ),
        (
            lambda: gahb.psnr_curve(identity, 255 * images(), [25.0]),
            ValueError,
            r"images must be scaled to \[0, 1\], the range of PSNR, got values from \d.* to 2\d\d",
        ),
        (lambda: gahb.sure(identity, images(), None), ValueError, "sigma must be a number or a tensor, got None"),
        (lambda: gahb.sure(identity, images(), 0), ValueError, "sigma must be positive and finite, got 0"),
        (
            lambda: gahb.sure(identity, images(), torch.ones(3)),
            ValueError,
            r"sigma must be a number or \(12,\), got shape \(3,\)",
        ),
        (
            lambda: gahb.sure(identity, images(), 0.1, probes=0),
            ValueError,
            "probes must be an integer of at least 1, got 0",
        ),
        (lambda: gahb.sure(identity, images()[0, 0, 0], 0.1), ValueError, "y must have a batch axis"),
        (lambda: gahb.score(identity, images(), -1), ValueError, "sigma must be positive and finite, got -1"),
        (lambda: gahb.score(identity, images(), math.nan), ValueError, "sigma must be positive and finite, got nan"),
        (lambda: gahb.score(identity, [1.0], 0.1), TypeError, "y must be a torch tensor, got list"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_only_images_of_another_scale_are_refused():
    """Images may leave [0, 1], as rescaled and standardised ones do; points have no range."""
    for x in (2 * images() - 1, (images() - 0.5) / images().std(), 255 * images().flatten(1)):
        assert bool(gahb.psnr_curve(identity, x, [0.1]).psnr.isfinite().all())


# --- SURE --------------------------------------------------------------------------------


@pytest.mark.parametrize("probes", [None, 3])
def test_sure_of_the_identity_and_of_zero(probes):
    y, sigma = normal(5, 1, 4, 4), 0.3
    torch.testing.assert_close(gahb.sure(identity, y, sigma, probes=probes), torch.full((5,), sigma**2, dtype=F64))
    expected = y.square().flatten(1).mean(dim=1) - sigma**2
    torch.testing.assert_close(gahb.sure(zero, y, sigma, probes=probes), expected)


def test_sure_is_the_formula_for_each_point_with_its_sigma():
    y, sigmas = normal(3, 6), torch.tensor([0.1, 0.5, 2.0], dtype=F64)
    f = gahb.Gaussian(torch.zeros(6), torch.diag(torch.arange(6.0)))
    gains = torch.arange(6.0, dtype=F64) / (torch.arange(6.0, dtype=F64) + sigmas[:, None] ** 2)
    expected = ((gains - 1) * y).square().mean(1) - sigmas**2 + 2 * sigmas**2 * gains.mean(1)
    torch.testing.assert_close(gahb.sure(f, y, sigmas), expected)
    torch.testing.assert_close(gahb.sure(f, y[:1], torch.tensor(0.1)), expected[:1])


def bias(denoiser, *, sigma: float = 0.5, probes=None):
    """Mean and standard error of SURE minus the true error: one clean image, noise of seed 1."""
    n = 600 if probes is None else 4000  # the exact trace takes 64 products a point
    x = torch.zeros(1, 1, 8, 8, dtype=F64)
    x[..., 2:6, 2:6] = 1
    y = x + sigma * normal(n, 1, 8, 8, seed=1)
    gap = gahb.sure(denoiser, y, sigma, probes=probes) - (denoiser(y, sigma) - x).square().flatten(1).mean(1)
    return gap.mean().item(), gap.std().item() / math.sqrt(n)


@pytest.mark.parametrize("probes", [None, 1])
@pytest.mark.parametrize("multiple", [0.5, 1.5])
def test_sure_is_unbiased_for_a_soft_threshold(multiple, probes):
    mean, error = bias(gahb.Wavelet("haar", levels=2, threshold="soft", multiple=multiple, shifts=1), probes=probes)
    assert abs(mean) < 3 * error and error < 0.01


def test_sure_is_unbiased_for_a_network_and_a_mixture():
    torch.manual_seed(0)
    for denoiser in (gahb.UNet(4, 1).double().eval(), gahb.Empirical(torch.rand(20, 1, 8, 8, dtype=F64))):
        mean, error = bias(denoiser, probes=1)
        assert abs(mean) < 3 * error


@pytest.mark.parametrize("probes", [None, 1])
def test_sure_fails_for_a_hard_threshold_by_the_mass_at_its_jumps(probes):
    """The null check. Δ = 2σ²T/d Σ_k [q_k(T) + q_k(−T)], exact here: the coefficients' law is known."""
    sigma, f = 0.5, gahb.Wavelet("haar", levels=2, threshold="hard", multiple=1.5, shifts=1)
    mean, error = bias(f, sigma=sigma, probes=probes)
    assert mean < -10 * error
    x = torch.zeros(1, 1, 8, 8, dtype=F64)
    x[..., 2:6, 2:6] = 1
    T = 1.5 * sigma
    means = torch.cat([c.flatten() for level in analyse(x, "haar", 2)[1] for c in level])
    q = torch.distributions.Normal(means, sigma)
    delta = 2 * sigma**2 * T / 64 * sum(q.log_prob(torch.tensor(t, dtype=F64)).exp().sum() for t in (T, -T)).item()
    assert abs(mean + delta) < 3 * error
