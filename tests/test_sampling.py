"""Samplers: one image at a time by the book, Gaussians without Monte Carlo, mixtures with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gahb
from gahb.kernels import counter

F64 = torch.float64
METHODS = ("stochastic", "ddim", "gradient-estimation", "ddpm")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Blur(torch.nn.Module):
    """A blind network whose residual is the fine detail: that falls, and with it σ from the residual."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=F64)
        torch.nn.init.constant_(self.conv.weight, 1 / 9)

    def forward(self, y, sigma=None):
        return self.conv(y).relu()


def network() -> torch.nn.Module:
    return Blur().eval()


def gaussian(d: int = 6) -> gahb.Gaussian:
    A = normal(d, d, seed=7) / math.sqrt(d)
    return gahb.Gaussian(normal(d, seed=8), 0.3 * A @ A.T)


MIXTURE = gahb.GaussianMixture(
    torch.tensor([0.5, 0.3, 0.2]),
    torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.5, -1.0]]),
    torch.stack([torch.diag(torch.tensor(v)) for v in ([0.04, 0.09], [0.02, 0.02], [0.09, 0.01])]),
)


def by_the_book(f, shape, i, *, seed, method, sigmas, mean, h=0.05, beta=0.5, steps=30, blind=False):
    """One image, as the papers write the algorithms."""
    low, high = sigmas
    d = math.prod(shape)

    def noise(name):
        return counter.normal(seed, f"sample {name}", i, 1, d).double().reshape(1, *shape)

    y = mean + high * noise("start")
    if method == "stochastic":
        sigma, t = high, 0
        while True:
            x_hat = f(y, sigma)
            residual = x_hat - y
            if blind:
                sigma = float(residual.norm()) / math.sqrt(d)
            if sigma <= low:
                return x_hat
            gamma = math.sqrt(((1 - beta * h) ** 2 - (1 - h) ** 2) * sigma**2)
            y = y + h * residual + gamma * noise(t)
            sigma, t = sigma * (1 - beta * h), t + 1
    levels = np.exp(np.linspace(math.log(high), math.log(low), steps))
    epsilons = []
    for t, (sigma, following) in enumerate(zip(levels, levels[1:])):
        if method == "ddpm":  # the posterior of the following noisy image given this one, and x at x̂
            x_hat, kept = f(y, sigma), following**2 / sigma**2
            y = x_hat + kept * (y - x_hat) + following * math.sqrt(1 - kept) * noise(t)
            continue
        epsilons.append((y - f(y, sigma)) / sigma)
        slope = epsilons[-1]
        if method == "gradient-estimation" and len(epsilons) > 1:
            slope = 2 * epsilons[-1] - epsilons[-2]
        y = y + (following - sigma) * slope
    return f(y, levels[-1])


@pytest.mark.parametrize("method", METHODS)
def test_gaussian_one_image_at_a_time_by_the_book(method):
    f = gaussian()
    mean = normal(3, 6, seed=1)
    settings = dict(seed=3, method=method, **({"h": 0.2} if method == "stochastic" else {}))
    out = gahb.sample(f, 3, (6,), start=mean, dtype=F64, batch=2, sigma_range=(0.02, 0.8), **settings)
    for i in range(3):
        alone = by_the_book(f, (6,), i, sigmas=(0.02, 0.8), mean=mean[i], **settings)
        torch.testing.assert_close(out[i : i + 1], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_network_one_image_at_a_time_by_the_book(method):
    """A blind network: σ from the residual, and images that stop at different steps."""
    f, stopped = network(), {}

    def watch(step, images, sigma, y, x_hat):
        stopped.update({int(i): step for i in images})
        assert len(images) == len(sigma) == len(y) and y.shape == x_hat.shape == (len(images), 1, 8, 8)

    settings = dict(h=0.2, beta=0.3) if method == "stochastic" else dict(steps=7)
    out = gahb.sample(f, 9, (1, 8, 8), method=method, batch=5, sigma_range=(0.05, 1.0), callback=watch, **settings)
    assert out.dtype == F64  # that of the weights
    with torch.no_grad():
        for i in range(9):
            blind = method == "stochastic"
            alone = by_the_book(f, (1, 8, 8), i, seed=0, method=method, sigmas=(0.05, 1.0), mean=0.5, blind=blind,
                                **settings)  # fmt: skip
            torch.testing.assert_close(out[i : i + 1], alone, rtol=0, atol=1e-6)
    assert (len(set(stopped.values())) > 1) == (method == "stochastic")


def test_converged_images_leave_the_batch():
    sizes, f = [], network()

    def counting(y, sigma=None):
        sizes.append(len(y))
        return f(y)

    settings = dict(h=0.2, beta=0.3, sigma_range=(0.05, 1.0), dtype=F64)
    gahb.sample(counting, 8, (1, 8, 8), **settings)
    assert sizes[0] == 1 and sizes[1] == 8  # whether it is blind; then all
    assert sorted(sizes[1:], reverse=True) == sizes[1:] and sizes[-1] < 8
    sizes.clear()
    gahb.sample(counting, 8, (1, 8, 8), blind=False, **settings)
    assert set(sizes) == {8}


@pytest.mark.parametrize("method", METHODS)
def test_noise_is_that_of_the_image_alone_or_among_others(method):
    """The same noise to the bit; with a denoiser that works on each pixel alone, the same images."""

    def halves(y, sigma=None):
        return 0.5 * y

    settings = dict(method=method, dtype=F64, seed=5)
    many = gahb.sample(halves, 7, (3, 3), **settings)
    assert torch.equal(many, gahb.sample(halves, 7, (3, 3), **settings, batch=3))
    assert torch.equal(many[:1], gahb.sample(halves, 1, (3, 3), **settings))
    assert not torch.equal(many, gahb.sample(halves, 7, (3, 3), **{**settings, "seed": 6}))
    start = []
    gahb.sample(halves, 7, (3, 3), **settings, callback=lambda step, images, sigma, y, x_hat: start.append(y))
    z = (start[0] - 0.5).flatten()
    assert len(z.unique()) == 63


@pytest.mark.parametrize("how", [
    dict(h=0.2, beta=0.3), dict(h=0.2, beta=0.3, blind=True), dict(method="ddim"), dict(method="gradient-estimation"),
])  # fmt: skip
def test_a_picture_by_its_number(how):
    """Image 37 alone, or from 30 on, is the 38th of a batch: to rounding, as convolutions sum in another order."""
    f = network()
    settings = dict(sigma_range=(0.05, 1.0), seed=2, progress=False)
    whole = gahb.sample(f, 40, (1, 8, 8), batch=16, **settings, **how)
    numbers = []
    alone = gahb.sample(f, 1, (1, 8, 8), start_index=37, callback=lambda step, images, *rest: numbers.append(images),
                        **settings, **how)  # fmt: skip
    torch.testing.assert_close(alone, whole[37:38], rtol=0, atol=1e-10)
    assert all(number.tolist() == [37] for number in numbers)
    later = gahb.sample(f, 10, (1, 8, 8), start_index=30, batch=4, **settings, **how)
    torch.testing.assert_close(later, whole[30:], rtol=0, atol=1e-10)


def test_a_start_at_clean_images_or_at_draws_of_a_gaussian():
    """y = m + σ_max z in either case: the noise is that of a start at grey; draws depend on (seed, number) alone."""
    g = gahb.Gaussian(torch.linspace(0.2, 0.8, 16).reshape(1, 4, 4), 0.01 * torch.eye(16, dtype=F64))

    def first(n, **how):
        ys = []
        gahb.sample(lambda y, sigma=None: 0 * y, n, (1, 4, 4), method="ddim", dtype=F64, **how,
                    callback=lambda step, images, sigma, y, x_hat: ys.append(y))  # fmt: skip
        return ys[0]

    x = normal(5, 1, 4, 4, seed=3)
    z = first(5, seed=4) - 0.5
    torch.testing.assert_close(first(5, seed=4, start=x) - x, z)
    torch.testing.assert_close(first(5, seed=4, start=g) - g.sample(5, seed=4), z)
    torch.testing.assert_close(first(2, seed=4, start=g, start_index=3), first(5, seed=4, start=g)[3:])
    assert not torch.allclose(first(5, seed=4, start=g), first(5, seed=5, start=g))


def test_draws_of_a_gaussian_have_its_mean_and_covariance():
    """20,000 points, seed 0, 4.5 s.e. for each of 27 numbers; each depends on its number alone."""
    f, n = gaussian(), 20_000
    points = f.sample(n)
    assert points.shape == (n, 6) and points.dtype == F64
    assert torch.equal(points[7:9], f.sample(2, start=7)) and not torch.equal(points[:2], f.sample(2, seed=1))
    variances = f.covariance.diagonal()
    assert ((points.mean(dim=0) - f.mean).abs() / (variances / n).sqrt()).max() < 4.5
    spread = ((variances[:, None] * variances + f.covariance**2) / n).sqrt()
    assert ((points.T.cov() - f.covariance).abs() / spread).max() < 4.5
    with pytest.raises(ValueError, match="start must be an integer of at least 0, got -1"):
        f.sample(1, start=-1)


# --- a Gaussian: the map is linear, and its law is known -----------------------------------


def deterministic_map(f, d: int, steps: int, method: str) -> torch.Tensor:
    """The matrix from the start's mean to the sample: the noise is common and drops out."""
    columns = torch.stack(
        [gahb.sample(f, 1, (d,), start=m[None], method=method, steps=steps, dtype=F64)[0]
         for m in torch.cat([torch.eye(d, dtype=F64), torch.zeros(1, d, dtype=F64)])]
    )  # fmt: skip
    return (columns[:-1] - columns[-1]).T


def test_ddim_is_of_order_one_in_the_step_of_log_sigma():
    """From p at σ_max, the probability flow's sample has covariance C²/(C + σ_min²): no Monte Carlo."""
    f, low, high = gaussian(), 0.01, 1.0
    values, basis = torch.linalg.eigh(f.covariance)
    exact = basis @ torch.diag(values / ((values + low**2) * (values + high**2)).sqrt()) @ basis.T
    law = basis @ torch.diag(values**2 / (values + low**2)) @ basis.T
    start = f.covariance + high**2 * torch.eye(6, dtype=F64)
    for method, errors in {m: [] for m in METHODS[1:3]}.items():
        spread = []
        for steps in (31, 61, 121, 241):
            M = deterministic_map(f, 6, steps, method)
            errors.append(float((M - exact).norm()))
            spread.append(float((M @ start @ M.T - law).norm() / law.norm()))
        orders = [math.log2(a / b) for a, b in zip(errors, errors[1:])]
        assert all(0.8 < order < 1.2 for order in orders[1:]), (method, orders)
        assert spread[-1] < 0.02, (method, spread)
        mean = gahb.sample(f, 2, (6,), start=f.mean.expand(2, 6), method=method, steps=31, dtype=F64)
        z = (mean - f.mean) @ torch.linalg.inv(deterministic_map(f, 6, 31, method)).T  # it starts from σ_max z
        torch.testing.assert_close(z, counter.normal(0, "sample start", 0, 2, 6).double(), rtol=1e-6, atol=1e-6)


def law_of_stochastic(c: float, h: float, beta: float, low: float = 0.01, high: float = 1.0) -> float:
    """Variance of a sample where the images' variance is c: the recursion of the algorithm on its schedule."""
    sigma, v = high, c + high**2
    while sigma > low:
        v = (1 - h * sigma**2 / (c + sigma**2)) ** 2 * v + ((1 - beta * h) ** 2 - (1 - h) ** 2) * sigma**2
        sigma *= 1 - beta * h
    return (c / (c + sigma**2)) ** 2 * v


def test_stochastic_has_the_law_of_its_recursion_whose_bias_is_of_order_h():
    """Gaussian, 4,000 samples, seed 0, 4.5 s.e. for each of the numbers compared (72 of them)."""
    f, n, h, beta = gaussian(), 4000, 0.1, 0.5
    values, basis = torch.linalg.eigh(f.covariance)
    x = f.mean + (normal(n, 6, seed=2) * values.sqrt()) @ basis.T
    out = (gahb.sample(f, n, (6,), start=x, h=h, beta=beta, dtype=F64, batch=n) - f.mean) @ basis
    expected = torch.tensor([law_of_stochastic(float(c), h, beta) for c in values], dtype=F64)
    assert (out.mean(dim=0).abs() / (expected / n).sqrt()).max() < 4.5
    spread = (expected[:, None] * expected / n).sqrt() * (1 + torch.eye(6, dtype=F64)).sqrt()
    assert ((out.T.cov() - torch.diag(expected)).abs() / spread).max() < 4.5
    for c in values[values > 0.01].tolist():
        target = c**2 / (c + 0.01**2)
        bias = [law_of_stochastic(c, step, beta) / target - 1 for step in (0.02, 0.01, 0.005)]
        assert abs(bias[0]) < 0.1
        assert all(1.8 < a / b < 2.2 for a, b in zip(bias, bias[1:])), (c, bias)


def test_sigma_from_the_residual_is_biased_on_a_full_rank_density():
    """N(½, 0.04 Id) in 64 dimensions at h = 0.05, β = 0.5: 200 samples, seed 0.

    A denoiser told the residual as σ is told too little, as |f* − y|²/d = σ⁴/(c + σ²), and the schedule
    collapses. The optimum that is blind reads σ off y and hardly suffers; nor does a density of low rank.
    """
    n, d, c = 200, 64, 0.04

    def ratio(f, rank=d, **how):
        x = 0.5 + math.sqrt(c * d / rank) * torch.cat([normal(n, rank, seed=1), torch.zeros(n, d - rank)], dim=1)
        out = gahb.sample(f, n, (d,), start=x, dtype=F64, batch=n, **how) - 0.5
        return float(out.square().sum(dim=1).mean() / (c * d))

    levels = torch.logspace(-2.5, 0.3, 60, dtype=F64)

    def blind_optimum(y, sigma=None):
        """E[x|y] with log σ uniform: y decides how noisy it is."""
        variance = c + levels**2
        log = -0.5 * ((y - 0.5).square().sum(dim=1, keepdim=True) / variance + d * variance.log())
        return 0.5 + (log.softmax(dim=1) @ (c / variance))[:, None] * (y - 0.5)

    half = torch.full((d,), 0.5)
    full = gahb.Gaussian(half, c * torch.eye(d))
    flat = gahb.Gaussian(half, c * d / 3 * torch.diag((torch.arange(d) < 3).double()))
    assert 2.5 < ratio(full, blind=True) < 2.9
    assert 0.93 < ratio(full) < 1.01
    assert 0.92 < ratio(blind_optimum) < 1.02
    assert abs(ratio(flat, rank=3, blind=True) / ratio(flat, rank=3) - 1) < 0.05


# --- a mixture ------------------------------------------------------------------------------


def moments(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Share, mean and covariance of the points nearest to each mean of the mixture."""
    which = torch.cdist(points, MIXTURE.means).argmin(dim=1)
    groups = [points[which == k] for k in range(3)]
    shares = torch.tensor([len(g) / len(points) for g in groups], dtype=F64)
    return shares, torch.stack([g.mean(dim=0) for g in groups]), torch.stack([g.T.cov() for g in groups])


@pytest.mark.parametrize(("method", "settings"), [("stochastic", dict(h=0.03)), ("ddim", dict(steps=150)),
                                                  ("gradient-estimation", dict(steps=150))])  # fmt: skip
def test_mixture_weights_means_and_covariances(method, settings):
    """4,000 samples from noisy draws of the mixture, seed 0: 4 s.e. and the bias of the step (6 % of a variance)."""
    n = 4000
    out = gahb.sample(MIXTURE, n, (2,), method=method, start=MIXTURE.sample(n, seed=1), dtype=F64, batch=n, **settings)
    reference = moments(MIXTURE.sample(10 * n, seed=2))  # what falls to which component by this rule
    shares, means, covariances = moments(out)
    assert ((shares - reference[0]).abs() / (reference[0] * (1 - reference[0]) / n).sqrt()).max() < 4
    variances = reference[2].diagonal(dim1=1, dim2=2)
    per_group = n * reference[0][:, None]
    assert ((means - reference[1]).abs() / (variances / per_group).sqrt()).max() < 4.5
    scale = (variances[:, :, None] * variances[:, None]).sqrt()
    allowed = 0.06 + 4.5 * math.sqrt(2) / per_group.sqrt()[:, :, None]
    assert ((covariances - reference[2]).abs() / scale < allowed).all()


def test_refining_ddim_halves_what_is_left_also_on_a_mixture():
    paths = [
        gahb.sample(MIXTURE, 200, (2,), method="ddim", start=torch.zeros(200, 2), dtype=F64, batch=200, steps=steps)
        for steps in (101, 201, 401, 801)
    ]
    changes = [(a - b).norm(dim=1).median() for a, b in zip(paths, paths[1:])]
    assert all(1.7 < a / b < 2.3 for a, b in zip(changes, changes[1:])), changes


def test_the_empirical_optimum_returns_its_images():
    images = gahb.images.disks(20, 8)
    out = gahb.sample(gahb.Empirical(images), 30, (1, 8, 8), method="ddim")
    similarity, index = gahb.nearest(out, images)
    assert similarity.min() > 0.999 and len(index.unique()) > 1


# --- the contract ---------------------------------------------------------------------------


def test_dtype_device_and_global_state():
    f = network().float()
    state = torch.get_rng_state()
    out = gahb.sample(f, 2, (1, 8, 8), method="ddim", steps=2)
    assert out.dtype == torch.float32 and out.shape == (2, 1, 8, 8) and not out.requires_grad
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
    assert not f.training and all(p.requires_grad for p in f.parameters())
    assert gahb.sample(MIXTURE, 2, (2,), method="ddim").dtype == torch.float32
    a, b = (gahb.sample(MIXTURE, 2, (2,), method="ddim", dtype=t).double() for t in (torch.float32, F64))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_beta_one_injects_nothing_and_is_ddim_with_its_own_steps():
    h = 1 - (0.01 / 1.0) ** (1 / 20)
    stochastic = gahb.sample(MIXTURE, 5, (2,), h=h, beta=1.0, sigma_range=(0.0100001, 1.0), dtype=F64)
    ddim = gahb.sample(MIXTURE, 5, (2,), method="ddim", steps=21, dtype=F64)
    torch.testing.assert_close(stochastic, ddim, rtol=1e-6, atol=1e-6)


def test_gradient_estimation_by_its_gamma_and_settings_of_other_methods():
    """γ = 1 is DDIM; a setting that the method does not take is refused by name."""
    settings = dict(steps=9, dtype=F64, seed=1)
    ddim = gahb.sample(MIXTURE, 4, (2,), method="ddim", **settings)
    torch.testing.assert_close(gahb.sample(MIXTURE, 4, (2,), method="gradient-estimation", gamma=1.0, **settings), ddim)
    far = gahb.sample(MIXTURE, 4, (2,), method="gradient-estimation", gamma=1.5, **settings)
    assert not torch.allclose(far, ddim)
    with pytest.raises(TypeError, match="settings of method='stochastic' are h, beta, blind, got sigma_max, steps"):
        gahb.sample(MIXTURE, 1, (2,), steps=3, sigma_max=2)
    with pytest.raises(TypeError, match="settings of method='ddim' are steps, got gamma"):
        gahb.sample(MIXTURE, 1, (2,), method="ddim", gamma=2)
    with pytest.raises(TypeError, match="settings of method='ddpm' are steps, mu, got gamma"):
        gahb.sample(MIXTURE, 1, (2,), method="ddpm", gamma=2)
    with pytest.raises(TypeError, match="start must be None, clean images or a gahb.Gaussian, got float"):
        gahb.sample(MIXTURE, 1, (2,), start=0.5)


def test_ddpm_by_its_mu_has_the_variance_of_its_recursion():
    """μ = 0 is DDIM; N(0, 0.09) at μ = 0.3, 40,000 numbers, seed 0: 4 s.e."""
    settings = dict(steps=9, dtype=F64, seed=1)
    torch.testing.assert_close(gahb.sample(MIXTURE, 4, (2,), method="ddpm", mu=0.0, **settings),
                               gahb.sample(MIXTURE, 4, (2,), method="ddim", **settings))  # fmt: skip
    torch.testing.assert_close(
        gahb.sample(MIXTURE, 4, (2,), method="gradient-estimation", gamma=1.0, mu=0.5, **settings),
        gahb.sample(MIXTURE, 4, (2,), method="ddpm", **settings),
    )
    c, mu, n, levels = 0.09, 0.3, 400, np.geomspace(1.0, 0.01, 12)
    v = c + 1.0
    for sigma, following in zip(levels, levels[1:]):
        down = (following / sigma**mu) ** (1 / (1 - mu))
        v = (1 - (1 - down / sigma) * sigma**2 / (c + sigma**2)) ** 2 * v + following**2 - down**2
    v *= (c / (c + levels[-1] ** 2)) ** 2
    f = gahb.Gaussian(torch.zeros(100), c * torch.eye(100))
    out = gahb.sample(f, n, (100,), method="ddpm", mu=mu, steps=12, start=f, batch=n, dtype=F64)
    assert abs(float(out.square().mean()) / v - 1) < 4 * math.sqrt(2 / out.numel())


def test_a_denoiser_that_never_converges_is_an_error():
    def restless(y, sigma=None):
        return y + 1

    with pytest.raises(RuntimeError, match="3 of 3 images did not come down to a noise level of 0.5 in 310 steps"):
        gahb.sample(restless, 3, (2,), sigma_range=(0.5, 1.06))
    with pytest.raises(ValueError, match="denoiser must return finite values"):
        gahb.sample(lambda y, sigma=None: y / 0 - y / 0, 2, (2,), sigma_range=(0.9, 1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n=0), "n must be an integer of at least 1, got 0"),
        (dict(seed=-1), "seed must be an integer of at least 0, got -1"),
        (dict(shape=(1, 0, 8)), r"shape must be the sides of one image, such as \(1, 32, 32\), got \(1, 0, 8\)"),
        (dict(shape=8), "shape must be the sides of one image"),
        (dict(method="euler"), "method must be one of stochastic, ddim, gradient-estimation, ddpm, got 'euler'"),
        (dict(sigma_range=(1.0, 0.1)), "sigma_range must satisfy"),
        (dict(h=1.5), r"h and beta must be in \(0, 1\], got 1.5 and 0.5"),
        (dict(beta=0), "beta must be a positive number, got 0"),
        (dict(method="ddim", steps=1), "steps must be an integer of at least 2, got 1"),
        (dict(batch=0), "batch must be an integer of at least 1, got 0"),
        (dict(method="gradient-estimation", gamma=0), "gamma must be a positive number, got 0"),
        (dict(method="ddpm", mu=1.0), r"mu must be a number in \[0, 1\), got 1.0"),
        (dict(method="ddpm", mu=-0.5), r"mu must be a number in \[0, 1\), got -0.5"),
        (dict(method="gradient-estimation", mu="half"), r"mu must be a number in \[0, 1\), got 'half'"),
        (dict(measure=torch.eye(2)), "values must be given with measure, and only with it, got measure = tensor"),
        (dict(values=torch.zeros(2)), "values must be given with measure, and only with it, got measure = None"),
        (dict(start=torch.zeros(3)), r"start must be \(2, 2\), a clean image for each one drawn, got \(3,\)"),
        (dict(start=gaussian()), "start must be a Gaussian of images of 2 values, got one of 6"),
        (dict(start_index=-1), "start_index must be an integer of at least 0, got -1"),
        (dict(denoiser=gahb.UNet(4, 1)), "denoiser is in training mode"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        gahb.sample(**{**dict(denoiser=MIXTURE, n=2, shape=(2,)), **arguments})
