"""Closed forms against loops, quadrature and automatic differentiation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import jacobian, peak_memory, posterior, quadrature
from torch.func import hessian, jacfwd, jacrev, jvp, vjp, vmap

import gahb
from gahb.jacobian import Jacobian

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# --- the empirical optimum ---------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (1, 4, 4), (3, 2, 6)])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_empirical_is_the_softmax_mean(shape, sigma):
    images, y = uniform(37, *shape), uniform(6, *shape, seed=1)
    mean, covariance, _ = posterior(y, images, sigma)
    f = gahb.Empirical(images, block=8)
    assert f(y, sigma).shape == y.shape
    torch.testing.assert_close(f(y, sigma).flatten(1), mean, rtol=1e-12, atol=1e-12)
    J = vmap(jacrev(lambda u: f(u[None], sigma)[0].flatten()))(y).flatten(2)
    torch.testing.assert_close(J, covariance / sigma**2, rtol=1e-9, atol=1e-11)


@settings(max_examples=40)
@given(
    n=st.integers(1, 30),
    batch=st.integers(1, 5),
    block=st.integers(1, 40),
    sigma=st.floats(0.02, 3.0),
    seed=st.integers(0, 10**6),
)
def test_empirical_depends_on_neither_blocks_nor_batch(n, batch, block, sigma, seed):
    images, y = uniform(n, 6, seed=seed), uniform(batch, 6, seed=seed + 1)
    whole = gahb.Empirical(images, block=n)(y, sigma)
    f = gahb.Empirical(images, block=block)
    torch.testing.assert_close(f(y, sigma), whole, rtol=1e-11, atol=1e-12)
    alone = torch.cat([f(row[None], sigma) for row in y])
    torch.testing.assert_close(alone, whole, rtol=1e-11, atol=1e-12)
    v = normal(batch, 6, seed=seed)
    products = [jvp(lambda u, g=g: g(u, sigma), (y,), (v,))[1] for g in (f, gahb.Empirical(images, block=n))]
    torch.testing.assert_close(*products, rtol=1e-8, atol=1e-10)


def near_duplicates(sigma: float, n: int = 12, far: int = 200, size: int = 32):
    """Images whose mutual distances are σ to 3σ, hidden among others; and points near them."""
    base = uniform(1, 1, size, size)
    directions = torch.linalg.qr(normal(size * size, n, seed=2)).Q.T.reshape(n, 1, size, size)
    images = base + torch.linspace(0.75, 2.1, n, dtype=F64).reshape(n, 1, 1, 1) * sigma * directions
    order = torch.randperm(n + far, generator=torch.Generator().manual_seed(3))
    y = base + sigma * normal(3, 1, size, size, seed=4)
    return images, torch.cat([images, uniform(far, 1, size, size, seed=5)])[order], y


def test_empirical_where_weights_are_truly_mixed():
    """d = 1,024, σ = 0.01: log-weights of 10⁶ whose differences are of order one."""
    sigma = 0.01
    close, images, y = near_duplicates(sigma)
    distances = torch.pdist(close.flatten(1)) / sigma
    assert distances.min() > 1 and distances.max() < 3
    mean, covariance, _ = posterior(y, images, sigma)
    weights = torch.softmax(-torch.cdist(y.flatten(1), images.flatten(1)).square() / (2 * sigma**2), dim=1)
    assert (1 / weights.square().sum(dim=1)).min() > 3  # images that share the weight

    f = gahb.Empirical(images, block=50)
    torch.testing.assert_close(f(y, sigma).flatten(1), mean, rtol=1e-8, atol=0)
    J = covariance / sigma**2  # (B, d, d)
    v = normal(4, *y.shape, seed=6)
    expected = torch.einsum("bij,kbj->kbi", J, v.flatten(2))
    _, pull = vjp(lambda u: f(u, sigma), y)
    products = {
        "forward": torch.stack([jvp(lambda u: f(u, sigma), (y,), (one,))[1] for one in v]),
        "reverse": torch.stack([pull(one)[0] for one in v]),
        "vmap of forward": vmap(lambda one: jvp(lambda u: f(u, sigma), (y,), (one,))[1])(v),
        "vmap of reverse": vmap(lambda one: pull(one)[0])(v),
        "in blocks": Jacobian(f, y, sigma).forward(v),
    }
    for name, product in products.items():
        error = (product.flatten(2) - expected).norm() / expected.norm()
        assert error < 1e-8, (name, error)

    unit = torch.eye(1024, dtype=F64).reshape(1024, 1, 1, 32, 32)
    dense = Jacobian(f, y[:1], sigma).forward(unit).reshape(1024, 1024)
    assert (dense - J[0]).norm() < 1e-8 * J[0].norm()
    assert (dense - dense.T).norm() < 1e-10 * dense.norm()
    eigenvalues = torch.linalg.eigvalsh(dense)
    assert eigenvalues[0] > -1e-10 * eigenvalues[-1]
    assert eigenvalues[-1] > 0.1  # and the test is about something


def test_empirical_with_float32_points_and_images():
    """All but the answer's rounding is float64, whatever comes in, σ included."""
    sigma = 0.01
    _, images, y = near_duplicates(sigma)
    images, y = images.float(), y.float()
    mean, covariance, _ = posterior(y, images, sigma)
    f = gahb.Empirical(images)
    out = f(y, sigma)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.flatten(1), mean.float(), rtol=0, atol=2e-7)
    v = normal(*y.shape, seed=6).float()
    product = jvp(lambda u: f(u, sigma), (y,), (v,))[1]
    expected = torch.einsum("bij,bj->bi", covariance / sigma**2, v.flatten(1).double())
    assert product.dtype == torch.float32
    assert (product.flatten(1).double() - expected).norm() < 1e-6 * expected.norm()
    half = gahb.Empirical(uniform(5, 4))(uniform(2, 4, seed=1).half(), 0.1)
    exact, _, _ = posterior(uniform(2, 4, seed=1).half(), uniform(5, 4), 0.1)
    torch.testing.assert_close(half, exact.half(), rtol=0, atol=1e-3)


def test_empirical_takes_uint8_images():
    images = torch.randint(0, 256, (50, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = images[:4].double() / 255 + 0.1 * normal(4, 1, 6, 6)
    whole, stored = gahb.Empirical(images.double() / 255), gahb.Empirical(images, block=7)
    torch.testing.assert_close(stored(y, 0.1), whole(y, 0.1), rtol=1e-10, atol=1e-12)
    for J in (jacfwd, jacrev):
        pair = [J(lambda u, f=f: f(u, 0.1))(y) for f in (stored, whole)]
        torch.testing.assert_close(*pair, rtol=1e-8, atol=1e-10)
    assert stored.images.dtype == torch.uint8


def test_empirical_of_one_image_and_far_away():
    image = uniform(1, 1, 3, 3)
    f = gahb.Empirical(image)
    torch.testing.assert_close(f(normal(2, 1, 3, 3), 0.1), image.expand(2, 1, 3, 3))
    assert jacrev(lambda u: f(u, 0.1))(image).abs().max() < 1e-12
    images = uniform(20, 1, 3, 3)
    far = 1e4 * normal(2, 1, 3, 3)
    mean, _, _ = posterior(far, images, 0.01)
    torch.testing.assert_close(gahb.Empirical(images, block=3)(far, 0.01).flatten(1), mean)


def test_empirical_takes_a_sigma_for_each_point_also_under_vmap():
    images, y = uniform(30, 1, 4, 4), uniform(3, 1, 4, 4, seed=1)
    f, sigmas = gahb.Empirical(images), torch.tensor([0.1, 0.3, 1.0], dtype=F64)
    apart = torch.cat([f(row[None], float(s)) for row, s in zip(y, sigmas)])
    torch.testing.assert_close(f(y, sigmas), apart)
    over_sigma = vmap(lambda s: f(y, s))(sigmas)
    torch.testing.assert_close(over_sigma[1], f(y, 0.3))
    over_points = vmap(lambda u, s: f(u[None], s)[0])(y, sigmas)
    torch.testing.assert_close(over_points, apart)
    J = vmap(jacrev(lambda u, s: f(u[None], s)[0]), in_dims=(0, 0))(y, sigmas)
    for k in range(3):
        torch.testing.assert_close(J[k], jacfwd(lambda u, k=k: f(u[None], sigmas[k])[0])(y[k]))


def test_empirical_memory_does_not_grow_with_the_set():
    """Forward, jvp, vjp and many products at once; the plain formula is seen to grow."""
    y, few, many = uniform(4, 1, 8, 8, seed=1), uniform(1024, 1, 8, 8), uniform(8192, 1, 8, 8)
    v = normal(3, *y.shape)

    def runs(images):
        f = gahb.Empirical(images, block=256)
        g = lambda u: f(u, 0.3)  # noqa: E731
        return {
            "forward": lambda: g(y),
            "jvp": lambda: jvp(g, (y,), (y,)),
            "vjp": lambda: vjp(g, y)[1](y),
            "vmap of jvp": lambda: Jacobian(f, y, 0.3).forward(v),
            "effective dimension": lambda: gahb.effective_dimension(f, y, 0.3, probes=2),
        }

    pairs = zip(runs(few).items(), runs(many).values())
    for (name, small), large in pairs:
        assert peak_memory(large) <= 1.02 * peak_memory(small), name
    plain = [peak_memory(lambda x=x: posterior(y, x, 0.3)) for x in (few, many)]
    assert plain[1] > 4 * plain[0]


def test_empirical_refuses_second_derivatives_and_derivatives_in_sigma():
    f, y = gahb.Empirical(uniform(9, 4)), uniform(2, 4, seed=1)
    g = lambda u: f(u, 0.3).sum()  # noqa: E731
    once = torch.autograd.grad(g(y.requires_grad_()), y, create_graph=True)[0]
    y = y.detach()
    second = "second derivatives of the empirical optimum are not implemented"
    for run in (
        lambda: once.sum().backward(),
        lambda: hessian(g)(y),
        lambda: jacrev(jacrev(g))(y),
        lambda: jvp(lambda u: jvp(g, (u,), (y,))[1], (y,), (y,)),
    ):
        with pytest.raises(NotImplementedError, match=second):
            run()
    sigma = torch.tensor(0.3, dtype=F64)
    for run in (lambda: jvp(lambda s: f(y, s), (sigma,), (sigma,)), lambda: jacrev(lambda s: f(y, s))(sigma)):
        with pytest.raises(NotImplementedError, match="in sigma are not implemented"):
            run()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 1, 4, 4), r"images must be a tensor \(N, …\) with N ≥ 1, got shape \(0, 1, 4, 4\)"),
        (torch.zeros(4), r"images must be a tensor .* got shape \(4,\)"),
        ([[0.0]], "images must be a tensor .* got list"),
        (torch.tensor([[0.0], [math.nan]]), "images must be finite, got NaN"),
    ],
)
def test_empirical_refuses_no_images(images, message):
    with pytest.raises(ValueError, match=message):
        gahb.Empirical(images)


def test_empirical_refuses_a_bad_block():
    with pytest.raises(ValueError, match="block must be an integer of at least 1, got 0"):
        gahb.Empirical(torch.zeros(1, 2), block=0)


# --- Gaussian and mixture ----------------------------------------------------------------

WEIGHTS = torch.tensor([0.4, 0.25, 0.2, 0.15], dtype=F64)
MEANS = torch.tensor([[-1.1, -0.5], [1.0, -0.8], [0.2, 1.1], [0.9, 0.6]], dtype=F64)
COVARIANCES = torch.tensor(
    [[[0.30, 0.20], [0.20, 0.20]], [[0.04, 0.0], [0.0, 0.04]], [[0.5, 0.5], [0.5, 0.5]], [[0.0, 0.0], [0.0, 0.0]]],
    dtype=F64,
)  # an ellipse, a disk, a segment, a point


@pytest.fixture(scope="module")
def mixture():
    return gahb.GaussianMixture(WEIGHTS, MEANS, COVARIANCES)


@pytest.mark.parametrize("sigma", [0.25, 0.6, 2.0])
def test_mixture_against_quadrature(mixture, sigma):
    y = 1.5 * normal(12, 2)
    points, masses = quadrature(WEIGHTS, MEANS, COVARIANCES)
    mean, covariance, density = posterior(y, points, sigma, masses)
    torch.testing.assert_close(mixture(y, sigma), mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(mixture.posterior_covariance(y, sigma), covariance, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(mixture.log_density(y, sigma), density, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_mixture_score_and_jacobian_are_the_derivatives(mixture, sigma):
    y = mixture.sample(50, seed=1) + sigma * normal(50, 2)
    log_p = lambda u: mixture.log_density(u[None], sigma)[0]  # noqa: E731
    assert (gahb.score(mixture, y, sigma) - vmap(jacrev(log_p))(y)).abs().max() < 1e-10
    J = vmap(jacfwd(lambda u: mixture(u[None], sigma)[0]))(y)
    assert (J - mixture.posterior_covariance(y, sigma) / sigma**2).abs().max() < 1e-10
    assert (J - torch.eye(2, dtype=F64) - sigma**2 * vmap(hessian(log_p))(y)).abs().max() < 1e-9


def test_mixture_takes_a_sigma_for_each_point(mixture):
    y, sigmas = normal(4, 2), torch.tensor([0.05, 0.2, 0.7, 3.0], dtype=F64)
    for method in (mixture, mixture.log_density, mixture.posterior_covariance):
        apart = torch.cat([method(row[None], float(s)) for row, s in zip(y, sigmas)])
        torch.testing.assert_close(method(y, sigmas), apart)


def test_sigma_is_not_rounded_to_the_dtype_of_the_points(mixture):
    """0.1 is 0.09998 in float16; what is float64 at the end must not see that."""
    y = normal(4, 2).half()
    for method in (mixture.log_density, mixture.posterior_covariance):
        assert torch.equal(method(y, 0.1), method(y.double(), 0.1))


def test_mixture_of_points_is_the_empirical_optimum():
    points = uniform(7, 1, 3, 3)
    mixture = gahb.GaussianMixture(torch.full((7,), 1 / 7), points, torch.zeros(7, 9, 9))
    y = uniform(3, 1, 3, 3, seed=1)
    torch.testing.assert_close(mixture(y, 0.2), gahb.Empirical(points)(y, 0.2), rtol=1e-10, atol=1e-10)


def test_mixture_samples_have_its_moments(mixture):
    n = 200_000
    x = mixture.sample(n, seed=0)
    mean = WEIGHTS @ MEANS
    away = MEANS - mean
    covariance = torch.einsum("k,kij->ij", WEIGHTS, COVARIANCES + away[:, :, None] * away[:, None])
    error = (x.mean(dim=0) - mean).abs() / (covariance.diagonal() / n).sqrt()
    assert error.max() < 4
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0.02, atol=0.005)
    shares = torch.stack([(x - m).norm(dim=1) < 1e-9 for m in MEANS[3:]]).double().mean()  # on the point
    assert abs(shares - 0.15) < 4 * math.sqrt(0.15 * 0.85 / n)
    assert torch.equal(x, mixture.sample(n, seed=0)) and not torch.equal(x, mixture.sample(n, seed=1))
    assert gahb.GaussianMixture(torch.ones(1), torch.zeros(1, 1, 2, 2), torch.zeros(1, 4, 4)).sample(3).shape == (
        3,
        1,
        2,
        2,
    )


@pytest.mark.parametrize("rank", [0, 1, 5, 8])
def test_gaussian_is_linear_shrinkage(rank):
    A, mean = normal(8, rank), normal(8, seed=1)
    C = A @ A.T
    f, y, identity = gahb.Gaussian(mean, C), normal(5, 8, seed=2), torch.eye(8, dtype=F64)
    for sigma in (0.01, 1.0):
        gain = C @ torch.linalg.inv(C + sigma**2 * identity)
        torch.testing.assert_close(f(y, sigma), mean + (y - mean) @ gain.T, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(jacrev(lambda u, s=sigma: f(u[None], s)[0])(y[0]), gain, rtol=1e-8, atol=1e-9)
        score = vmap(jacrev(lambda u, s=sigma: f.log_density(u[None], s)[0]))(y)
        torch.testing.assert_close(gahb.score(f, y, sigma), score, rtol=1e-9, atol=1e-9)
    exact = torch.distributions.MultivariateNormal(mean, C + identity).log_prob(y)
    torch.testing.assert_close(f.log_density(y, 1.0), exact, rtol=1e-9, atol=1e-9)


def test_gaussian_of_a_set_has_its_mean_and_covariance():
    images = uniform(9, 1, 2, 3).float()
    f = gahb.Gaussian.of(images)
    assert f.mean.shape == (1, 2, 3)
    torch.testing.assert_close(f.mean, images.double().mean(0), rtol=1e-14, atol=0)
    rows = images.flatten(1).double().numpy()
    torch.testing.assert_close(f.covariance.numpy(), np.cov(rows, rowvar=False, bias=True), rtol=1e-12, atol=1e-15)
    for wrong in (images[:0], images[0, 0, 0]):
        with pytest.raises(ValueError, match=r"images must be \(n, …\) with n ≥ 1, got"):
            gahb.Gaussian.of(wrong)


def test_gaussian_of_images_and_singular_float32_covariances():
    """A covariance estimated from few samples in float32 has eigenvalues a little below zero."""
    x = uniform(10, 1, 12, 12).float()
    C = x.flatten(1).T.cov()
    assert torch.linalg.eigvalsh(C.double())[0] < 0
    f = gahb.Gaussian(x.mean(dim=0), C)
    out = f(x, 1e-4)
    assert out.shape == x.shape and out.dtype == torch.float32
    torch.testing.assert_close(out, x, rtol=0, atol=1e-4)  # all of them lie in its range


# --- the contract, for all of them -------------------------------------------------------


def everyone():
    d, A = 4, normal(3, 4, 4)
    C = A @ A.mT
    return {
        "Empirical": gahb.Empirical(uniform(20, d)),
        "Gaussian": gahb.Gaussian(uniform(d), C[0]),
        "GaussianMixture": gahb.GaussianMixture(torch.tensor([0.2, 0.3, 0.5]), normal(3, d), C),
    }


@pytest.mark.parametrize("name", everyone())
def test_contract_shapes_dtypes_and_state(name):
    f = everyone()[name]
    for shape in ((3, 4), (3, 1, 2, 2), (3, 4, 1, 1)):
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            y = uniform(*shape).to(dtype)
            before, state = y.clone(), torch.get_rng_state()
            out = f(y, 0.3)
            assert out.shape == y.shape and out.dtype == dtype
            close = f(y.double().flatten(1), 0.3).reshape(shape)
            torch.testing.assert_close(out.double(), close, rtol=0, atol=5 * torch.finfo(dtype).eps)
            assert torch.equal(y, before) and torch.equal(torch.get_rng_state(), state)
    assert f(torch.zeros(0, 4), 0.3).shape == (0, 4)


@pytest.mark.parametrize("name", everyone())
def test_contract_under_torch_func(name):
    f, y = everyone()[name], uniform(3, 1, 2, 2)
    reference = jacobian(f, y, 0.5)
    forward = vmap(jacfwd(lambda u: f(u[None], 0.5)[0]))(y).reshape(3, 4, 4)
    reverse = vmap(jacrev(lambda u: f(u[None], 0.5)[0]))(y).reshape(3, 4, 4)
    torch.testing.assert_close(forward, reference, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(reverse, forward, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(reverse, reverse.mT, rtol=1e-9, atol=1e-11)
    assert torch.linalg.eigvalsh(reverse).min() > -1e-10
    leaf = y.clone().requires_grad_()
    f(leaf, 0.5).sum().backward()
    torch.testing.assert_close(leaf.grad.flatten(1), reverse.sum(dim=1), rtol=1e-9, atol=1e-11)


BAD_SIGMAS = [
    (None, ValueError, "sigma must be a number or a tensor, got None"),
    (0.0, ValueError, "sigma must be positive and finite, got 0.0"),
    (-0.1, ValueError, "sigma must be positive and finite, got -0.1"),
    (math.nan, ValueError, "sigma must be positive and finite, got nan"),
    (math.inf, ValueError, "sigma must be positive and finite, got inf"),
    (torch.tensor([0.1, -0.1, 0.1]), ValueError, "sigma must be positive and finite"),
    (torch.tensor([0.1, math.nan, 0.1]), ValueError, "sigma must be positive and finite"),
    (torch.tensor([0.1, 0.1]), ValueError, r"sigma must be a number or \(3,\), got shape \(2,\)"),
    (torch.full((3, 1), 0.1), ValueError, r"sigma must be a number or \(3,\), got shape \(3, 1\)"),
    ("0.1", TypeError, "sigma must be a number or a tensor, got str"),
    (True, TypeError, "sigma must be a number or a tensor, got bool"),
]


@pytest.mark.parametrize("name", everyone())
@pytest.mark.parametrize(("sigma", "error", "message"), BAD_SIGMAS)
def test_contract_refuses_a_bad_sigma(name, sigma, error, message):
    with pytest.raises(error, match=message):
        everyone()[name](uniform(3, 4), sigma)


@pytest.mark.parametrize("name", everyone())
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (torch.zeros(3, 5), ValueError, r"y must have d = 4 values a point, got shape \(3, 5\)"),
        (torch.zeros(4), ValueError, r"y must have a batch axis, \(B, …\), got shape \(4,\)"),
        (torch.zeros(3, 4, dtype=torch.long), TypeError, "y must be floating point, got torch.int64"),
        ([[0.0] * 4], TypeError, "y must be a torch tensor, got list"),
    ],
)
def test_contract_refuses_bad_points(name, y, error, message):
    with pytest.raises(error, match=message):
        everyone()[name](y, 0.1)


EYE = torch.eye(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2) / 2, torch.zeros(3, 2), torch.stack([EYE] * 2)), r"means must be \(2, d\)"),
        ((torch.ones(2) / 2, torch.zeros(2, 2), EYE[None]), r"covariances must be \(2, 2, 2\), got \(1, 2, 2\)"),
        ((torch.ones(1) / 2, torch.zeros(1, 2), EYE[None]), "weights must sum to 1, got a sum of 0.5"),
        (
            (torch.tensor([1.5, -0.5]), torch.zeros(2, 2), torch.stack([EYE] * 2)),
            "weights must be a vector of positive",
        ),
        ((torch.tensor([math.nan]), torch.zeros(1, 2), EYE[None]), "weights must be a vector of positive"),
        ((torch.ones(1), torch.full((1, 2), math.nan), EYE[None]), "means must be finite"),
        ((torch.ones(1), torch.zeros(1, 2), -EYE[None]), r"covariances\[0\] must have eigenvalues ≥ 0, got -1"),
        (
            (torch.ones(1), torch.zeros(1, 2), torch.tensor([[[1.0, 0.5], [0, 1]]])),
            r"covariances\[0\] must be symmetric",
        ),
        ((torch.ones(1), torch.zeros(1, 2), math.nan * EYE[None]), r"covariances\[0\] must be symmetric and finite"),
    ],
)
def test_mixture_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        gahb.GaussianMixture(*arguments)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(3), EYE, r"covariance must be \(3, 3\), got \(2, 2\)"),
        (torch.zeros(2), -EYE, "covariance must have eigenvalues ≥ 0, got -1"),
        (torch.zeros(2), -1e-3 * EYE + torch.ones(2, 2), "covariance must have eigenvalues ≥ 0"),
        (torch.tensor([0.0, math.inf]), EYE, "mean must be finite"),
    ],
)
def test_gaussian_refuses(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        gahb.Gaussian(mean, covariance)


def test_a_mixture_samples_at_least_one_point(mixture):
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        mixture.sample(0)
