"""Adaptive bases: exact Jacobians, the top k without the matrix, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import jacrev, vmap

import gahb
from gahb.jacobian import basis as basis_module

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def linear(A: torch.Tensor):
    return lambda y, sigma=None: (y.flatten(1) @ A.T).reshape(y.shape)


def covariance(d: int, seed: int = 0) -> torch.Tensor:
    A = normal(d, d, seed=seed)
    return A @ A.T / d


CLOSED = {
    "gaussian": lambda: gahb.Gaussian(normal(16), covariance(16)),
    "mixture": lambda: gahb.GaussianMixture(
        torch.tensor([0.4, 0.6]), normal(2, 16) / 4, torch.stack([covariance(16), covariance(16, 1)])
    ),
    "empirical": lambda: gahb.Empirical(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))),
}


@pytest.mark.parametrize("k", [None, 5])
@pytest.mark.parametrize("name", CLOSED)
def test_the_optimum_has_the_basis_of_the_posterior_covariance(name, k):
    f, y, sigma = CLOSED[name](), normal(3, 1, 4, 4) / 2, torch.tensor([0.3, 0.5, 0.8], dtype=F64)
    if name == "empirical":
        w = torch.softmax(-torch.cdist(y.flatten(1), f.images.flatten(1).double()) ** 2 / (2 * sigma[:, None] ** 2), 1)
        away = f.images.flatten(1).double() - (w @ f.images.flatten(1).double())[:, None]
        C = torch.einsum("bn,bni,bnj->bij", w, away, away)
    elif name == "gaussian":
        C = torch.stack([f.covariance @ torch.linalg.inv(f.covariance + s**2 * torch.eye(16)) * s**2 for s in sigma])
    else:
        C = f.posterior_covariance(y, sigma).reshape(3, 16, 16)
    J = C / sigma[:, None, None] ** 2
    out = gahb.adaptive_basis(f, y, sigma, k=k, tol=1e-9)
    expected = torch.linalg.eigvalsh(J).flip(1)[:, :k]
    torch.testing.assert_close(out.eigenvalues, expected, rtol=1e-8, atol=1e-8)
    e = out.eigenvectors.flatten(2)
    assert out.eigenvectors.shape == (3, k or 16, 1, 4, 4)
    torch.testing.assert_close(e @ e.mT, torch.eye(k or 16, dtype=F64).expand(3, -1, -1), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(e @ J, out.eigenvalues[:, :, None] * e, rtol=1e-8, atol=1e-8)
    assert float(out.residuals.max()) < 1e-8 and float(out.asymmetry.max()) < 1e-8


@pytest.mark.parametrize("k", [None, 6, 49])
def test_a_network_has_the_basis_of_its_symmetric_part(k):
    f, y = gahb.UNet(3, 1).double().eval(), normal(2, 1, 8, 8)
    J = vmap(jacrev(lambda u: f(u[None])[0]))(y).reshape(2, 64, 64)
    S = (J + J.mT) / 2
    out = gahb.adaptive_basis(f, y, k=k, tol=1e-8)
    values = torch.linalg.eigvalsh(S).flip(1)
    torch.testing.assert_close(out.eigenvalues, values[:, :k], rtol=1e-8, atol=1e-8)
    e = out.eigenvectors.flatten(2)
    residuals = (e @ S - out.eigenvalues[:, :, None] * e).norm(dim=2)
    torch.testing.assert_close(out.residuals, residuals, rtol=1e-6, atol=1e-12)
    asymmetry = (J - J.mT).norm(dim=(1, 2)) / (J + J.mT).norm(dim=(1, 2))
    torch.testing.assert_close(out.asymmetry, asymmetry, rtol=1e-8 if k is None else 0.3, atol=0)
    if k is None:
        torch.testing.assert_close(out.negative, values.clamp(max=0).norm(dim=1) / values.norm(dim=1))
        assert out.products.tolist() == [64, 64]


@given(
    d=st.integers(2, 40), rank=st.integers(0, 40), k=st.integers(1, 40), copies=st.integers(1, 8),
    block=st.integers(1, 8), seed=st.integers(0, 9),
)
def test_copies_and_empty_spaces_are_found(d, rank, k, copies, block, seed):
    """Spectra of few distinct values, zeros among them: Krylov spaces run dry, and copies must still be found."""
    rank, k, copies = min(rank, d), min(k, d), min(copies, block)
    Q = torch.linalg.qr(normal(d, d, seed=seed)).Q
    values = torch.zeros(d, dtype=F64)
    values[:rank] = 1 - (torch.arange(rank) // copies).double() / d
    f = linear(Q @ torch.diag(values) @ Q.T)
    out = gahb.adaptive_basis(f, normal(2, d), k=k, tol=1e-7, block=block, seed=seed)
    torch.testing.assert_close(out.eigenvalues[0], values[:k], rtol=1e-7, atol=1e-7)


def test_a_projector_of_high_rank_has_all_its_copies():
    Q = torch.linalg.qr(normal(400, 40)).Q
    out = gahb.adaptive_basis(linear(Q @ Q.T), normal(1, 400), k=50)
    torch.testing.assert_close(out.eigenvalues[0], (torch.arange(50) < 40).double(), rtol=0, atol=1e-6)


def test_restarts_and_points_that_leave_early():
    """Two points with gaps of their own, d = 600 > 256, so that the span is cut down on the way."""
    Q = torch.linalg.qr(normal(600, 600)).Q
    wide, narrow = 0.9 ** torch.arange(600, dtype=F64), 0.993 ** torch.arange(600, dtype=F64)
    values = torch.stack([wide, narrow])

    def f(y, sigma):
        return ((y @ Q) * torch.where(sigma[:, None] < 1, *values)) @ Q.T

    y, sigma = normal(2, 600), torch.tensor([0.5, 2.0], dtype=F64)
    out = gahb.adaptive_basis(f, y, sigma, k=30, tol=1e-8)
    torch.testing.assert_close(out.eigenvalues, values[:, :30], rtol=1e-8, atol=1e-8)
    assert out.products[0] < 2 * 256 < out.products[1]  # only the second was restarted
    alone = gahb.adaptive_basis(f, y[1:], sigma[1:], k=30, tol=1e-8)
    torch.testing.assert_close(out.eigenvectors[1:].abs(), alone.eigenvectors.abs(), rtol=1e-5, atol=1e-6)
    assert alone.products.tolist() == out.products[1:].tolist()


def test_the_asymmetry_of_many_probes_is_that_of_the_matrix():
    A = normal(60, 60) + 2 * covariance(60)
    exact = gahb.adaptive_basis(linear(A), normal(1, 60)).asymmetry
    probed = gahb.adaptive_basis(linear(A), normal(1, 60), k=1, block=60).asymmetry
    torch.testing.assert_close(exact, ((A - A.T).norm() / (A + A.T).norm())[None])
    torch.testing.assert_close(probed, exact)  # 60 orthonormal probes are all there are


def test_a_model_is_left_as_it_was():
    network = gahb.UNet(4, 1).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    y = normal(2, 1, 8, 8).float().requires_grad_()
    rng = torch.get_rng_state()
    out = gahb.adaptive_basis(network, y, k=3)
    again = gahb.adaptive_basis(network, y, k=3)
    assert torch.equal(rng, torch.get_rng_state()) and torch.equal(out.eigenvectors, again.eigenvectors)
    assert out.eigenvectors.dtype == out.eigenvalues.dtype == torch.float32 and not out.eigenvectors.requires_grad
    assert bool((out.residuals <= 1e-3).all())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training and all(p.requires_grad and p.grad is None for p in network.parameters())


def test_a_tolerance_out_of_reach_is_an_error():
    A = torch.diag(1 - torch.arange(64) / 64)
    with pytest.raises(ArithmeticError, match=r"k = 4 eigenpairs were not found to tol = 1e-12 .* takes 64 products"):
        gahb.adaptive_basis(linear(A), normal(1, 64).float(), k=4, tol=1e-12)


def test_refuses(monkeypatch):
    network, y = gahb.UNet(4, 1), torch.zeros(1, 1, 4, 4)
    for k in (None, 3):
        with pytest.raises(ValueError, match=r"training mode; call denoiser.eval\(\) first"):
            gahb.adaptive_basis(network, y, k=k)
    network.eval()
    with pytest.raises(ValueError, match="k must be at most d = 16, the number of values of a point, got 17"):
        gahb.adaptive_basis(network, y, k=17)
    with pytest.raises(ValueError, match="k must be an integer of at least 1, got 0"):
        gahb.adaptive_basis(network, y, k=0)
    with pytest.raises(ValueError, match="tol must be a positive number, got 0"):
        gahb.adaptive_basis(network, y, k=1, tol=0)
    with pytest.raises(ValueError, match="y must be finite"):
        gahb.adaptive_basis(network, y / 0)
    with pytest.raises(ValueError, match="must be divisible by 2"):
        gahb.adaptive_basis(network, torch.zeros(1, 1, 5, 4))
    with pytest.raises(ValueError, match="denoiser must return the shape of y"):
        gahb.adaptive_basis(lambda u, sigma=None: u[:, :, 1:], y, k=2)
    with pytest.raises(ValueError, match=r"at least one point and one value, got shape \(0, 1, 4, 4\)"):
        gahb.adaptive_basis(network, y[:0])
    monkeypatch.setattr(basis_module, "_memory", lambda device: 1e3)
    with pytest.raises(MemoryError, match=r"1 points with d = 16 takes 6.14e-06 GB, .* give k, say k=64"):
        gahb.adaptive_basis(network, y)
    gahb.adaptive_basis(network, y + 1, k=2, tol=1e-2)
    monkeypatch.undo()
    assert basis_module._memory(torch.device("cpu")) > 1e8


def test_a_deflated_basis_is_that_of_the_compressed_matrix():
    A, y, directions = covariance(9), normal(2, 1, 3, 3), normal(2, 3, 1, 3, 3, seed=1)
    whole = gahb.adaptive_basis(linear(A), y)
    out = basis_module.deflated_basis(whole, directions)
    assert out.eigenvectors.shape == (2, 6, 1, 3, 3) and float(out.residuals.max()) < 1e-10
    e = out.eigenvectors.flatten(2)
    assert float((e @ directions.flatten(2).mT).abs().max()) < 1e-10
    torch.testing.assert_close(e @ e.mT, torch.eye(6, dtype=F64).expand(2, -1, -1))
    for values, D in zip(out.eigenvalues, directions.flatten(2)):
        Q = torch.eye(9, dtype=F64) - torch.linalg.pinv(D) @ D
        expected = torch.linalg.eigvalsh(Q @ A @ Q).flip(0)  # positive but for the three that are taken away
        torch.testing.assert_close(values, expected[:6])


def test_a_deflated_basis_needs_the_whole_basis_and_directions_that_fit():
    y = normal(1, 1, 3, 3)
    with pytest.raises(ValueError, match="basis must have all d = 9 vectors, got k = 4"):
        basis_module.deflated_basis(gahb.adaptive_basis(linear(covariance(9)), y, k=4), normal(1, 2, 1, 3, 3))
    with pytest.raises(ValueError, match=r"directions must be \(1, K, 1, 3, 3\), got \(1, 2, 9\)"):
        basis_module.deflated_basis(gahb.adaptive_basis(linear(covariance(9)), y), normal(1, 2, 9))


def test_the_optimum_of_disks_keeps_their_tangent_space_and_nothing_beyond():
    from gahb.images.disks import disk_images, disk_tangents

    shape = [torch.tensor(v) for v in ([[0.43, 0.52]], [0.21], [0.9], [0.2])]
    y = disk_images(*shape, 12).double() + 0.005 * normal(1, 1, 12, 12)
    whole, tangents = gahb.adaptive_basis(gahb.OptimalDisks(12), y, 0.005), disk_tangents(*shape, 12)
    rest = basis_module.deflated_basis(whole, tangents)
    assert abs(whole.eigenvalues.sum().item() - 5) < 0.1
    assert rest.eigenvalues[0, 0] < 0.05
