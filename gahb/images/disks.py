"""Disks: images on a five-dimensional manifold, whose optimal denoiser is known."""

from __future__ import annotations

from torch import Tensor

from .._validate import check_request
from ..kernels.counter import in_blocks, uniform
from ..kernels.disk import CENTRE, RADIUS, coverage


def disks(n: int, size: int, *, seed: int = 0, start: int = 0, device=None) -> Tensor:
    """A disk of one grey on another: float32 (n, 1, size, size) in [0, 1].

    A pixel is the exact mean of the image function over its square. Image i
    depends only on (seed, start + i), and is the same function at every size.
    """
    check_request(n, size, seed=seed, start=start)

    def make(start: int, n: int) -> Tensor:
        centre, radius, foreground, background = disk_parameters(n, seed=seed, start=start, device=device)
        share = coverage(centre, radius, size).float()
        return (background[:, None, None] + (foreground - background)[:, None, None] * share)[:, None]

    return in_blocks(make, start, n, device)


def disk_parameters(n: int, *, seed: int = 0, start: int = 0, device=None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre (n, 2) as (row, column), radius, foreground and background (n,) of the images of `disks`."""
    u = uniform(seed, "disks", start, n, 5, device)
    centre = CENTRE[0] + (CENTRE[1] - CENTRE[0]) * u[:, :2]
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * u[:, 2]
    return centre, radius, u[:, 3], u[:, 4]
