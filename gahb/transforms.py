"""Orthonormal transforms that denoisers and measures share: wavelets, cosines, and bases along a flow."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pywt
import scipy.fft
import torch
from torch import Tensor


def analyse(y: Tensor, wavelet: str, levels: int) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Orthonormal wavelet coefficients: coarse, and three details a level, finest first.

    One level, with W and V the orthogonal matrices of ``wavelet_matrix``
    for rows and columns, is $y \\mapsto W y V^\\top$, whose top left quarter is
    coarse and is transformed again. It stops early where a side is odd.

    Parameters
    ----------
    y : images (…, H, W). wavelet : an orthogonal wavelet of PyWavelets.
    levels : at most that many.

    Returns
    -------
    The coarse part (…, H / 2^L, W / 2^L), and for each of the L levels the
    horizontal, vertical and diagonal details.

    Examples
    --------
    >>> import gahb, torch
    >>> y = torch.rand(2, 1, 8, 8)
    >>> coarse, details = gahb.transforms.analyse(y, "haar", 2)
    >>> coarse.shape, [level[0].shape for level in details]
    (torch.Size([2, 1, 2, 2]), [torch.Size([2, 1, 4, 4]), torch.Size([2, 1, 2, 2])])
    >>> torch.allclose(gahb.transforms.synthesise(coarse, details, "haar"), y, atol=1e-6)
    True
    """
    details = []
    for _ in range(levels):
        rows, columns = y.shape[-2:]
        if rows % 2 or columns % 2 or min(rows, columns) < 2:
            break
        y = wavelet_matrix(rows, wavelet).to(y) @ y @ wavelet_matrix(columns, wavelet).to(y).T
        top, bottom = y.split(rows // 2, dim=-2)
        (y, horizontal), (vertical, diagonal) = (part.split(columns // 2, dim=-1) for part in (top, bottom))
        details.append((horizontal, vertical, diagonal))
    return y, details


def synthesise(coarse: Tensor, details: list[tuple[Tensor, Tensor, Tensor]], wavelet: str) -> Tensor:
    """Inverse of `analyse`.

    >>> import gahb, torch
    >>> y = torch.rand(2, 1, 8, 8)
    >>> back = gahb.transforms.synthesise(*gahb.transforms.analyse(y, "sym4", 3), "sym4")
    >>> torch.allclose(back, y, atol=1e-5)
    True
    """
    y = coarse
    for horizontal, vertical, diagonal in reversed(details):
        y = torch.cat([torch.cat([y, horizontal], dim=-1), torch.cat([vertical, diagonal], dim=-1)], dim=-2)
        y = wavelet_matrix(y.shape[-2], wavelet).to(y).T @ y @ wavelet_matrix(y.shape[-1], wavelet).to(y)
    return y


@cache
def wavelet_matrix(n: int, wavelet: str) -> Tensor:
    """One level of the periodised transform as an orthogonal (n, n) matrix: coarse rows, then detail rows.

    >>> import gahb, torch
    >>> W = gahb.transforms.wavelet_matrix(8, "sym4")
    >>> torch.allclose(W @ W.T, torch.eye(8, dtype=torch.float64))
    True
    """
    coarse, detail = pywt.dwt(np.eye(n), wavelet, mode="periodization", axis=0)
    return torch.from_numpy(np.concatenate([coarse, detail]))


def dct(images: Tensor) -> Tensor:
    """Orthonormal cosine transform of the last two axes (DCT-II).

    >>> import gahb, torch
    >>> y = torch.rand(1, 4, 6)
    >>> torch.allclose(gahb.transforms.dct(y).norm(), y.norm())
    True
    """
    height, width = images.shape[-2:]
    return dct_matrix(height).to(images) @ images @ dct_matrix(width).to(images).T


def dct_vectors(count: int, height: int, width: int) -> Tensor:
    """The cosine basis by rising frequency, as eigenvectors are given: (1, count, 1, H, W), float32.

    >>> import gahb, torch
    >>> vectors = gahb.transforms.dct_vectors(16, 4, 4).flatten(2)[0]
    >>> torch.allclose(vectors @ vectors.T, torch.eye(16), atol=1e-6)
    True
    """
    squared = (torch.arange(height)[:, None] / height) ** 2 + (torch.arange(width) / width) ** 2
    order = squared.flatten().argsort(stable=True)[:count]
    C, D = dct_matrix(height), dct_matrix(width)
    return torch.einsum("ki,kj->kij", C[order // width], D[order % width])[None, :, None].float()


@cache
def dct_matrix(n: int) -> Tensor:
    """The cosine basis of n points (DCT-II) as an orthogonal (n, n) matrix: a basis vector a row, float64."""
    return torch.from_numpy(scipy.fft.dct(np.eye(n), axis=0, norm="ortho"))


@cache
def flow_bases(side: int, moments: int) -> Tensor:
    """Orthonormal Alpert bases of a square along 2 × side flows: (2 side, side², side²), a basis vector a row."""
    return torch.stack([_alpert(*_along(side, math.pi * k / (2 * side)), moments) for k in range(2 * side)])


def _along(side: int, angle: float) -> tuple[Tensor, Tensor]:
    """Order of a square's pixels, line by line of the flow, and their places along it, in that order."""
    axis = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * 2 / side
    down, right = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    along = math.cos(angle) * right + math.sin(angle) * down
    across = (math.cos(angle) * down - math.sin(angle) * right).round(decimals=9)  # one line is one number
    order = along.argsort(stable=True)
    order = order[across[order].argsort(stable=True)]
    return order, along[order]


def _alpert(order: Tensor, along: Tensor, moments: int) -> Tensor:
    """Alpert's basis of sorted points: dyadic groups, details orthogonal to polynomials of the place along the flow.

    A group's coarse space is spanned by the polynomials, its details are the
    complement in the union of its halves' coarse spaces.
    """
    powers = along[:, None] ** torch.arange(moments)  # (n, moments)
    size = 1 << (moments - 1).bit_length()
    groups = torch.eye(len(along), dtype=torch.float64).unflatten(0, (-1, size))  # (groups, size, n)
    details = []
    while True:
        q = torch.linalg.qr(groups @ powers, mode="complete").Q  # the polynomials first
        coarse, detail = (q.mT @ groups).tensor_split([moments], dim=1)
        details.append(detail.flatten(0, 1))
        if len(coarse) == 1:
            return torch.cat([coarse[0], *reversed(details)])[:, order.argsort()]
        groups = coarse.unflatten(0, (-1, 2)).flatten(1, 2)
