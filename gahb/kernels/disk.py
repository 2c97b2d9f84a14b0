r"""Exact area of a disk within each pixel, and the law of the five parameters of a disk image.

Coordinates are those of the unit square. The centre is uniform on
$[0.3, 0.7]^2$, the radius on $[0.1, 0.3]$, foreground and background grey on
$[0, 1]$, all independent: the disk lies inside the image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CENTRE, RADIUS = (0.3, 0.7), (0.1, 0.3)


def coverage(centre: Tensor, radius: Tensor, size: int, *, rows=(0, None), columns=(0, None)) -> Tensor:
    r"""Share of each pixel that the disk covers: float64 (n, size, size), rows from the top.

    The area of $\{X \le x, Y \le y\}$ within the unit disk is known in closed
    form (`_corner`); a pixel is a sum and difference of four. `centre` (n, 2) is
    (row, column), `radius` (n,). Of the rows, and of the columns, those from
    the first to before the second index are rendered: all of them, or fewer.
    """
    edges = torch.arange(size + 1, dtype=torch.float64, device=centre.device) / size
    radius = radius.double()[:, None]
    y, x = (
        (edges[first : None if end is None else end + 1] - centre.double()[:, k : k + 1]) / radius
        for k, (first, end) in enumerate((rows, columns))
    )  # (n, edges)
    corner = _corner(x[:, None, :], y[:, :, None])
    area = corner[:, 1:, 1:] - corner[:, :-1, 1:] - corner[:, 1:, :-1] + corner[:, :-1, :-1]
    return (area * (radius * size).square()[..., None]).clamp(0, 1)


def _corner(x: Tensor, y: Tensor) -> Tensor:
    """Area of {X ≤ x, Y ≤ y} in the unit disk.

    With (x, y) inside the disk, the two caps and the rectangle from the centre
    to (x, y) count every quadrant twice, but for a quarter of the disk.
    """
    x, y = x.clamp(-1, 1), y.clamp(-1, 1)
    left, below = _cap(x), _cap(y)
    inside = torch.addcmul(left / 2, x, y) + (below / 2 - math.pi / 4)
    right, above = (x >= 0).to(x), (y >= 0).to(y)  # of the centre
    outside = torch.addcmul(above * left, right, below - math.pi * above)
    return torch.where(x.square() + y.square() <= 1, inside, outside)


def _cap(x: Tensor) -> Tensor:
    """Area of {X ≤ x} in the unit disk, |x| ≤ 1; its derivative at the ends is zero, not NaN."""
    half = ((1 - x) * (1 + x)).clamp(min=1e-300).sqrt()
    return math.pi / 2 + x * half + torch.atan2(x, half)
