"""Images of a disk: a manifold of five dimensions, whose optimal denoiser can be computed."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import jvp, vmap

from .._validate import check_request
from ..kernels.counter import in_blocks, uniform
from ..kernels.disk import CENTRE, RADIUS, coverage


def disks(n: int, size: int, *, seed: int = 0, start: int = 0, device=None) -> Tensor:
    r"""Images of one disk of uniform grey on a uniform ground.

    $$x = b + (a - b)\, m(\text{centre}, \text{radius})$$

    where the coverage m is the share of each pixel's square inside the disk,
    computed exactly. In sides of the image, the row and the column of the
    centre are uniform in [0.3, 0.7] and the radius in [0.1, 0.3], so that the
    disk lies inside the image; the greys a and b are uniform in [0, 1]. All
    five are independent. Image i depends only on (seed, start + i), and is the
    same function at every size.

    Parameters
    ----------
    n : number of images, at least 1.
    size : side in pixels, at least 1.
    seed : of the random numbers, from 0 to 2⁶⁴ − 1.
    start : index of the first image, at least 0.
    device : where the images are made.

    Returns
    -------
    float32 (n, 1, size, size), values in [0, 1].

    Raises
    ------
    ValueError : if an argument is out of its range.

    References
    ----------
    Section 3 of Kadkhodaie, Guth, Simoncelli & Mallat (ICLR 2024). The best
    denoiser of this class is :class:`gahb.OptimalDisks`.

    Examples
    --------
    >>> import gahb
    >>> fine, coarse = gahb.images.disks(3, 64), gahb.images.disks(3, 32)
    >>> means = fine.reshape(3, 1, 32, 2, 32, 2).mean(dim=(3, 5))
    >>> bool((means - coarse).abs().max() < 1e-5)
    True
    """
    check_request(n, size, seed=seed, start=start, device=device)

    def make(start: int, n: int) -> Tensor:
        return disk_images(*disk_parameters(n, seed=seed, start=start, device=device), size)

    return in_blocks(make, start, n, device)


def disk_images(centre: Tensor, radius: Tensor, foreground: Tensor, background: Tensor, size: int) -> Tensor:
    """Images of given disks, float32 (n, 1, size, size); the arguments are those that `disk_parameters` returns."""
    share = coverage(centre, radius, size).float()
    return (background[:, None, None] + (foreground - background)[:, None, None] * share)[:, None]


def disk_tangents(centre: Tensor, radius: Tensor, foreground: Tensor, background: Tensor, size: int) -> Tensor:
    r"""Derivatives of `disk_images` by foreground, background, row, column and radius: float64 (n, 5, 1, size, size).

    $$\partial_a x = m, \quad \partial_b x = 1 - m, \quad \partial_\theta x = (a - b)\, \partial_\theta m$$

    with m the coverage and θ the row, the column or the radius, in sides of the
    image. They are exact, by forward differentiation of the closed form of m.
    If the two greys differ, they span the tangent space of the set of disks.
    """
    centre, radius = centre.double(), radius.double()
    n, contrast = len(radius), (foreground - background).double()
    ways = torch.eye(3, dtype=torch.float64, device=radius.device)

    def along(way: Tensor) -> tuple[Tensor, Tensor]:
        moved = way[:2].expand(n, 2), way[2].expand(n)
        return jvp(lambda c, r: coverage(c, r, size), (centre, radius), moved)

    area, moves = vmap(along)(ways)  # (3, n, size, size)
    greys = torch.stack([area[0], 1 - area[0]], dim=1)
    return torch.cat([greys, contrast[:, None, None, None] * moves.transpose(0, 1)], dim=1)[:, :, None]


def disk_parameters(n: int, *, seed: int = 0, start: int = 0, device=None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres (n, 2) as (row, column), radii, foregrounds and backgrounds (n,) of the images of `disks`."""
    u = uniform(seed, "disks", start, n, 5, device)
    centre = CENTRE[0] + (CENTRE[1] - CENTRE[0]) * u[:, :2]
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * u[:, 2]
    return centre, radius, u[:, 3], u[:, 4]


def contour_waves(centre: Tensor, radius: Tensor, foreground: Tensor, background: Tensor, size: int, *,
                  periods, points: int = 2**15) -> Tensor:
    r"""Derivatives of the images when their contours bend in waves: float64 (n, 2 P, 1, size, size).

    The radius becomes $r + \varepsilon\cos p\varphi$ or $r + \varepsilon\sin p\varphi$,
    for each of the P `periods` p; the derivative is in ε, at 0. In each pixel it
    is the contrast times the integral of the wave along the arc in this pixel,
    computed at `points` points of the circle. Waves of one period shift the
    disk, and the cosine of period 0 changes its radius (the sine is zero); no
    other wave leads from a disk to a disk.
    """
    n = len(radius)
    angle = 2 * math.pi * (torch.arange(points, dtype=torch.float64, device=radius.device) + 0.5) / points
    along = [radius.double()[:, None] * turn for turn in (angle.sin(), angle.cos())]  # down, to the right
    rows, columns = ((centre.double()[:, k : k + 1] + along[k]).mul(size).long().clamp(0, size - 1) for k in (0, 1))
    waves = torch.stack([turn(p * angle) for p in periods for turn in (torch.cos, torch.sin)])  # (2 P, points)
    step = (foreground - background).double() * radius.double() * 2 * math.pi / points * size**2
    values = step[:, None, None] * waves
    out = values.new_zeros(n, len(waves), size**2)
    out.scatter_add_(2, (rows * size + columns)[:, None].expand(values.shape), values)
    return out.unflatten(2, (1, size, size))
