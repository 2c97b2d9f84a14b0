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
LEAVES = 3000  # at most; the square is covered long before
FINE = 160  # least number of columns on which leaves are drawn


def dead_leaves(n: int, size: int, *, seed: int = 0, start: int = 0, device=None) -> Tensor:
    """Dead-leaves images: float32 (n, 1, size, size) in [0, 1].

    Drawn on a grid of at least 160 columns and averaged over pixels. Image i
    depends only on (seed, start + i).
    """
    positive_int("n", n), positive_int("size", size), positive_int("start", start, at_least=0)
    draw = uniform(seed, "leaves", start, n, 4 * LEAVES, device).reshape(n, LEAVES, 4)
    radius = SMALLEST / (1 - draw[..., 2] * (1 - (SMALLEST / LARGEST) ** 2)).sqrt()
    centre = draw[..., :2] * (1 + 2 * LARGEST) - LARGEST  # leaves that reach in from outside, too
    side = size * -(-FINE // size)
    at = (torch.arange(side, device=device) + 0.5) / side
    # front to back: the first leaf over a point is the one seen
    image = torch.full((n, side, side), 0.5, device=device)
    bare = torch.ones(n, side, side, dtype=torch.bool, device=device)
    for k in range(LEAVES):
        down = (at - centre[:, k, :1]).square()[:, :, None]
        right = (at - centre[:, k, 1:2]).square()[:, None, :]
        leaf = bare & (down + right <= radius[:, k, None, None].square())
        image = torch.where(leaf, draw[:, k, 3, None, None], image)
        bare &= ~leaf
        if k % 64 == 63 and not bool(bare.any()):
            break
    return image.reshape(n, size, side // size, size, side // size).mean(dim=(2, 4))[:, None]
