"""Dead leaves: the painter's algorithm, scale-invariant radii, a power-law spectrum."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from gahb.images import dead_leaves

module = sys.modules["gahb.images.leaves"]
SMALLEST, LARGEST = module.SMALLEST, module.LARGEST


def painted(side: int, seed: int, index: int, blocks: int = 24) -> torch.Tensor:
    """The painter's way: all leaves, the lowest first, each over what lies there."""
    at = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    picture = torch.full((side, side), torch.nan, dtype=torch.float64)
    for block in reversed(range(blocks)):
        leaves = zip(*(t[0].tolist() for t in module.leaves(seed, index, 1, block)))
        for (row, column), radius, gray in reversed(list(leaves)):
            picture[(at[:, None] - row) ** 2 + (at - column) ** 2 <= radius**2] = gray
    return picture


@pytest.mark.parametrize(("size", "index"), [(96, 0), (32, 1), (53, 2), (20, 3)])
def test_the_painters_algorithm(size, index):
    """The same at every pixel but a few, where a point lies on a rim to the rounding of float32."""
    fine = max(2, -(-module.FINE // size))
    expected = painted(size * fine, 7, index).reshape(size, fine, size, fine).mean(dim=(1, 3))
    found = dead_leaves(1, size, seed=7, start=index)[0, 0]
    assert bool(torch.isfinite(expected).all())
    assert ((found - expected).abs() > 1e-6).sum() <= 3


@settings(max_examples=12)
@given(
    n=st.integers(1, 34),
    skip=st.integers(0, 2),
    start=st.integers(0, 2**40),
    size=st.sampled_from([1, 8, 24]),
    seed=st.integers(0, 2**63),
)
def test_image_i_depends_on_seed_and_index_only(n, skip, start, size, seed):
    whole = dead_leaves(n + skip, size, seed=seed, start=start)
    assert whole.shape == (n + skip, 1, size, size) and whole.dtype == torch.float32
    assert torch.equal(dead_leaves(n, size, seed=seed, start=start + skip), whole[skip:])
    assert torch.equal(dead_leaves(1, size, seed=seed, start=start + n - 1), whole[n - 1 : n])
    assert not torch.equal(dead_leaves(1, size, seed=seed + 1, start=start), whole[:1])


def test_no_point_is_bare():
    """Not in 600 images, though leaves are few at first; bare points would be −1."""
    for seed in range(3):
        x = module._seen(seed, 0, 200, 96, None)
        assert x.shape == (200, 96, 96) and x.min() > 0 and x.max() < 1
    assert abs(x.mean() - 0.5) < 4 * x.mean(dim=(1, 2)).std() / math.sqrt(200)


@pytest.mark.parametrize("sizes", [(96, 32), (96, 48), (64, 32), (80, 40)])
def test_the_same_image_at_every_size(sizes):
    """Equal where both see the same grid; else by what two grids see of edges, in the root mean square."""
    fine, coarse = (dead_leaves(20, size, seed=1) for size in sizes)
    apart = torch.nn.functional.avg_pool2d(fine, sizes[0] // sizes[1]) - coarse
    grids = [size * max(2, -(-module.FINE // size)) for size in sizes]
    if grids[0] == grids[1]:
        assert apart.abs().max() < 1e-6
    else:
        other = coarse.roll(1, 0) - coarse  # the images themselves differ by more than 0.3
        assert apart.square().mean().sqrt() < 0.04 < 0.3 < other.square().mean().sqrt()
        assert apart.abs().median() < 1e-6


def test_radii_are_scale_invariant():
    """Density ∝ r⁻³ between the cuts: the shares between r and 2r fall by 4 with each octave."""
    _, radius, gray = module.leaves(0, 0, 400, 0)
    radius, n = radius.double().flatten(), radius.numel()
    assert radius.min() >= SMALLEST * (1 - 1e-6) and radius.max() <= LARGEST * (1 + 1e-6)
    whole = 1 - (SMALLEST / LARGEST) ** 2
    for octave in range(4):
        low, high = SMALLEST * 2**octave, SMALLEST * 2 ** (octave + 1)
        expected = ((SMALLEST / low) ** 2 - (SMALLEST / high) ** 2) / whole
        share = ((radius >= low) & (radius < high)).double().mean()
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    assert abs(gray.double().mean() - 0.5) < 4 / math.sqrt(12 * n)


def test_leaves_reach_in_from_every_side():
    """Centres are uniform over all places from which the largest leaf touches the image."""
    centre = module.leaves(0, 0, 400, 0)[0].double().flatten(0, 1)
    assert centre.min() < -LARGEST + 0.01 and centre.max() > 1 + LARGEST - 0.01
    assert ((centre.mean(dim=0) - 0.5).abs() < 4 * (1 + 2 * LARGEST) / math.sqrt(12 * len(centre))).all()
    mean = dead_leaves(400, 8).double()
    ends, middle = mean[:, 0, 0].var(), mean[:, 0, 4].var()  # the border is no other place than the middle
    assert 0.8 < ends / middle < 1.25


def spectrum(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Power averaged over rings of frequency, with a window that hides the borders."""
    size = images.shape[-1]
    x = images[:, 0].double()
    window = torch.hann_window(size, dtype=torch.float64)
    x = (x - x.mean()) * window * window[:, None]
    power = torch.fft.fft2(x).abs().square().mean(dim=0)
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    ring = (k[:, None].square() + k.square()).sqrt().round().long()
    sums = torch.bincount(ring.flatten(), power.flatten()) / torch.bincount(ring.flatten())
    return torch.arange(len(sums)).double(), sums


def covariance(distance: np.ndarray) -> np.ndarray:
    """Exact, of the function at two points: Var(gray) × the chance that one leaf covers both (Lee et al. 2001).

    A leaf that touches at least one point touches both with chance γ / (2γ(0) − γ),
    γ the mean area common to a disk and its copy moved by the distance.
    """
    radius = np.geomspace(SMALLEST, LARGEST, 4001)
    ratio = np.minimum(distance[:, None] / radius, 2)
    common = 2 * np.arccos(ratio / 2) - ratio / 2 * np.sqrt(4 - ratio**2)
    overlap = trapezoid(common, np.log(radius), axis=1)  # ∫ r⁻³ r² common dr
    whole = np.pi * np.log(LARGEST / SMALLEST)
    return overlap / (2 * whole - overlap) / 12


def test_covariance_is_the_exact_one():
    """At every distance along both axes, within 4.5 standard errors over 2,000 images; pixels are points here."""
    n, size = 2000, 96
    x = torch.cat([module._seen(4, start, 100, size, None)[:, ::6, ::6] for start in range(0, n, 100)]).double() - 0.5
    for lag in (0, 1, 2, 4, 8, 12):
        (expected,) = covariance(np.array([lag * 6 / size]))
        for products in (x[:, lag:] * x[:, : 16 - lag], x[:, :, lag:] * x[:, :, : 16 - lag]):
            values = products.mean(dim=(1, 2))
            assert abs(values.mean() - expected) < 4.5 * values.std() / math.sqrt(n), lag


def test_power_law():
    """Exponent −2 within 0.3 between 2 and 8 cycles an image, and steeper beyond the smallest leaf.

    Exactly the local exponent falls from −1.6 at 1 to −2.4 at 8 cycles, and to
    −3 and less where leaves have no smaller ones beside them.
    """
    k, power = spectrum(dead_leaves(400, 128, seed=2))

    def slope(low, high):
        x, y = k[low : high + 1].log(), power[low : high + 1].log()
        return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())

    assert abs(slope(2, 8) + 2) < 0.3, slope(2, 8)
    assert slope(8, 16) < -2.7, slope(8, 16)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_image_on_cuda():
    here, there = dead_leaves(40, 40), dead_leaves(40, 40, device="cuda").cpu()
    assert ((here - there).abs() > 1e-5).double().mean() < 1e-4  # a point on a rim may fall to either side


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dead_leaves(0, 8), "n must be an integer of at least 1, got 0"),
        (lambda: dead_leaves(1, 0), "size must be an integer of at least 1, got 0"),
        (lambda: dead_leaves(1, 8, start=-1), "start must be an integer of at least 0, got -1"),
        (lambda: dead_leaves(1, 8, seed=-1), "seed must be an integer of at least 0, got -1"),
        (lambda: dead_leaves(1, 8, device="cuda:99"), r"device must be one of this machine \(cpu.*\), got 'cuda:99'"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
