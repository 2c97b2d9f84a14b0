"""The flows of a bandlet basis as line segments over an image."""

from __future__ import annotations

import torch
from torch import Tensor

from .._validate import check_points, positive_int


def flow_lines(geometry, images: Tensor, *, zoom: int = 4) -> Tensor:
    """One segment along the flow of every square that has one, over a faint `images`: (B, 1, zoom H, zoom W) in [0, 1].

    Parameters
    ----------
    geometry : of a :class:`gahb.Bandlet`, on images of this shape. Segments of its
        finest level are black, of the others white; the subbands of a level
        lie on top of each other, and a segment spans its square.
    images : (B, 1, H, W) in [0, 1].
    zoom : pixels of the drawing a pixel of the image.

    Raises
    ------
    ValueError : for a geometry of images of another shape, and a zoom below 1.

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.c_alpha(2, 32, alpha=2)
    >>> geometry = gahb.Bandlet(levels=2).geometry(x, sigma=0.05)
    >>> drawn = gahb.widgets.flow_lines(geometry, x)
    >>> drawn.shape
    torch.Size([2, 1, 128, 128])
    >>> figure = gahb.figures.image_grid([x, drawn])  # the images, and their flows below
    """
    check_points("images", images)
    positive_int("zoom", zoom)
    batch, _, height, width = images.shape
    picture = (0.35 + 0.4 * images.clamp(0, 1)).repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)[:, 0]
    down, right = ((torch.arange(n * zoom) + 0.5) / zoom for n in (height, width))  # in pixels of the image
    for level in reversed(range(len(geometry.sides))):
        sides, angles = geometry.sides[level], geometry.angles[level]
        if sides.shape[0] != batch or sides.shape[-2] != height >> (level + 1):
            raise ValueError(f"geometry must be of images of shape {tuple(images.shape)}, its level {level} is "
                             f"{tuple(sides.shape)}")
        scale = 2 ** (level + 1)  # pixels of the image a coefficient
        row, column = (down / scale).long(), (right / scale).long()
        side, angle = (v[..., row, :][..., column].to(torch.float64) for v in (sides, angles))  # (B, 3, zoom H, zoom W)
        # from the square's middle, in coefficients
        y, x = (at - (at // side + 0.5) * side for at in (down[:, None] / scale, right / scale))
        along, across = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
        on = (side > 1) & (along.abs() < 0.42 * side) & (across.abs() * scale < 0.3)
        picture = torch.where(on.any(dim=1), 0.0 if level == 0 else 1.0, picture)
    return picture[:, None]
