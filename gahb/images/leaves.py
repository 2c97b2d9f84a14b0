r"""Dead leaves: opaque disks falling on each other, with scale-invariant radii.

Radii have density $\propto r^{-3}$ between two cuts, which makes the image's
law invariant to scale between them, and its spectrum close to $|k|^{-2}$
(Lee, Mumford & Huang 2001).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._validate import check_request
from ..kernels.counter import in_blocks, uniform

SMALLEST, LARGEST = 0.03, 0.6  # radii, in units of the image's side
FINE = 96  # leaves are drawn at least on so many columns
_LEAVES, _TILES = 256, 8  # leaves that are drawn at a time; tiles along a side


def dead_leaves(n: int, size: int, *, seed: int = 0, start: int = 0, device=None) -> Tensor:
    r"""Images of opaque disks that lie on each other.

    Disks fall until they cover the image. Their centres are uniform in the
    plane, their greys uniform in [0, 1], and their radii r, in sides of the
    image, have the density $\propto r^{-3}$ between 0.03 and 0.6. A point shows
    the grey of the disk on top.

    The image is drawn on a grid of at least 96 columns and at least two a
    pixel, and averaged over pixels. The same disks appear at every size, but
    their edges are only as fine as that grid. Image i depends only on
    (seed, start + i).

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
    Lee, Mumford & Huang, *Occlusion models for natural images* (International
    Journal of Computer Vision, 2001).

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.dead_leaves(6, 32, seed=1)
    >>> x.shape
    torch.Size([6, 1, 32, 32])
    >>> bool((gahb.images.dead_leaves(2, 32, seed=1, start=4) == x[4:]).all())
    True
    """
    check_request(n, size, seed=seed, start=start, device=device)
    fine = max(2, -(-FINE // size))

    def make(start: int, n: int) -> Tensor:
        seen = _seen(seed, start, n, size * fine, device)
        return seen.reshape(n, 1, size, fine, size, fine).mean(dim=(3, 5))

    return in_blocks(make, start, n, device)


def leaves(seed: int, start: int, n: int, block: int, device=None) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (n, 256, 2) as (row, column), radii and greys (n, 256) of a block of leaves; the first is on top."""
    draw = uniform(seed, f"leaves {block}", start, n, 4 * _LEAVES, device).reshape(n, _LEAVES, 4)
    centre = draw[..., :2] * (1 + 2 * LARGEST) - LARGEST  # leaves that reach in from outside, too
    radius = SMALLEST / (1 - draw[..., 2] * (1 - (SMALLEST / LARGEST) ** 2)).sqrt()
    return centre, radius, draw[..., 3]


def _seen(seed: int, start: int, n: int, side: int, device) -> Tensor:
    """Grey (n, side, side) of the topmost leaf at each point of a grid.

    From the top leaf downwards, each leaf is drawn where no leaf is yet, on the
    tiles that it touches, until every point is covered.
    """
    width = -(-side // _TILES)
    at = ((torch.arange(_TILES * width, device=device) + 0.5) / side).reshape(_TILES, width)
    seen = torch.full((n * _TILES**2, width, width), -1.0, device=device)  # -1 where bare
    bare, block = torch.arange(len(seen), device=device), 0  # tiles with a bare point
    while len(bare):
        centre, radius, gray = leaves(seed, start, n, block, device)
        image, row, column = bare // _TILES**2, at[bare // _TILES % _TILES], at[bare % _TILES]
        middle, reach = centre[image], radius[image]  # (bare, 256, …)
        apart = [middle[..., k] - middle[..., k].clamp(x[:, :1], x[:, -1:]) for k, x in enumerate((row, column))]
        near, leaf = (apart[0].square() + apart[1].square() <= reach.square()).nonzero(as_tuple=True)
        first = torch.searchsorted(near, near)  # pairs come tile by tile
        rank = torch.arange(len(near), device=device) - first
        for pairs in rank.argsort(stable=True).split(rank.bincount().tolist()):  # one leaf a tile
            tile, one = near[pairs], leaf[pairs]
            down, right = (x[tile] - middle[tile, one, k, None] for k, x in enumerate((row, column)))
            over = down.square()[:, :, None] + right.square()[:, None] <= reach[tile, one, None, None].square()
            old = seen[bare[tile]]
            seen[bare[tile]] = torch.where(over & (old < 0), gray[image[tile], one, None, None], old)
        bare, block = bare[(seen[bare] < 0).flatten(1).any(dim=1)], block + 1
    tiles = seen.reshape(n, _TILES, _TILES, width, width).transpose(2, 3)
    return tiles.reshape(n, _TILES * width, _TILES * width)[:, :side, :side]
