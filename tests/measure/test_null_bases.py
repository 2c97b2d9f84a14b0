"""Bases that a network's is compared with."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb.measure.null_bases import bandlet_basis, nonlocal_basis, random_rotations


def noisy_disks(n: int = 2, size: int = 16, sigma: float = 0.1) -> torch.Tensor:
    x = gahb.images.disks(n, size, seed=3)
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def gram(vectors: torch.Tensor) -> torch.Tensor:
    flat = vectors.flatten(2)
    return flat @ flat.mT


@pytest.mark.parametrize("basis", [nonlocal_basis, bandlet_basis])
def test_bases_are_orthonormal_and_belong_to_their_image(basis):
    y = noisy_disks()
    vectors = basis(y, 0.1)
    assert vectors.shape == (2, 256, 1, 16, 16)
    torch.testing.assert_close(gram(vectors), torch.eye(256).expand(2, -1, -1), atol=1e-4, rtol=0)
    alone = basis(y[1:], 0.1)  # vectors of close eigenvalues may differ, the span of the first does not
    cosines = gahb.harmonics.principal_cosines(alone[:, :4], vectors[1:, :4])
    assert cosines.square().mean() > 0.99


def test_non_local_means_are_diagonal_in_their_basis():
    y, sigma = noisy_disks(1, 8).double(), 0.1
    wide = torch.nn.functional.pad(y, (2, 2, 2, 2), mode="replicate")[0, 0]
    K = torch.zeros(64, 64, dtype=torch.float64)
    for i in range(64):
        for j in range(64):
            (a, b), (c, d) = divmod(i, 8), divmod(j, 8)
            if abs(a - c) <= 6 and abs(b - d) <= 6:
                distance = (wide[a : a + 5, b : b + 5] - wide[c : c + 5, d : d + 5]).square().mean()
                K[i, j] = torch.exp(-(distance - 2 * sigma**2).clamp(min=0) / (0.6 * sigma) ** 2)
    root = K.sum(1).rsqrt()
    vectors = nonlocal_basis(y, sigma).flatten(2)[0]
    product = vectors @ (root[:, None] * K * root) @ vectors.T
    assert (product - product.diagonal().diag()).abs().max() < 1e-8
    assert (product.diagonal().diff() < 1e-8).all()


def test_the_bandlet_denoiser_keeps_the_vectors_with_coefficients_above_its_threshold():
    y, bandlet = noisy_disks(), gahb.Bandlet(shifts=1)
    vectors = bandlet_basis(y, 0.1, bandlet)
    coefficients = gahb.harmonics.coefficients(y, vectors)
    assert (coefficients.abs().diff(dim=1) < 1e-5).all()
    coarse = gahb.transforms.analyse(y, bandlet.wavelet, bandlet.levels)[0]
    low = vectors.flatten(2) @ _coarse_vectors(bandlet).T  # the coarse part is never thresholded
    kept = (coefficients.abs() > bandlet.multiple * 0.1) | (low.square().sum(2) > 0.5)
    assert 0 < int(kept[0].sum()) - coarse[0].numel() < 128
    rebuilt = torch.einsum("bk,bkcij->bcij", coefficients * kept, vectors)
    torch.testing.assert_close(rebuilt, bandlet(y, 0.1), atol=1e-4, rtol=0)


def _coarse_vectors(bandlet) -> torch.Tensor:
    pixels = torch.eye(256).reshape(256, 1, 16, 16)
    return gahb.transforms.analyse(pixels, bandlet.wavelet, bandlet.levels)[0].flatten(1).T


def test_a_rotation_keeps_the_span_and_nothing_else():
    vectors = gahb.transforms.dct_vectors(8, 8, 8)
    mixed = random_rotations(vectors, seed=1)
    torch.testing.assert_close(gahb.harmonics.principal_cosines(mixed, vectors), torch.ones(1, 8))
    assert (gram(mixed) - torch.eye(8)).abs().max() < 1e-5
    assert (mixed - vectors).norm() > 1
    assert mixed.equal(random_rotations(vectors, seed=1)) and not mixed.equal(random_rotations(vectors, seed=2))
