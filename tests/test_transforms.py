"""Wavelets against PyWavelets, cosines against SciPy, and bases along a flow against a sorted Haar basis."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import pywt
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahb.transforms import analyse, dct, dct_vectors, flow_bases, synthesise, wavelet_matrix

F64 = torch.float64
ORTHOGONAL = [name for name in pywt.wavelist(kind="discrete") if pywt.Wavelet(name).orthogonal and name != "dmey"]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# --- wavelets --------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    wavelet=st.sampled_from(["haar", "sym4", "db6", "coif2"]),
    levels=st.integers(1, 6),
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_perfect_reconstruction_and_energy(wavelet, levels, rows, columns, seed):
    """Any size, square or not, odd or even: levels stop where a side turns odd."""
    y = normal(2, 1, rows, columns, seed=seed)
    coarse, details = analyse(y, wavelet, levels)
    assert (synthesise(coarse, details, wavelet) - y).abs().max() < 1e-10
    parts = [coarse, *(c for level in details for c in level)]
    assert sum(c.numel() for c in parts) == y.numel()
    energy = sum(c.square().sum() for c in parts)
    assert abs(energy - y.square().sum()) < 1e-10 * y.square().sum()
    halvings = [math.gcd(rows, columns) % 2**k == 0 for k in range(1, levels + 1)]
    assert len(details) == sum(halvings)


def test_every_wavelet_that_is_taken_is_orthonormal():
    for wavelet in ORTHOGONAL:
        for n in (2, 6, 32):
            M = wavelet_matrix(n, wavelet)
            assert (M @ M.T - torch.eye(n, dtype=F64)).abs().max() < 1e-10, (wavelet, n)


@pytest.mark.parametrize(
    ("wavelet", "levels", "shape"), [("sym4", 3, (32, 48)), ("haar", 2, (12, 20)), ("db3", 4, (64, 64))]
)
def test_coefficients_are_those_of_pywavelets(wavelet, levels, shape):
    y = normal(*shape)
    coarse, details = analyse(y[None, None], wavelet, levels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Level value of")  # periodised all the same
        reference = pywt.wavedec2(y.numpy(), wavelet, mode="periodization", level=levels)
    np.testing.assert_allclose(coarse[0, 0].abs(), np.abs(reference[0]), atol=1e-12)
    for level, expected in zip(details, reversed(reference[1:])):
        ours = [c[0, 0].abs().numpy() for c in level]
        for theirs in map(np.abs, expected):  # the three details, in one order or another
            assert min(np.abs(theirs - c).max() for c in ours) < 1e-12


# --- cosines -----------------------------------------------------------------------------


def test_cosines_are_those_of_scipy():
    x = normal(2, 1, 12, 16)
    torch.testing.assert_close(dct(x), torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho")))
    vectors = dct_vectors(12 * 16, 12, 16).double()[0, :, 0].flatten(1)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(12 * 16, dtype=F64), rtol=0, atol=1e-6)


# --- flows -------------------------------------------------------------------------------


@pytest.mark.parametrize("moments", [1, 2, 3, 4])
@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_every_flow_has_an_orthonormal_basis(side, moments):
    bases = flow_bases(side, moments)
    assert bases.shape == (2 * side, side**2, side**2)
    identity = torch.eye(side**2, dtype=F64)
    assert (bases @ bases.mT - identity).abs().max() < 1e-10
    assert (bases.mT @ bases - identity).abs().max() < 1e-10  # analysis, then synthesis


@pytest.mark.parametrize("side", [2, 4, 8])
def test_one_moment_is_haar_of_the_sorted_pixels(side):
    for k, basis in enumerate(flow_bases(side, 1)):
        angle = math.pi * k / (2 * side)
        c, s = math.cos(angle), math.sin(angle)
        pixels = [(row, column) for row in range(side) for column in range(side)]
        line = [round(2 / side * (c * (i - (side - 1) / 2) - s * (j - (side - 1) / 2)), 9) for i, j in pixels]
        place = [c * j + s * i for i, j in pixels]
        order = sorted(range(side**2), key=lambda n: (line[n], place[n]))
        expected, width = [np.full(side**2, 1 / side)], side**2
        while width > 1:
            for start in range(0, side**2, width):
                vector = np.zeros(side**2)
                vector[order[start : start + width // 2]] = width**-0.5
                vector[order[start + width // 2 : start + width]] = -(width**-0.5)
                expected.append(vector)
            width //= 2
        products = (basis @ torch.from_numpy(np.stack(expected)).T).abs()
        torch.testing.assert_close(products, torch.eye(side**2, dtype=F64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("moments", [1, 2, 3])
def test_moments_vanish_along_the_flow(moments):
    """Polynomials along the rows, any on each row, take `moments` coefficients a row."""
    side = 8
    at = torch.linspace(-1, 1, side, dtype=F64)
    rows = sum(normal(side, 1, seed=p) * at**p for p in range(moments))
    for k, image in ((0, rows), (side, rows.T)):  # along the rows, and at a right angle
        coefficients = flow_bases(side, moments)[k] @ image.flatten()
        assert (coefficients.abs() > 1e-10).sum() == moments * side
        more = flow_bases(side, moments)[k] @ (image + (at**moments if k == 0 else at[:, None] ** moments)).flatten()
        assert (more.abs() > 1e-10).sum() > moments * side
