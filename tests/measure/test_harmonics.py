"""Measures of bases: known cases, null checks, and that rotations within a band change nothing."""

from __future__ import annotations

import math

import pytest
import pywt
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

import gahb
from gahb import harmonics
from gahb.jacobian.basis import AdaptiveBasis

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def orthonormal(batch: int, k: int, size: int, seed: int = 0) -> torch.Tensor:
    """Random orthonormal pictures (batch, k, 1, size, size)."""
    return torch.linalg.qr(normal(batch, size * size, k, seed=seed)).Q.mT.reshape(batch, k, 1, size, size)


def all_of(vectors: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[0, vectors.shape[1]]])


def waves(size: int, row: float, column: float, phase: float = 0.0) -> torch.Tensor:
    """A plane wave (1, 1, 1, size, size), in cycles a picture."""
    i, j = torch.meshgrid(*[torch.arange(size, dtype=F64)] * 2, indexing="ij")
    return torch.cos(2 * math.pi * (row * i + column * j) / size + phase)[None, None, None]


def disk(size: int, radius: float = 0.3, soft: float = 1.0) -> torch.Tensor:
    """A smooth disk (1, 1, size, size), its edge `soft` pixels wide."""
    i, j = torch.meshgrid(*[torch.arange(size, dtype=F64) - (size - 1) / 2] * 2, indexing="ij")
    return torch.sigmoid((radius * size - (i**2 + j**2).sqrt()) / soft)[None, None]


MEASURES = {
    "frequency": lambda e, x, c: harmonics.frequency(e, c),
    "alignment": lambda e, x, c: harmonics.alignment(e, x, c),
    "along": lambda e, x, c: harmonics.frequency_along(e, x, c),
}


@given(seed=st.integers(0, 99), cut=st.integers(1, 11))
def test_rotations_within_a_band_change_nothing(seed, cut):
    e, x, cuts = orthonormal(2, 12, 8, seed), normal(2, 1, 8, 8, seed=seed + 1), torch.tensor([[0, cut, 12]])
    turned = torch.cat([
        torch.einsum("kl,blcij->bkcij", torch.linalg.qr(normal(part.shape[1], part.shape[1], seed=seed)).Q, part)
        for part in (e[:, :cut], e[:, cut:])
    ], dim=1)
    for measure in MEASURES.values():
        torch.testing.assert_close(measure(turned, x, cuts), measure(e, x, cuts), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("turn", [lambda a: torch.rot90(a, 1, (-2, -1)), lambda a: a.flip(-1), lambda a: a.mT])
def test_measures_turn_with_the_image(turn):
    e, x = orthonormal(2, 5, 8), normal(2, 1, 8, 8, seed=3)
    for measure in MEASURES.values():
        torch.testing.assert_close(measure(turn(e), turn(x), all_of(e)), measure(e, x, all_of(e)))


def test_a_stationary_gaussian_has_fourier_bands():
    """The Jacobian of its optimum is circulant: bands of one |k| have exactly that frequency, which falls with λ."""
    size, k = 12, torch.fft.fftfreq(12, 1 / 12, dtype=F64)
    radius2 = k[:, None] ** 2 + k**2
    power = 1 / (1 + radius2)
    basis = torch.fft.ifft2(power * torch.fft.fft2(torch.eye(size**2, dtype=F64).reshape(-1, size, size))).real
    f = gahb.Gaussian(torch.zeros(size**2), basis.reshape(size**2, -1))
    b = gahb.adaptive_basis(f, normal(1, 1, size, size), 0.3)
    levels, counts = torch.unique(radius2, return_counts=True)  # squared frequencies and their multiplicities
    cuts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])[None]
    found = harmonics.frequency(b.eigenvectors, cuts, periodic=True)[0]
    torch.testing.assert_close(found, levels.sqrt() / size, rtol=1e-7, atol=1e-7)
    values = harmonics.band_means(b.eigenvalues, cuts)
    torch.testing.assert_close(values[0], 1 / (1 + 0.09 * (1 + levels)), rtol=1e-10, atol=0)
    assert gahb.statistics.rank_correlation(values, found[None]).item() == pytest.approx(-1)
    edges = [0, 1, 5, 9, 13]  # 1, 4, 4 and 4 copies: the only gaps there are
    assert harmonics.cuts(b, edges).tolist() == [edges]
    with pytest.raises(ArithmeticError, match="no gap near edge 3 is wider than its residuals"):
        harmonics.cuts(b, [0, 3])


def test_frequency_of_known_vectors():
    e = torch.cat([waves(16, 3, 0), waves(16, 0, 5, 1.0), waves(16, 3, 4)], dim=1)
    e = e / e.square().sum(dim=(2, 3, 4), keepdim=True).sqrt()
    singles = torch.tensor([[0, 1, 2, 3]])
    expected = torch.tensor([[3, 5, 5]], dtype=F64) / 16
    torch.testing.assert_close(harmonics.frequency(e, singles, periodic=True), expected)
    cosines = gahb.transforms.dct_vectors(5, 8, 12).double()  # half-periods (0,0) (0,1) (1,0) (1,1) (0,2)
    expected = torch.tensor([[0, 1 / 24, 1 / 16, math.hypot(1 / 16, 1 / 24), 1 / 12]], dtype=F64)
    torch.testing.assert_close(harmonics.frequency(cosines, torch.arange(6)[None]), expected, rtol=1e-6, atol=1e-7)
    noise = harmonics.frequency(orthonormal(1, 256, 16), torch.tensor([[0, 256]]))
    assert noise.item() == pytest.approx(math.sqrt(2 * sum((k / 32) ** 2 for k in range(16)) / 16))


def test_rice_counts_the_zeros_of_random_vectors_of_a_band():
    """Crossings along rows and columns, of 400 random mixtures: 2 ν / √2 a pixel; seed 0, 3 %."""
    grid = [(a, b) for a in range(-6, 7) for b in range(-6, 7) if 25 <= a * a + b * b <= 36]
    e = torch.cat([waves(32, a, b, phase) for a, b in grid for phase in (0.0, math.pi / 2)], dim=1)
    nu = harmonics.frequency(e / 32 * math.sqrt(2), all_of(e), periodic=True).item()
    mixed = torch.einsum("nk,kij->nij", normal(400, e.shape[1]), e[0, :, 0])
    crossings = (mixed != mixed.roll(1, 2)) & (mixed.sign() != mixed.roll(1, 2).sign())
    assert crossings.double().mean().item() == pytest.approx(math.sqrt(2) * nu, rel=0.03)


def test_alignment_of_gratings():
    x, one = waves(32, 0, 3)[:, 0], torch.tensor([[0, 1]])
    for row, column, expected in ((0, 2, 1.0), (2, 0, -1.0), (2, 2, 0.0), (2, -2, 0.0)):
        assert harmonics.alignment(waves(32, row, column, 0.7), x, one).item() == pytest.approx(expected, abs=0.02)
    torch.testing.assert_close(harmonics.alignment(torch.ones(1, 1, 1, 32, 32), x, one), torch.zeros(1, 1, dtype=F64))
    along = harmonics.frequency_along(torch.cat([waves(32, 2, 1, 0.3), waves(32, 0, 2, 0.3)], 1), x,
                                      torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(along, torch.tensor([[2 / 32, 0]], dtype=F64), rtol=0.05, atol=1e-6)


def test_the_tangent_vectors_of_a_disk_follow_its_contour():
    """Moves, growth, inside and outside: 5 dimensions. Null: the cosine basis."""
    size, step = 40, 1e-4
    x = disk(size)
    tangents = torch.stack([x.roll(1, 2) - x.roll(-1, 2), x.roll(1, 3) - x.roll(-1, 3),
                            disk(size, 0.3 + step) - disk(size, 0.3 - step), x, 1 - x], dim=1)
    e = torch.linalg.qr(tangents[0].reshape(5, -1).T).Q.T.reshape(1, 5, 1, size, size)
    c = all_of(e)
    assert harmonics.alignment(e, x, c).item() > 0.9
    cosines, many = gahb.transforms.dct_vectors(100, size, size).double(), torch.tensor([[0, 100]])
    assert abs(harmonics.alignment(cosines, x, many).item()) < 0.1
    ring = (x * (1 - x))[:, None]  # harmonics of order m on the ring oscillate m times around it
    i, j = torch.meshgrid(*[torch.arange(size, dtype=F64) - (size - 1) / 2] * 2, indexing="ij")
    angle = torch.atan2(i, j)
    orders = torch.cat([ring * torch.cos(m * angle) for m in (2, 4, 6)], dim=1)
    around = harmonics.frequency_along(orders, x, torch.tensor([[0, 1, 2, 3]]))
    expected = torch.tensor([[2, 4, 6]], dtype=F64) / (2 * math.pi * 0.3 * size)
    torch.testing.assert_close(around, expected, rtol=0.03, atol=0)
    aligned = harmonics.alignment(orders, x, torch.tensor([[0, 1, 2, 3]]))[0]
    assert bool((aligned.diff() < 0).all())


def test_cuts_fall_into_the_clearest_gaps():
    values = torch.cat([torch.linspace(1, 0.9, 10), torch.linspace(0.5, 0.4, 12), torch.linspace(0.1, 0, 18)])[None]
    basis = AdaptiveBasis(values, torch.zeros(1, 40, 1, 5, 8), torch.full((1, 40), 1e-4), *[torch.zeros(1)] * 2)
    assert harmonics.cuts(basis, [0, 9, 24, 40]).tolist() == [[0, 10, 22, 40]]
    torch.testing.assert_close(harmonics.band_means(values, torch.tensor([[0, 10, 22, 40]])),
                               torch.tensor([[0.95, 0.45, 0.05]]))
    wide = AdaptiveBasis(values, basis.eigenvectors, torch.full((1, 40), 0.02), *[torch.zeros(1)] * 2)
    assert harmonics.cuts(wide, [0, 10, 20]).tolist() == [[0, 10, 22]]
    with pytest.raises(ArithmeticError, match="no gap near edge 16 is wider than its residuals"):
        harmonics.cuts(wide, [0, 16])
    top = AdaptiveBasis(values, torch.zeros(1, 40, 1, 8, 8), basis.residuals, *[torch.zeros(1)] * 2)
    for edges in ([0], [1, 4], [0, 4, 4], [0, 40], [0, 8, 4]):
        with pytest.raises(ValueError, match=r"edges must increase from 0 to less than k = 40 \(to d = 64"):
            harmonics.cuts(top, edges)


def test_principal_cosines():
    e = orthonormal(2, 6, 6)
    mix = torch.einsum("kl,blcij->bkcij", normal(6, 6), e)
    torch.testing.assert_close(harmonics.principal_cosines(e, mix), torch.ones(2, 6, dtype=F64))
    torch.testing.assert_close(harmonics.principal_cosines(e[:, :2], e[:, 2:]), torch.zeros(2, 2, dtype=F64))
    angle = torch.tensor([0.3, 0.9], dtype=F64).reshape(1, 2, 1, 1, 1)
    turned = e[:, :2] * angle.cos() + e[:, 2:4] * angle.sin()
    torch.testing.assert_close(harmonics.principal_cosines(e[:, :2], turned), angle.flatten().cos().expand(2, 2))
    a, b = orthonormal(20, 8, 10), orthonormal(20, 12, 10, seed=1)
    assert harmonics.principal_cosines(a, b).square().mean().item() == pytest.approx(0.12, rel=0.1)  # 12 of d = 100


def test_a_basis_moves_with_a_deformation():
    """The tangents of a deformed disk against the deformed tangents, and against those left where they were."""
    x = disk(40, soft=1.5)
    moved = harmonics.deform(x, 2.0, seed=1)
    assert moved.equal(harmonics.deform(x, 2.0, seed=1)) and not moved.equal(harmonics.deform(x, 2.0, seed=2))
    assert (harmonics.deform(x, 1e-3) - x).abs().max() < 1e-3
    ring = lambda p: (p * (1 - p))[:, None]  # noqa: E731
    follows = harmonics.principal_cosines(harmonics.deform(ring(x), 2.0, seed=1), ring(moved)).item()
    stays = harmonics.principal_cosines(ring(x), ring(moved)).item()
    assert follows > 0.98 > stays
    columns = torch.arange(20.0).expand(1, 1, 16, 20).double()  # its own coordinate: the displacement can be read off
    rows = torch.arange(16.0)[:, None].expand(1, 1, 16, 20).double()
    there = torch.cat([harmonics.deform(a, 0.5, seed=4) - a for a in (columns, rows)])[..., 2:-2, 2:-2]
    assert there.square().sum(dim=0).mean().sqrt().item() == pytest.approx(0.5, rel=0.2)


def test_coefficients_are_those_of_scipy_and_pywavelets():
    x = normal(2, 1, 16, 16)
    exact = torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"))
    torch.testing.assert_close(gahb.transforms.dct(x), exact)
    cosines = gahb.transforms.dct_vectors(256, 16, 16).double()
    torch.testing.assert_close(harmonics.coefficients(x, cosines).square().sum(1), x.square().sum((1, 2, 3)))
    x = normal(2, 1, 32, 32)
    expected = pywt.wavedec2(x[:, 0], "sym4", "periodization", 2)
    expected = torch.cat([torch.from_numpy(part).flatten(1) for level in expected for part in
                          (level if isinstance(level, tuple) else [level])], dim=1)
    found = harmonics.wavelet_coefficients(x, "sym4", 2)
    torch.testing.assert_close(found.abs().sort().values, expected.abs().sort().values)


@given(seed=st.integers(0, 99))
def test_terms_left_is_the_error_of_the_sum(seed):
    x, e = normal(2, 1, 4, 4, seed=seed), orthonormal(2, 10, 4, seed)
    c = harmonics.coefficients(x, e)
    energy = x.square().sum(dim=(1, 2, 3))
    first, best = (harmonics.terms_left(c, energy, best=best) for best in (False, True))
    for m in range(11):
        partial = (c[:, :m, None, None, None] * e[:, :m]).sum(dim=1)
        torch.testing.assert_close(first[:, m], (x - partial).square().sum(dim=(1, 2, 3)) / energy)
    assert bool((best <= first + 1e-12).all()) and bool((best.diff(dim=1) <= 1e-12).all())
    torch.testing.assert_close(best[:, -1], first[:, -1])
    torch.testing.assert_close(harmonics.terms_left(c)[:, -1], torch.zeros(2, dtype=F64))


def test_a_trained_network_is_harmonic_and_adaptive_and_an_untrained_one_is_not():
    """C² images at 24×24, σ = 0.1: against another image's basis, the cosine basis, and an untrained network."""
    x = gahb.images.c_alpha(3, 24, 2, seed=5)
    y = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    edges = [0, 8, 16, 32, 64, 128]
    basis = gahb.adaptive_basis(gahb.zoo.load("calpha-2"), y)
    cuts, e = harmonics.cuts(basis, edges), basis.eigenvectors
    values, along = harmonics.band_means(basis.eigenvalues, cuts), harmonics.frequency_along(e, x, cuts)
    assert bool((gahb.statistics.rank_correlation(values, along) <= -0.9).all())
    top = cuts[:, :2]
    own, cosines = harmonics.alignment(e, x, top), harmonics.alignment(gahb.transforms.dct_vectors(64, 24, 24), x, top)
    other = harmonics.alignment(e.roll(1, 0), x, top)
    assert own.min() > 0.5 > max(other.max(), cosines.max())
    untrained = gahb.adaptive_basis(gahb.UNet(16, 2).eval(), y)
    null = harmonics.cuts(untrained, edges)
    assert harmonics.alignment(untrained.eigenvectors, x, null[:, :2]).mean() < 0.2
    along = harmonics.frequency_along(untrained.eigenvectors, x, null)
    assert gahb.statistics.rank_correlation(harmonics.band_means(untrained.eigenvalues, null), along).min() > -0.9


def test_refuses():
    e, x, c = orthonormal(1, 3, 8), normal(1, 1, 8, 8), torch.tensor([[0, 3]])
    with pytest.raises(ValueError, match="scale must be a positive number, got 0"):
        harmonics.alignment(e, x, c, scale=0)
    with pytest.raises(ValueError, match="amplitude must be a positive number, got -1"):
        harmonics.deform(x, -1)
