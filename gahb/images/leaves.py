r"""Dead leaves: opaque disks falling on each other, with scale-invariant radii.

Radii have density $\propto r^{-3}$ between two cuts, which makes the image's
law invariant to scale between them, and its spectrum close to $|k|^{-2}$
(Lee, Mumford & Huang 2001).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._validate import positive_int
from ..kernels.counter import uniform

SMALLEST, LARGEST = 0.03, 0.6  # radii, in units of the image's side
LEAVES = 4096  # at most; the square is covered long before
FINE = 96  # least number of columns on which leaves are drawn


def dead_leaves(n: int, size: int, *, seed: int = 0, start: int = 0, device=None) -> Tensor:
    """Dead-leaves images: float32 (n, 1, size, size) in [0, 1].

    Seen on a grid of at least 96 columns, which is averaged over pixels. Image
    i depends only on (seed, start + i).
    """
    positive_int("n", n), positive_int("size", size), positive_int("start", start, at_least=0)
    draw = uniform(seed, "leaves", start, n, 4 * LEAVES, device).reshape(n, LEAVES, 4)
    centre = draw[..., :2] * (1 + 2 * LARGEST) - LARGEST  # leaves that reach in from outside, too
    radius = SMALLEST / (1 - draw[..., 2] * (1 - (SMALLEST / LARGEST) ** 2)).sqrt()
    side = size * -(-FINE // size)
    seen = _first_leaf(centre, radius, side)  # (n, side²), LEAVES where none lies
    gray = torch.cat([draw[..., 3], torch.full((n, 1), 0.5, device=device)], dim=1)
    image = gray.gather(1, seen)
    return image.reshape(n, size, side // size, size, side // size).mean(dim=(2, 4))[:, None]


def _first_leaf(centre: Tensor, radius: Tensor, side: int) -> Tensor:
    """The leaf that is on top at each point of a (side, side) grid: only bare points are asked again."""
    n, device = len(centre), centre.device
    at = (torch.arange(side, device=device) + 0.5) / side
    grid = torch.cartesian_prod(at, at)
    seen = torch.full((n * side * side,), LEAVES, device=device)
    bare = torch.arange(n * side * side, device=device)
    start, block = 0, 8
    while start < LEAVES and len(bare):
        image, point = bare // (side * side), bare % (side * side)
        leaves = slice(start, start + block)
        apart = (grid[point][:, None] - centre[image, leaves]).square().sum(dim=2)  # (bare, block)
        over = apart <= radius[image, leaves].square()
        hit = over.any(dim=1)
        seen[bare[hit]] = start + over[hit].int().argmax(dim=1)
        bare = bare[~hit]
        start, block = start + block, min(2 * block, 128)
    return seen.reshape(n, side * side)
