"""The greys given the shape against a dense rule, and the window of a mask against the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahb.kernels.disk import coverage
from gahb.kernels.disk_posterior import _cells, _grey_posterior

F64 = torch.float64


@settings(max_examples=30)
@given(
    row=st.floats(0.3, 0.7), column=st.floats(0.3, 0.7), radius=st.floats(0.1, 0.3),
    rows=st.tuples(st.integers(0, 8), st.integers(9, 16)), columns=st.tuples(st.integers(0, 8), st.integers(9, 16)),
)  # fmt: skip
def test_a_window_is_a_part_of_the_whole(row, column, radius, rows, columns):
    centre, radius = torch.tensor([[row, column]], dtype=F64), torch.tensor([radius], dtype=F64)
    whole = coverage(centre, radius, 16)
    part = coverage(centre, radius, 16, rows=rows, columns=columns)
    torch.testing.assert_close(part, whole[:, slice(*rows), slice(*columns)], rtol=0, atol=1e-12)


def by_dense_grid(mask: np.ndarray, y: np.ndarray, sigma: float):
    """Log-evidence up to $-\\|y\\|^2/2\\sigma^2$, mean and covariance of (a, b), by 400 × 400 Gauss nodes.

    They fill the part of the unit square where the exponent is within 40 of its maximum.
    """
    images = np.stack([mask, 1 - mask])
    gram, along = images @ images.T, images @ y

    def exponent(a, b):
        c = np.stack(np.broadcast_arrays(a[:, None], b[None]))  # (2, nodes, nodes)
        return (np.tensordot(along, c, 1) - np.einsum("iab,ij,jab->ab", c, gram, c) / 2) / sigma**2

    box = [(0.0, 1.0), (0.0, 1.0)]
    for _ in range(6):
        axes = [np.linspace(low, high, 201) for low, high in box]
        values = exponent(*axes)
        live = np.nonzero(values > values.max() - 40)
        box = [(axis[max(k.min() - 1, 0)], axis[min(k.max() + 1, 200)]) for axis, k in zip(axes, live)]
    t, weight = np.polynomial.legendre.leggauss(400)
    a, b = (low + (high - low) * (1 + t) / 2 for low, high in box)
    values = exponent(a, b)
    mass = np.exp(values - values.max()) * np.multiply.outer(weight, weight)
    area = np.prod([high - low for low, high in box]) / 4
    log = math.log(mass.sum() * area) + values.max()
    mass /= mass.sum()
    mean = np.array([(mass.sum(1) * a).sum(), (mass.sum(0) * b).sum()])
    away = [a - mean[0], b - mean[1]]
    off = away[0] @ mass @ away[1]
    return log, mean, np.array([[mass.sum(1) @ away[0] ** 2, off], [off, mass.sum(0) @ away[1] ** 2]])


@pytest.mark.parametrize("sigma", [0.005, 0.1, 1.0])
@pytest.mark.parametrize(
    "greys",
    [(0.4, 0.7), (0.999, 0.002), (0.0, 0.5), (1.2, 0.9), (0.3, -0.4)],
    ids=["inside", "corner", "edge", "a beyond", "b beyond"],
)
def test_greys_given_the_shape(greys, sigma):
    """Least squares inside the unit square, at its border, and outside of it by up to 700 standard deviations."""
    cells = _cells(torch.tensor([[0.46, 0.55, 0.13]], dtype=F64), torch.ones(3, dtype=F64), 8)
    mask = torch.zeros(64, dtype=F64).index_copy(0, cells.pixels, cells.masks[0])
    noise = torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=F64)
    y = greys[0] * mask + greys[1] * (1 - mask) + sigma * noise
    log, mean, covariance = _grey_posterior(cells, y, torch.tensor(sigma**2, dtype=F64))
    expected = by_dense_grid(mask.numpy(), y.numpy(), sigma)
    deviation = np.sqrt(np.diag(expected[2]))
    assert abs(float(log) - expected[0]) < 2e-5
    np.testing.assert_array_less(np.abs(mean[0].numpy() - expected[1]) / deviation, 1e-5)
    np.testing.assert_array_less(np.abs(covariance[0].numpy() - expected[2]) / np.outer(deviation, deviation), 2e-4)
