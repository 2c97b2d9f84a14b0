"""The nearest disk: against a dense search, by its tangents, at the border of the class, and in bad cases."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb.images.disks import disk_images, disk_parameters, disk_tangents
from gahb.kernels.disk import CENTRE, RADIUS, coverage

F64 = torch.float64
project = gahb.images.project_on_disks


def noisy(n: int, size: int, sigma: float, seed: int = 1):
    x = gahb.images.disks(n, size, seed=seed).double()
    return x, x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=F64)


def dense_search(y: torch.Tensor, size: int) -> torch.Tensor:
    """Least distance (B,) over 31 × 31 × 25 shapes, with the best greys of [0, 1] by 60 rounds of turns."""
    sides = [torch.linspace(*ends, n, dtype=F64) for ends, n in ((CENTRE, 31), (CENTRE, 31), (RADIUS, 25))]
    shapes = torch.cartesian_prod(*sides)
    masks = torch.cat([coverage(part[:, :2], part[:, 2], size).flatten(1) for part in shapes.split(1000)])
    flat = y.flatten(1)
    inside, outside = flat @ masks.T, flat @ (1 - masks).T
    aa, ab, bb = masks.square().sum(1), (masks * (1 - masks)).sum(1), (1 - masks).square().sum(1)
    a, b = torch.full_like(inside, 0.5), torch.full_like(inside, 0.5)
    for _ in range(60):
        a = ((inside - ab * b) / aa).clamp(0, 1)
        b = ((outside - ab * a) / bb).clamp(0, 1)
    value = aa * a * a + 2 * ab * a * b + bb * b * b - 2 * (a * inside + b * outside)
    return (value.amin(dim=1) + flat.square().sum(dim=1)).sqrt()


@pytest.mark.parametrize("sigma", [0.02, 0.2, 1.0])
def test_no_disk_of_a_dense_search_is_nearer(sigma):
    """10×10, six pictures: at least as near as the best of 24,025 shapes, and by no more than their spacing allows."""
    _, y = noisy(6, 10, sigma)
    found, searched = project(y).distance, dense_search(y, 10)
    assert bool((found <= searched + 1e-9).all())
    assert bool((searched - found < 0.35).all())


def test_disks_are_their_own_projections_and_parameters_are_found():
    x = gahb.images.disks(6, 16, seed=2).double()
    near = project(x)
    assert float((near.images - x).abs().max()) < 1e-6 and float(near.distance.max()) < 1e-5
    centre, radius, foreground, background = disk_parameters(6, seed=2)
    clear = (foreground - background).abs() > 0.1
    for found, true in ((near.centre, centre), (near.radius, radius), (near.foreground, foreground),
                        (near.background, background)):  # fmt: skip
        torch.testing.assert_close(found[clear], true.double()[clear], rtol=0, atol=1e-4)
    images = disk_images(near.centre, near.radius, near.foreground, near.background, 16)
    torch.testing.assert_close(images.double(), near.images, rtol=0, atol=1e-6)


def test_what_is_left_is_orthogonal_to_the_tangents_where_the_optimum_is_inside():
    """‖P (y − proj)‖ ≤ 1e-4 ‖y − proj‖, P on the tangent space; small noise, visible disks, 16×16."""
    _, y = noisy(12, 16, 0.03)
    near = project(y)
    greys = torch.stack([near.foreground, near.background], dim=1)
    inside = ((greys > 0.01) & (greys < 0.99)).all(1) & ((near.centre - 0.5).abs() < 0.199).all(1)
    inside &= ((near.radius - 0.2).abs() < 0.099) & ((near.foreground - near.background).abs() > 0.2)
    assert int(inside.sum()) >= 4
    T = disk_tangents(near.centre, near.radius, near.foreground, near.background, 16).flatten(2)
    Q = torch.linalg.qr(T.mT).Q
    left = (y - near.images).flatten(1)
    along = (Q.mT @ left[..., None])[..., 0].norm(dim=1)
    assert float((along / near.distance)[inside].max()) < 1e-4
    assert float(near.error[inside].max()) < 1e-3


def test_more_starts_find_nothing_nearer():
    """Sixteen starts against six, σ = 0.1 and 0.5, four pictures of 10×10."""
    for sigma in (0.1, 0.5):
        _, y = noisy(4, 10, sigma)
        few, many = project(y), project(y, starts=16)
        assert float((few.distance - many.distance).max()) < 1e-6
        assert bool((many.second >= many.distance).all()) and int(few.starts.min()) >= 1


def test_the_border_of_the_class():
    """Brighter than 1 outside and darker than 0 inside, as large as no disk is: greys 1 and 0, the largest radius."""
    y = 1.5 - 2.0 * disk_images(*(torch.tensor(v) for v in ([[0.5, 0.5]], [0.34], [1.0], [0.0])), 16).double()
    near = project(y)
    assert near.background.item() == 1.0 and near.foreground.item() == 0.0
    assert near.radius.item() == pytest.approx(RADIUS[1])
    flat = project(torch.full((1, 1, 8, 8), 0.3))  # every shape is the same
    assert float(flat.distance) < 1e-6


def test_each_picture_for_itself_and_dtype():
    _, y = noisy(3, 8, 0.2)
    torch.testing.assert_close(project(y).images[1:2], project(y[1:2]).images, rtol=0, atol=1e-6)
    assert project(y.float()).images.dtype == torch.float32 and project(y.float()).distance.dtype == F64


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(y=torch.zeros(1, 3, 8, 8)),
         ValueError, r"y must be \(B, 1, size, size\) with size ≥ 4, got \(1, 3, 8, 8\)"),
        (dict(y=torch.zeros(1, 1, 8, 7)), ValueError, r"y must be \(B, 1, size, size\) with size ≥ 4"),
        (dict(y=torch.zeros(1, 1, 3, 3)), ValueError, r"y must be \(B, 1, size, size\) with size ≥ 4"),
        (dict(y=torch.full((1, 1, 8, 8), torch.nan)), ValueError, "y must be finite, got NaN"),
        (dict(y=torch.zeros(1, 1, 8, 8), starts=0), ValueError, "starts must be an integer of at least 1, got 0"),
        (dict(y=[1.0]), TypeError, "y must be a torch tensor, got list"),
    ],
)  # fmt: skip
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        project(**arguments)
