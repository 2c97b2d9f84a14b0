"""The optimal disk denoiser against brute force, against importance sampling, and against what theory says of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import jacobian
from torch.func import jacfwd, jacrev, jvp, vjp, vmap

import gahb
from gahb.images import disks
from gahb.images.disks import disk_parameters
from gahb.kernels.disk import CENTRE, RADIUS, coverage
from gahb.kernels.disk_posterior import _cells, _grey_posterior

F64 = torch.float64
LOW, HIGH = torch.tensor([CENTRE, CENTRE, RADIUS], dtype=F64).T


def noisy(n: int, size: int, sigma: float, *, seed: int = 0, contrast=(0.0, 1.0)):
    """The first n disks with |a − b| in a range, float64, and the same under noise."""
    _, _, a, b = disk_parameters(100 * n, seed=seed)
    wanted = ((a - b).abs() >= contrast[0]) & ((a - b).abs() <= contrast[1])
    x = disks(100 * n, size, seed=seed)[wanted][:n].double()
    assert len(x) == n
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=F64)
    return x, x + sigma * z


def posterior_variance(f, y, sigma):
    """E[|x − f*|² | y] (B,) by the trace of the Jacobian, one direction a pixel."""
    unit = torch.eye(f.d, dtype=F64).reshape(f.d, 1, *y.shape[1:])
    products = [vmap(lambda v, row=row: jvp(lambda u: f(u, sigma), (row,), (v,))[1])(unit) for row in y.split(1)]
    return torch.stack([(J * unit).sum() for J in products]) * sigma**2


# --- against brute force ------------------------------------------------------------------


def gauss(low: float, high: float, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and log-weights of the Gauss–Legendre rule."""
    t, weight = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(n))
    return low + (high - low) * (1 + t) / 2, weight.log()


def product_rule(*axes):
    nodes, logs = zip(*axes)
    return torch.cartesian_prod(*nodes), torch.cartesian_prod(*logs).sum(dim=1)


def brute_force(y: torch.Tensor, size: int, sigma: float, n: int = 24, levels: int = 26):
    """Mean (d,) and covariance (d, d) of x by one Gauss rule of n³ shapes × levels² greys, without a thought."""
    shapes, log_shape = product_rule(*[gauss(low, high, n) for low, high in (CENTRE, CENTRE, RADIUS)])
    greys, log_grey = product_rule(gauss(0, 1, levels), gauss(0, 1, levels))
    masks = coverage(shapes[:, :2], shapes[:, 2], size).flatten(1)
    pair = torch.stack([masks, 1 - masks], dim=1)  # (shapes, 2, d)
    gram = pair @ pair.mT
    quadratic = torch.einsum("gi,nij,gj->ng", greys, gram, greys)
    log = (pair @ y.flatten() @ greys.T - quadratic / 2) / sigma**2 + log_shape[:, None] + log_grey
    weights = log.flatten().softmax(dim=0).reshape(log.shape)
    mean = torch.einsum("nid,ni->d", pair, weights @ greys)
    second = (weights @ (greys[:, :, None] * greys[:, None]).flatten(1)).unflatten(1, (2, 2))
    rows = pair.flatten(0, 1)
    product = rows.T @ torch.einsum("nij,njd->nid", second, pair).flatten(0, 1)
    return mean, product - torch.outer(mean, mean)


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0])
def test_brute_force_on_a_coarse_case(sigma):
    """Squared error below 0.1 % of the posterior variance, covariance to 5 %; half of which is brute force's own."""
    _, y = noisy(2, 8, sigma)
    f = gahb.OptimalDisks(8)
    J = vmap(jacfwd(lambda u: f(u[None], sigma)[0].flatten()))(y).flatten(2)
    for row, found, product in zip(y, f(y, sigma), J):
        mean, covariance = brute_force(row, 8, sigma)
        assert (found.flatten() - mean).square().sum() < 1e-3 * covariance.trace()
        assert (product * sigma**2 - covariance).norm() < 5e-2 * covariance.norm()


# --- against an independent integration ---------------------------------------------------


def importance_sampling(y: torch.Tensor, size: int, sigma: float, generator, n: int = 1500, final: int = 5000):
    """Mean and posterior variance by population Monte Carlo over shapes, and its effective sample size.

    Shapes are drawn uniformly; then, while the likelihood is raised to a power
    that grows to one, from Student kernels around shapes resampled by weight.
    A tenth is always drawn uniformly, so that no part of the box is given up.
    """

    def weigh(shapes):
        cells = _cells(shapes, HIGH - LOW, size)
        return cells, *_grey_posterior(cells, y.flatten(), torch.tensor(sigma**2, dtype=F64))

    def effective(log):
        return 1 / log.softmax(dim=0).square().sum()

    def uniform(count):
        return LOW + (HIGH - LOW) * torch.rand(count, 3, generator=generator, dtype=F64)

    shapes, log_density, power = uniform(n), torch.zeros(n, dtype=F64), 0.0
    while power < 1:
        log = weigh(shapes)[1]
        powers = torch.logspace(-9, 0, 400, dtype=F64)  # the largest that leaves a tenth of the shapes in effect
        fit = torch.stack([effective(t * log - log_density) > 0.1 * len(shapes) for t in powers])
        power = float(powers[fit.nonzero().max()])
        w = (power * log - log_density).softmax(dim=0)
        centres = shapes[torch.multinomial(w, 200, replacement=True, generator=generator)]
        away = shapes - w @ shapes
        root = 0.5 * torch.linalg.cholesky((w[:, None] * away).T @ away)
        count = n if power < 1 else final
        normal = torch.randn(count, 3, generator=generator, dtype=F64)
        tail = torch.randn(count, 5, generator=generator, dtype=F64).square().mean(dim=1).sqrt()
        kernel = centres[torch.randint(200, (count,), generator=generator)] + normal @ root.T / tail[:, None]
        shapes = torch.where(torch.rand(count, 1, generator=generator) < 0.1, uniform(count), kernel)
        shapes = shapes[((shapes > LOW) & (shapes < HIGH)).all(dim=1)]
        distance = torch.cdist(*(torch.linalg.solve(root, points.T).T for points in (shapes, centres))).square()
        student = math.gamma(4) / (math.gamma(2.5) * (5 * math.pi) ** 1.5) * (1 + distance / 5) ** -4
        log_density = (0.9 * student.mean(dim=1) / root.det() + 0.1 / (HIGH - LOW).prod()).log()

    cells, log, greys, covariance = weigh(shapes)
    w = (log - log_density).softmax(dim=0)
    mean = (w @ greys[:, 1]).repeat(size**2)
    mean[cells.pixels] += (w * (greys[:, 0] - greys[:, 1])) @ cells.masks
    (aa, ab), (_, bb) = (covariance + greys[:, :, None] * greys[:, None]).permute(1, 2, 0)
    overlap = cells.area - cells.square
    square = aa * cells.square + 2 * ab * overlap + bb * (size**2 - cells.area - overlap)  # E[|x|² | y, θ]
    return mean, w @ square - mean.square().sum(), effective(log - log_density)


@pytest.mark.parametrize("contrast", [(0.0, 1.0), (0.0, 0.1)], ids=["any contrast", "low contrast"])
@pytest.mark.parametrize("sigma", [0.005, 0.05, 0.3, 1.0])
def test_an_independent_integration_agrees(sigma, contrast):
    """At most 0.2 % of the posterior variance apart (1 % is asked for), of which sampling makes some 0.05 %."""
    _, y = noisy(3, 20, sigma, seed=3, contrast=contrast)
    f = gahb.OptimalDisks(20)
    generator = torch.Generator().manual_seed(0)
    means, variances, effective = zip(*[importance_sampling(row, 20, sigma, generator) for row in y])
    assert min(effective) > 300
    total = torch.stack(variances).sum()
    assert (f(y, sigma).flatten(1) - torch.stack(means)).square().sum() < 2e-3 * total
    assert f.d * f.error(y, sigma).sum() < 1e-3 * total


# --- what theory says ---------------------------------------------------------------------


def test_five_dimensions_as_the_noise_vanishes():
    """d · MSE/σ² → 5, from the errors (3 standard errors of 64 images) and from the Jacobian's trace."""
    sigma = 0.005
    x, y = noisy(64, 20, sigma, seed=5)
    f = gahb.OptimalDisks(20)
    squared = (f(y, sigma) - x).square().flatten(1).sum(dim=1) / sigma**2
    assert abs(squared.mean() - 5) < 3 * squared.std() / 8
    trace = posterior_variance(f, y[:4], sigma) / sigma**2
    assert abs(trace.mean() - 5) < 0.25  # low contrast, and the border of the class, make it vary
    _, y = noisy(3, 20, 0.0005, seed=5, contrast=(0.3, 1.0))
    assert (posterior_variance(f, y, 0.0005) / 0.0005**2 - 5).abs().max() < 0.05


def test_the_error_is_orthogonal_to_what_is_known():
    """E⟨x − f*(y), h(y)⟩ = 0 for h = f*, and for h = y: 3 standard errors, 120 images, σ = 0.3."""
    x, y = noisy(120, 10, 0.3, seed=6)
    estimate = gahb.OptimalDisks(10)(y, 0.3)
    for h in (estimate, y):
        product = ((x - estimate) * (h - 0.5)).flatten(1).sum(dim=1)
        assert abs(product.mean()) < 3 * product.std() / math.sqrt(120)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), sigma=st.floats(0.01, 1.0))
def test_symmetries_of_the_class(seed, sigma):
    _, y = noisy(1, 10, sigma, seed=seed)
    f = gahb.OptimalDisks(10)
    expected = f(y, sigma)
    for there, back in (
        (lambda u: u.flip(2), lambda u: u.flip(2)),
        (lambda u: u.mT, lambda u: u.mT),
        (lambda u: 1 - u, lambda u: 1 - u),
    ):
        assert (back(f(there(y), sigma)) - expected).norm() < 0.02 * sigma


# --- the Jacobian -------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_jacobian_products(sigma):
    _, y = noisy(2, 6, sigma, seed=2)
    f = gahb.OptimalDisks(6)
    J = torch.stack([jacrev(lambda u: f(u[None], sigma)[0])(row).reshape(36, 36) for row in y])
    assert (J - J.mT).norm() < 1e-10 * J.norm()
    assert torch.linalg.eigvalsh(J).min() > -1e-10
    slow = jacobian(f, y[:1], sigma, step=1e-3 * sigma)
    assert (J[:1] - slow).norm() < 2e-2 * J[:1].norm()  # cells that come and go between two points cost 10⁻³ of σ
    v = torch.randn(3, *y.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    expected = torch.einsum("bij,kbj->kbi", J, v.flatten(2)).reshape(v.shape)
    _, pull = vjp(lambda u: f(u, sigma), y)
    level = torch.tensor([sigma, sigma], dtype=F64)
    products = {
        "forward": torch.stack([jvp(lambda u: f(u, sigma), (y,), (one,))[1] for one in v]),
        "reverse": torch.stack([pull(one)[0] for one in v]),
        "vmap of forward": vmap(lambda one: jvp(lambda u: f(u, level), (y,), (one,))[1])(v),
        "vmap of reverse": vmap(lambda one: pull(one)[0])(v),
    }
    for name, product in products.items():
        assert (product - expected).norm() < 1e-10 * expected.norm(), name
    torch.testing.assert_close(vmap(lambda u, s: f(u[None], s)[0])(y, level), f(y, sigma), rtol=0, atol=0)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0])
def test_posterior_variance_is_the_trace_of_the_jacobian(sigma):
    f = gahb.OptimalDisks(12)
    _, y = noisy(3, 12, sigma, seed=9)
    found = f.posterior_variance(y.float(), sigma)
    assert found.shape == (3,) and found.dtype == F64
    torch.testing.assert_close(found, posterior_variance(f, y.float().double(), sigma), rtol=1e-8, atol=0)


def test_what_is_not_differentiated_says_so():
    _, y = noisy(1, 8, 0.3)
    f = gahb.OptimalDisks(8)
    with pytest.raises(NotImplementedError, match="in sigma"):
        jvp(lambda s: f(y, s), (torch.tensor([0.3], dtype=F64),), (torch.ones(1, dtype=F64),))
    with pytest.raises(NotImplementedError, match="in sigma"):
        f(y, torch.tensor([0.3], dtype=F64, requires_grad=True)).sum().backward()
    with pytest.raises(NotImplementedError, match="second derivatives"):
        jacfwd(jacrev(lambda u: f(u, 0.3).sum()))(y)


# --- the contract -------------------------------------------------------------------------


def test_shapes_dtypes_and_one_noise_level_an_image():
    _, y = noisy(3, 10, 0.2)
    f, levels = gahb.OptimalDisks(10), torch.tensor([0.01, 0.2, 0.9])
    together = f(y, levels)
    alone = torch.cat([f(row, float(level.double())) for row, level in zip(y.split(1), levels)])
    assert torch.equal(together, alone)
    assert torch.equal(f(y.flatten(1), levels), together.flatten(1))
    single = f(y.float(), 0.2)
    assert single.dtype == torch.float32 and single.shape == y.shape
    torch.testing.assert_close(single, f(y.float().double(), 0.2).float(), rtol=0, atol=0)
    assert f(y[:0], 0.2).shape == (0, 1, 10, 10)
    assert f.error(y, levels).shape == (3,)


@pytest.mark.parametrize("value", [-3.0, 1.5, 100.0])
def test_points_far_from_every_disk(value):
    """The least impossible image is uniform: both greys at the nearer end."""
    y = torch.full((1, 1, 8, 8), value, dtype=F64)
    out = gahb.OptimalDisks(8)(y, 0.005)
    torch.testing.assert_close(out, y.clamp(0, 1), rtol=0, atol=1e-4)


def test_no_noise_to_speak_of_and_no_number():
    f = gahb.OptimalDisks(8)
    x, y = noisy(1, 8, 1e-7, contrast=(0.3, 1.0))
    assert (f(y, 1e-7) - x).norm() < 1e-6
    assert f(torch.full_like(y, torch.nan), 0.1).isnan().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gahb.OptimalDisks(3), "size must be an integer of at least 4, got 3"),
        (lambda: gahb.OptimalDisks(8.0), "size must be an integer"),
        (lambda: gahb.OptimalDisks(8)(torch.zeros(1, 1, 8, 8)), "sigma must be .* got None"),
        (lambda: gahb.OptimalDisks(8)(torch.zeros(1, 1, 8, 8), 0.0), "sigma must be positive"),
        (lambda: gahb.OptimalDisks(8)(torch.zeros(1, 1, 9, 9), 0.1), "d = 64"),
        (lambda: gahb.OptimalDisks(8).error(torch.zeros(1, 1, 8, 8), None), "sigma must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
