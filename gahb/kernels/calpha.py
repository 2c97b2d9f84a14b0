r"""What a C^α image is made of: the share of each pixel above a contour, and the law of the greys.

`gahb.images.c_alpha` draws these; the optimal denoiser integrates over them.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 4.0  # standard deviations of a field that its range of grey spans to each side


def coverage(heights: Tensor, size: int, pixels: Tensor | None = None) -> Tensor:
    """Share of each pixel above the contour (n, size, size), or of the given `pixels` (p,) alone (n, p).

    `heights` (n, columns) in [0, 1], from the top of the image, at a whole number of places for each pixel
    column; a pixel is numbered row by row.
    """
    if pixels is None:
        row = torch.arange(size, device=heights.device, dtype=heights.dtype)
        share = (size * heights[:, None] - row[:, None]).clamp(0, 1)  # (n, size, columns)
        return share.reshape(len(heights), size, size, -1).mean(dim=3)
    places = heights.reshape(len(heights), size, -1)[:, pixels % size]  # (n, p, places a column)
    return (size * places - (pixels // size)[:, None]).clamp(0, 1).mean(dim=2)


def greys(u: Tensor, v: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and gain (n, 2) of the regions above and below: one ranges over [u, 1], the other over [0, v].

    The bright one is above unless `flip`. u, v, flip are (n,). A gain is what a field of unit variance is
    multiplied by.
    """
    low = torch.stack([u, torch.zeros_like(u)], dim=1)
    high = torch.stack([torch.ones_like(v), v], dim=1)
    flip = flip[:, None]
    low, high = torch.where(flip, low.flip(1), low), torch.where(flip, high.flip(1), high)
    return (low + high) / 2, (high - low) / (2 * REACH)
