"""Disks: exact areas, the law of five parameters, one function at every size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from gahb.images import disks
from gahb.images.disks import contour_waves, disk_images, disk_parameters, disk_tangents
from gahb.kernels.disk import CENTRE, RADIUS, coverage


def one(row: float, column: float, radius: float, size: int) -> torch.Tensor:
    centre = torch.tensor([[row, column]], dtype=torch.float64)
    return coverage(centre, torch.tensor([radius], dtype=torch.float64), size)[0]


def by_chords(row: float, column: float, radius: float, size: int) -> np.ndarray:
    """Each pixel by quadrature over rows of the chord inside it, split where the chord has corners."""
    out = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            left, right, top, bottom = j / size, (j + 1) / size, i / size, (i + 1) / size

            def chord(y, left=left, right=right):
                half = math.sqrt(max(radius**2 - (y - row) ** 2, 0.0))
                return max(min(right, column + half) - max(left, column - half), 0.0)

            corners = {row - radius, row + radius}
            for x in (left, right):
                if abs(x - column) < radius:
                    away = math.sqrt(radius**2 - (x - column) ** 2)
                    corners |= {row - away, row + away}
            ends = [top, *sorted(c for c in corners if top < c < bottom), bottom]
            parts = [integrate.quad(chord, a, b, epsabs=1e-13, epsrel=1e-13)[0] for a, b in zip(ends, ends[1:])]
            out[i, j] = sum(parts) * size * size
    return out


PLACES = [
    (0.45, 0.58, 0.23),
    (0.5, 0.5, 0.25),  # symmetric; touches edges of pixels
    (0.5, 0.375, 0.125),
    (0.3, 0.7, 0.3),  # touches two sides of the image
    (0.41, 0.43, 0.011),  # within one pixel
    (0.5, 0.5, 0.03),  # across one corner
]


@pytest.mark.parametrize(("row", "column", "radius"), PLACES)
def test_coverage_by_quadrature(row, column, radius):
    found = one(row, column, radius, 8)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, by_chords(row, column, radius, 8), rtol=0, atol=1e-10)


def test_coverage_by_counting_points():
    """1,000 × 1,000 points a pixel; counting errs by the boundary's share of a fine cell, about 1e-4."""
    row, column, radius, size, fine = 0.37, 0.61, 0.19, 4, 1000
    at = (np.arange(size * fine) + 0.5) / (size * fine)
    inside = (at[:, None] - row) ** 2 + (at - column) ** 2 <= radius**2
    expected = inside.reshape(size, fine, size, fine).mean(axis=(1, 3))
    assert expected.max() > 0.2 and (expected != expected.T).any()
    np.testing.assert_allclose(one(row, column, radius, size), expected, rtol=0, atol=2e-4)


@settings(max_examples=200)
@given(
    row=st.floats(*CENTRE),
    column=st.floats(*CENTRE),
    radius=st.floats(*RADIUS),
    size=st.integers(1, 40),
)
def test_total_area(row, column, radius, size):
    share = one(row, column, radius, size)
    assert share.min() >= 0 and share.max() <= 1
    assert abs(float(share.sum()) / size**2 - math.pi * radius**2) < 1e-10


@pytest.mark.parametrize("nudge", [0.0, 1e-17, 1e-12, 1e-9, 3e-8, -1e-8, 1e-6])
def test_total_area_with_edges_at_and_next_to_the_centre_and_the_rim(nudge):
    for row, column, radius in ((0.5 + nudge, 0.5, 0.25), (0.5, 0.5, 0.25 + nudge), (0.375, 0.5 - nudge, 0.125)):
        share = one(row, column, radius, 8)
        assert abs(float(share.sum()) / 64 - math.pi * radius**2) < 1e-12
        still = one(0.5 if row > 0.4 else 0.375, 0.5, 0.25 if row > 0.4 else 0.125, 8)
        # no pixel changes by more than the longest way of its boundary times how far that moves
        assert (share - still).abs().max() < 64 * 0.2 * abs(nudge) + 1e-12


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([(80, 40), (40, 20), (96, 32), (10, 1), (63, 9)]))
def test_the_same_image_at_every_size(start, sizes):
    """Block means are exact: coverage to 1e-12, images to the rounding of float32."""
    large, small = sizes
    centre, radius, *_ = disk_parameters(2, start=start)
    fine, coarse = (coverage(centre, radius, size)[:, None] for size in sizes)
    assert (torch.nn.functional.avg_pool2d(fine, large // small) - coarse).abs().max() < 1e-12
    fine, coarse = (disks(2, size, start=start).double() for size in sizes)
    assert (torch.nn.functional.avg_pool2d(fine, large // small) - coarse).abs().max() < 2e-7


@settings(max_examples=25)
@given(
    n=st.integers(1, 40),
    skip=st.integers(0, 3),
    start=st.integers(0, 2**40),
    size=st.sampled_from([1, 7, 16]),
    seed=st.integers(0, 2**63),
)
def test_image_i_depends_on_seed_and_index_only(n, skip, start, size, seed):
    whole = disks(n + skip, size, seed=seed, start=start)
    assert whole.shape == (n + skip, 1, size, size) and whole.dtype == torch.float32
    assert torch.equal(disks(n, size, seed=seed, start=start + skip), whole[skip:])
    assert torch.equal(disks(1, size, seed=seed, start=start + n - 1), whole[n - 1 : n])
    assert not torch.equal(disks(1, size, seed=seed + 1, start=start), whole[:1])


def test_an_image_is_foreground_on_background():
    centre, radius, foreground, background = disk_parameters(60, seed=3)
    x = disks(60, 32, seed=3)[:, 0]
    at = (torch.arange(32) + 0.5) / 32
    away = ((at[:, None] - centre[:, 0, None, None]).square() + (at - centre[:, 1, None, None]).square()).sqrt()
    away = away - radius[:, None, None]
    pixel = math.sqrt(0.5) / 32
    inside, outside = away < -pixel, away > pixel
    assert torch.allclose(x[inside], foreground[:, None, None].expand_as(x)[inside], atol=1e-6)
    assert torch.allclose(x[outside], background[:, None, None].expand_as(x)[outside], atol=1e-6)
    low, high = (f(foreground, background)[:, None, None] for f in (torch.minimum, torch.maximum))
    assert bool((x >= low - 1e-6).all()) and bool((x <= high + 1e-6).all())
    mean = background + (foreground - background) * math.pi * radius.square()
    assert (x.mean(dim=(1, 2)) - mean).abs().max() < 1e-6


def test_disks_lie_inside_the_image():
    centre, radius, *_ = disk_parameters(20_000)
    assert (centre - radius[:, None]).min() >= 0 and (centre + radius[:, None]).max() <= 1
    # and come near the side: the bounds are not wider than they need to be
    assert (centre - radius[:, None]).min() < 0.02


def test_the_five_parameters_are_uniform_and_independent():
    n = 20_000
    centre, radius, foreground, background = disk_parameters(n, seed=5)
    columns = torch.cat([centre, radius[:, None], foreground[:, None], background[:, None]], dim=1).double()
    for values, (low, high) in zip(columns.T, (CENTRE, CENTRE, RADIUS, (0, 1), (0, 1))):
        assert low - 1e-7 <= values.min() and values.max() <= high + 1e-7
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
    correlation = torch.corrcoef(columns.T) - torch.eye(5)
    assert correlation.abs().max() < 4 / math.sqrt(n)


def test_derivatives_of_the_coverage():
    """Finite everywhere, also where edges touch the rim, and equal to central differences."""
    centre, radius, *_ = disk_parameters(4)
    places = torch.cat([torch.tensor(PLACES, dtype=torch.float64), torch.cat([centre, radius[:, None]], 1).double()])
    places.requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda p: coverage(p[:, :2], p[:, 2], 16), places)
    jacobian = torch.stack([jacobian[i, :, :, i] for i in range(len(places))])  # (n, 16, 16, 3)
    assert bool(torch.isfinite(jacobian).all())
    step = 1e-6
    for k in range(3):
        nudge = step * torch.eye(3, dtype=torch.float64)[k]
        with torch.no_grad():
            up, down = (coverage((places + s)[:, :2], (places + s)[:, 2], 16) for s in (nudge, -nudge))
        # where an edge touches the rim, differences err by the root of the step: compared elsewhere
        assert (jacobian[..., k] - (up - down) / (2 * step))[len(PLACES) :].abs().max() < 1e-3
    area = jacobian.sum(dim=(1, 2)) / 256  # moves: none; growth: the circumference
    assert area[:, :2].abs().max() < 1e-9
    assert (area[:, 2] - 2 * math.pi * places[:, 2].detach()).abs().max() < 1e-9


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_image_on_cuda():
    assert (disks(40, 40) - disks(40, 40, device="cuda").cpu()).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: disks(0, 8), "n must be an integer of at least 1, got 0"),
        (lambda: disks(2.0, 8), "n must be an integer of at least 1, got 2.0"),
        (lambda: disks(1, 0), "size must be an integer of at least 1, got 0"),
        (lambda: disks(1, 8, start=-1), "start must be an integer of at least 0, got -1"),
        (lambda: disks(1, 8, seed=-1), "seed must be an integer of at least 0, got -1"),
        (lambda: disks(1, 8, device="cuda:99"), r"device must be one of this machine \(cpu.*\), got 'cuda:99'"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_tangents_are_the_derivatives_of_the_images():
    """Central differences of the float64 image function; the kinks are square roots, hence the tolerance."""
    centre, radius, foreground, background = (v.double() for v in disk_parameters(6, seed=2))
    theta = torch.cat([foreground[:, None], background[:, None], centre, radius[:, None]], dim=1)

    def image(theta):
        a, b = theta[:, 0, None, None], theta[:, 1, None, None]
        return b + (a - b) * coverage(theta[:, 2:4], theta[:, 4], 16)

    tangents = disk_tangents(centre, radius, foreground, background, 16)
    assert tangents.shape == (6, 5, 1, 16, 16)
    for k, step in enumerate(1e-6 * torch.eye(5, dtype=torch.float64)):
        difference = (image(theta + step) - image(theta - step)) / 2e-6
        assert (tangents[:, k, 0] - difference).abs().max() < 1e-3 * difference.abs().max()


def test_tangents_obey_what_the_circle_obeys():
    centre, radius, foreground, background = (v.double() for v in disk_parameters(8, seed=4))
    tangents = disk_tangents(centre, radius, foreground, background, 20)[:, :, 0]
    perimeter = (foreground - background) * 2 * math.pi * radius * 20**2
    assert torch.allclose(tangents[:, 4].sum(dim=(1, 2)), perimeter, rtol=1e-10)  # the area's derivative
    assert tangents[:, 2:4].sum(dim=(2, 3)).abs().max() < 1e-9  # a shift keeps the area
    assert torch.allclose(tangents[:, 0] + tangents[:, 1], torch.ones(()).double())


def test_waves_of_none_and_one_period_are_tangents_and_no_other_is():
    shapes = disk_parameters(5, seed=6)
    radius_and_shifts = disk_tangents(*shapes, 32)[:, [4, 2, 3]].flatten(2)
    waves = contour_waves(*shapes, 32, periods=(0, 1, 2, 5)).flatten(2)
    assert waves.shape == (5, 8, 1024)
    assert (waves[:, 1] == 0).all()  # the sine of no period
    for wave, tangent in ((0, 0), (3, 1), (2, 2)):  # a sine moves the rows
        difference = (waves[:, wave] - radius_and_shifts[:, tangent]).norm(dim=1)
        assert (difference < 0.01 * radius_and_shifts[:, tangent].norm(dim=1)).all()
    unit = torch.nn.functional.normalize(waves[:, 4:], dim=2)
    inside = torch.linalg.qr(disk_tangents(*shapes, 32).flatten(2).mT).Q.mT @ unit.mT
    assert inside.square().sum(dim=1).max() < 0.1


def test_images_of_given_disks_are_those_of_the_class():
    assert torch.equal(disk_images(*disk_parameters(4, seed=3), 12), disks(4, 12, seed=3))
