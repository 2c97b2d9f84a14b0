"""Adaptive filters: rows of a denoiser's Jacobian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._points import unit_vectors
from ..contract import Denoiser
from .operator import Jacobian


def adaptive_filters(
    denoiser: Denoiser, y: Tensor, sigma: float | Tensor | None = None, *, pixels: Tensor | Sequence[Sequence[int]]
) -> Tensor:
    r"""Rows of the Jacobian: the filters $\partial f_i/\partial y$ that make pixel i of the denoised image.

    For a bias-free network $f_i(y) = \langle \partial f_i/\partial y, y\rangle$.

    Parameters
    ----------
    y : images (B, C, H, W).
    pixels : (P, 2) rows and columns, or (P, 3) channels, rows and columns.

    Returns
    -------
    (B, P, C, H, W). ValueError for a pixel outside the image.

    Examples
    --------
    >>> import gahb, torch
    >>> x = torch.rand(1, 1, 4, 4)
    >>> def blur(y, sigma=None):
    ...     return torch.nn.functional.avg_pool2d(y, 3, stride=1, padding=1)
    >>> (9 * gahb.adaptive_filters(blur, x, pixels=[(1, 1)])[0, 0, 0]).round(decimals=4)
    tensor([[1., 1., 1., 0.],
            [1., 1., 1., 0.],
            [1., 1., 1., 0.],
            [0., 0., 0., 0.]])
    """
    jacobian = Jacobian(denoiser, y, sigma)
    pixels, sizes = torch.as_tensor(pixels).cpu(), torch.tensor(y.shape[1:])
    if y.ndim != 4 or pixels.ndim != 2 or pixels.shape[1] not in (2, 3) or pixels.is_floating_point():
        raise ValueError(f"pixels must be (P, 2) or (P, 3) indices of images, got shape {tuple(pixels.shape)}")
    places = torch.nn.functional.pad(pixels, (3 - pixels.shape[1], 0))
    if bool(((places < 0) | (places >= sizes)).any()):
        raise ValueError(f"pixels must lie inside images of shape {tuple(y.shape[1:])}, got {pixels.tolist()}")
    strides = torch.tensor([y.shape[2] * y.shape[3], y.shape[3], 1])
    return jacobian.transposed(unit_vectors(y, (places * strides).sum(dim=1))).transpose(0, 1)
