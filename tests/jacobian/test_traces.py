"""Traces of Jacobians: exact, by random signs, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import jacrev, vmap

import gahb
from gahb._points import batches
from gahb.jacobian import Jacobian, divergence, trace_estimate, traces
from gahb.jacobian.operator import block_size, derivative_settings

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def linear(d: int, seed: int = 0):
    """f(y) = A y for a matrix far from symmetric, for points of any shape."""
    A = normal(d, d, seed=seed)
    return A, lambda y, sigma=None: (y.flatten(1) @ A.T).reshape(y.shape)


DENOISERS = {
    "network": lambda: gahb.UNet(4, 1).double().eval(),
    "empirical": lambda: gahb.Empirical(torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))),
    "wavelet": lambda: gahb.Wavelet(levels=2, threshold="soft", shifts=2),
    "gaussian": lambda: gahb.Gaussian(torch.zeros(16), torch.eye(16)),
}


@pytest.mark.parametrize("name", DENOISERS)
def test_exact_trace_is_that_of_the_dense_jacobian(name):
    f, y = DENOISERS[name](), normal(3, 1, 4, 4)
    J = vmap(jacrev(lambda u: f(u[None], 0.5)[0]))(y).reshape(3, 16, 16)
    expected = J.diagonal(dim1=1, dim2=2).sum(dim=1)
    torch.testing.assert_close(divergence(f, y, 0.5), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gahb.effective_dimension(f, y, 0.5), expected, rtol=1e-10, atol=1e-10)
    v = normal(5, 3, 1, 4, 4, seed=1)
    products = Jacobian(f, y, 0.5).forward(v)
    torch.testing.assert_close(products.flatten(2), torch.einsum("bij,kbj->kbi", J, v.flatten(2)))
    products = Jacobian(f, y, 0.5).transposed(v)
    torch.testing.assert_close(products.flatten(2), torch.einsum("bij,kbi->kbj", J, v.flatten(2)))


def test_a_projector_keeps_its_dimension():
    Q = torch.linalg.qr(normal(12, 5)).Q
    f = lambda y, sigma=None: (y.flatten(1) @ Q @ Q.T).reshape(y.shape)  # noqa: E731
    torch.testing.assert_close(gahb.effective_dimension(f, normal(4, 1, 3, 4)), torch.full((4,), 5.0, dtype=F64))
    torch.testing.assert_close(divergence(f, normal(4, 12), probes=3).shape, torch.Size([4]))


def test_effective_dimension_of_the_optimum_is_its_error_in_units_of_noise():
    mixture = gahb.GaussianMixture(torch.tensor([0.3, 0.7]), normal(2, 3), torch.stack([torch.eye(3) / 4] * 2))
    y = normal(6, 3)
    expected = mixture.posterior_covariance(y, 0.4).diagonal(dim1=1, dim2=2).sum(dim=1) / 0.4**2
    torch.testing.assert_close(gahb.effective_dimension(mixture, y, 0.4), expected)


@pytest.mark.parametrize("points", [1, 7, 150])
def test_random_signs_are_unbiased_with_the_variance_of_theory(points):
    """z'Az has mean tr A and variance 2(|S|² − |diag S|²), S the symmetric part; seed 0, 4 s.e."""
    d, probes = 10, 6000 // points
    A, f = linear(d)
    y = normal(points, d)
    estimates = divergence(f, y, probes=probes, seed=0)
    S = (A + A.T) / 2
    variance = 2 * (S.square().sum() - S.diagonal().square().sum())
    standard_error = math.sqrt(variance / (points * probes))
    assert abs(estimates.mean() - A.trace()) < 4 * standard_error
    if points == 150:
        assert abs(estimates.var() * probes / variance - 1) < 4 * math.sqrt(2 / 149)


def test_random_signs_are_exact_for_a_diagonal():
    gains = normal(8)
    y = normal(3, 8)
    out = divergence(lambda u, sigma=None: u * gains, y, probes=1, seed=5)
    torch.testing.assert_close(out, gains.sum().expand(3), rtol=1e-12, atol=1e-12)


def test_trace_estimate_is_exact_where_the_rank_is_within_reach():
    A = normal(30, 4) @ normal(4, 30, seed=1)
    out = trace_estimate(lambda u, sigma=None: u @ A.T, normal(2, 30), products=12)
    torch.testing.assert_close(out.value, A.trace().expand(2), rtol=1e-10, atol=1e-10)
    assert bool((out.stderr < 1e-10).all())


def test_trace_estimate_is_unbiased_and_knows_its_error():
    """On 400 points, each with signs of its own; seed 0: the mean within 4 s.e., the error bars right to 10 %."""
    Q = torch.linalg.qr(normal(40, 40)).Q
    A = Q @ torch.diag(0.7 ** torch.arange(40, dtype=F64)) @ Q.T + 0.005 * normal(40, 40, seed=1)
    f, y = (lambda u, sigma=None: u @ A.T), normal(400, 40)
    out = trace_estimate(f, y, products=24, seed=0)
    spread = out.value.std()
    assert abs(out.value.mean() - A.trace()) < 4 * spread / 20
    assert abs(out.stderr.square().mean().sqrt() / spread - 1) < 0.1
    plain = divergence(f, y, probes=24, seed=0).std()
    assert spread < plain / 2  # as many products
    torch.testing.assert_close(out.value[64:70], trace_estimate(f, y, products=24).value[64:70])


def test_rows_are_filters():
    f, y = DENOISERS["network"](), normal(2, 1, 4, 6)
    J = vmap(jacrev(lambda u: f(u[None])[0]))(y)  # (B, 1, 4, 6, 1, 4, 6)
    rows = gahb.adaptive_filters(f, y, pixels=[(0, 1), (3, 5), (2, 2)])
    assert rows.shape == (2, 3, 1, 4, 6)
    torch.testing.assert_close(rows, torch.stack([J[:, 0, 0, 1], J[:, 0, 3, 5], J[:, 0, 2, 2]], dim=1))
    torch.testing.assert_close((rows * y[:, None]).sum(dim=(2, 3, 4)), f(y)[:, 0, [0, 3, 2], [1, 5, 2]])
    colours = lambda u, sigma=None: u.roll(1, dims=1)  # noqa: E731
    rows = gahb.adaptive_filters(colours, normal(1, 3, 2, 2), pixels=torch.tensor([[2, 0, 1]]))
    assert rows[0, 0, 1, 0, 1] == 1 and rows.sum() == 1


def test_blocks_hold_a_bounded_number_of_values():
    for shape in ((1, 2), (64, 2), (300, 2), (1, 1, 80, 80), (64, 1, 80, 80)):
        block = block_size(torch.empty(shape))
        assert block >= 1 and (block == 1 or block * math.prod(shape) <= 2**18)
    assert block_size(torch.empty(1, 1, 80, 80)) == 40


def test_derivative_settings_are_for_their_block_only():
    cuda, mha = torch.backends.cuda, torch.backends.mha

    def flags():
        return (torch.is_grad_enabled(), torch.backends.cudnn.allow_tf32, cuda.matmul.allow_tf32,
                mha.get_fastpath_enabled(), cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled())

    before = flags()
    assert any(before[1:3]) and all(before[3:])
    with derivative_settings():
        assert not any(flags()) and cuda.math_sdp_enabled()
    assert flags() == before


def test_the_seed_says_the_probes_and_nothing_else_does():
    _, f = linear(10)
    y = normal(70, 10)
    rng = torch.get_rng_state()
    first = divergence(f, y, probes=5, seed=1)
    assert torch.equal(rng, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, divergence(f, y, probes=5, seed=1))
    assert not torch.equal(first, divergence(f, y, probes=5, seed=2))


@pytest.mark.parametrize("probes", [None, 9])
def test_batching_changes_nothing(probes, monkeypatch):
    f, y = DENOISERS["network"](), normal(67, 1, 2, 4)  # more than one batch of points
    sigma = torch.linspace(0.1, 1, 67, dtype=F64)
    g = lambda u, s: s.reshape(-1, 1, 1, 1) * f(u)  # noqa: E731  # each point meets its own sigma
    whole = divergence(g, y, sigma, probes=probes)
    if probes is None:
        apart = torch.cat([divergence(g, row[None], s[None]) for row, s in zip(y, sigma)])
        torch.testing.assert_close(whole, apart, rtol=1e-10, atol=1e-10)
    monkeypatch.setattr(traces, "batches", lambda n, s: batches(n, s, 5))
    torch.testing.assert_close(divergence(g, y, sigma, probes=probes), whole, rtol=1e-10, atol=1e-10)
    directions = traces._directions
    monkeypatch.setattr(traces, "_directions", lambda *a: directions(*a, budget=130))
    torch.testing.assert_close(divergence(g, y, sigma, probes=probes), whole, rtol=1e-10, atol=1e-10)


def test_batches_share_out_sigma():
    sigma = torch.arange(5)
    assert [(p.start, p.stop, s) for p, s in batches(3, 0.1, 2)] == [(0, 2, 0.1), (2, 4, 0.1)]
    assert [s.tolist() for _, s in batches(5, sigma, 2)] == [[0, 1], [2, 3], [4]]
    assert [s for _, s in batches(3, None, 2)] == [None, None]
    assert [s.ndim for _, s in batches(3, torch.tensor(0.1), 2)] == [0, 0]


def test_a_model_is_left_as_it_was():
    network = gahb.UNet(4, 1).eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    y = normal(2, 1, 4, 4).float().requires_grad_()
    out = divergence(network, y, probes=2)
    assert out.dtype == torch.float32 and not out.requires_grad
    assert torch.is_grad_enabled() and y.grad is None
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters()) and not network.training


def test_refuses():
    network, y = gahb.UNet(4, 1), torch.zeros(1, 1, 4, 4)
    for measure in (divergence, gahb.effective_dimension):
        with pytest.raises(ValueError, match=r"denoiser is in training mode; call denoiser.eval\(\) first"):
            measure(network, y)
    network.eval().encoder.train()  # one part of it is enough
    with pytest.raises(ValueError, match="denoiser is in training mode"):
        divergence(network, y)
    network.eval()
    with pytest.raises(ValueError, match="probes must be an integer of at least 1, got 0"):
        divergence(network, y, probes=0)
    with pytest.raises(TypeError, match="y must be floating point, got torch.uint8"):
        divergence(network, y.byte())
    with pytest.raises(ValueError, match=r"y must have a batch axis, \(B, …\), got shape \(4,\)"):
        divergence(network, torch.zeros(4))
    with pytest.raises(ValueError, match="sigma must be a number or a tensor, got None"):
        divergence(gahb.Gaussian(torch.zeros(2), torch.eye(2)), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="y must be finite, got NaN or infinity"):
        divergence(network, torch.full((1, 1, 4, 4), torch.nan))
    with pytest.raises(ValueError, match=r"denoiser must return the shape of y, \(1, 1, 4, 4\), got \(1, 1, 2, 2\)"):
        divergence(lambda u, sigma=None: u[..., ::2, ::2], y)
    with pytest.raises(ValueError, match="products must be an integer of at least 6, got 5"):
        trace_estimate(network, y, products=5)
    with pytest.raises(ValueError, match=r"pixels must lie inside images of shape \(1, 4, 4\), got \[\[4, 0\]\]"):
        gahb.adaptive_filters(network, y, pixels=[(4, 0)])
    with pytest.raises(ValueError, match=r"pixels must be \(P, 2\) or \(P, 3\) indices"):
        gahb.adaptive_filters(network, y, pixels=[1, 2])
