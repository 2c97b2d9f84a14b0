r"""Bases to compare an adaptive basis with: each lacks something that a network's basis is said to have.

Those of non-local means and of bandlets follow the contours of an image, but
nothing asks their vectors to oscillate in order. Cosines
(:func:`gahb.transforms.dct_vectors`) oscillate in order and do not know the
image. Random mixtures of any vectors do neither.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, unfold

from .._validate import check_points, positive_int, positive_number
from ..denoisers.bandlet import Bandlet
from ..transforms import analyse, flow_bases


def nonlocal_basis(y: Tensor, sigma: float, *, patch: int = 5, distance: int = 6) -> Tensor:
    r"""Eigenvectors of the non-local means of `y` (B, 1, H, W), by falling eigenvalue: (B, d, 1, H, W).

    $$K_{ij} = \exp\Bigl(-\frac{\max(\delta_{ij}^2 - 2\sigma^2,\ 0)}{h^2}\Bigr), \qquad h = 0.6\,\sigma$$

    with $\delta_{ij}^2$ the mean squared difference of the patches around pixels
    i and j, at most `distance` rows and columns apart (Buades, Coll & Morel
    2005; settings as in :class:`gahb.NonLocalMeans`). The filter is
    $D^{-1}K$; its symmetric form $D^{-1/2} K D^{-1/2}$ has the eigenvectors
    (Milanfar 2013). The weights are held fixed.

    Parameters
    ----------
    sigma : of the noise in `y`, positive. patch : side of a patch, odd. distance : in pixels.

    Raises
    ------
    ValueError for a patch or a distance below 1, and a sigma that is not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> from gahb.measure.null_bases import nonlocal_basis
    >>> vectors = nonlocal_basis(gahb.images.disks(1, 8), 0.1).flatten(2)[0]
    >>> vectors.shape, torch.allclose(vectors @ vectors.T, torch.eye(64), atol=1e-4)
    (torch.Size([64, 64]), True)
    """
    check_points("y", y)
    positive_number("sigma", sigma)
    half = positive_int("patch", patch) // 2
    height, width = y.shape[-2:]
    # in float64: the first eigenvalues are so close to each other that float32 mixes their vectors
    patches = unfold(pad(y.double(), (half,) * 4, mode="replicate"), 2 * half + 1).mT  # (B, d, patch²)
    difference = torch.cdist(patches, patches).square() / patches.shape[2]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))  # (d, 2)
    near = ((places[:, None] - places).abs() <= positive_int("distance", distance)).all(dim=2).to(patches)
    K = near * torch.exp(-(difference - 2 * sigma**2).clamp(min=0) / (0.6 * sigma) ** 2)
    root = K.sum(dim=2).rsqrt()
    vectors = torch.linalg.eigh(root[:, :, None] * K * root[:, None]).eigenvectors
    return vectors.flip(-1).mT.reshape(len(y), -1, *y.shape[1:]).to(y)


def bandlet_basis(y: Tensor, sigma: float, bandlet: Bandlet | None = None) -> Tensor:
    r"""The orthogonal bandlet basis chosen for `y` (B, 1, H, W), by falling coefficient of `y`: (B, d, 1, H, W).

    Parameters
    ----------
    sigma : of the noise in `y`, positive. bandlet : its wavelet, squares and flows; default `gahb.Bandlet()`.

    Raises
    ------
    ValueError as for :meth:`gahb.Bandlet.geometry`.

    Examples
    --------
    >>> import gahb, torch
    >>> from gahb.measure.null_bases import bandlet_basis
    >>> vectors = bandlet_basis(gahb.images.disks(1, 16), 0.1).flatten(2)[0]
    >>> torch.allclose(vectors @ vectors.T, torch.eye(256), atol=1e-4)
    True
    """
    bandlet = bandlet or Bandlet()
    geometry = bandlet.geometry(y, sigma)
    d = y[0].numel()
    pixels = torch.eye(d, dtype=y.dtype, device=y.device).reshape(d, *y.shape[1:])
    coarse, details = analyse(pixels, bandlet.wavelet, bandlet.levels)  # column j of a part: vector j, pixel by pixel
    bases = []
    for i in range(len(y)):
        parts = [coarse.flatten(1)]
        for level, sides, angles in zip(details, geometry.sides, geometry.angles):
            parts.append(_along_flows(torch.cat(level, dim=1), sides[i], angles[i], bandlet.moments).flatten(1))
        vectors = torch.cat(parts, dim=1).T
        order = (vectors @ y[i].flatten()).abs().argsort(descending=True)
        bases.append(vectors[order])
    return torch.stack(bases).reshape(len(y), d, *y.shape[1:])


def random_rotations(vectors: Tensor, *, seed: int = 0) -> Tensor:
    """The vectors (B, k, …), mixed by a random rotation of each span.

    >>> import torch
    >>> from gahb.measure.null_bases import random_rotations
    >>> mixed = random_rotations(torch.eye(8)[None])[0]
    >>> torch.allclose(mixed @ mixed.T, torch.eye(8), atol=1e-5)
    True
    """
    generator = torch.Generator().manual_seed(seed)
    k = vectors.shape[1]
    turns = torch.linalg.qr(torch.randn(len(vectors), k, k, generator=generator)).Q.to(vectors)
    return (turns @ vectors.flatten(2)).reshape(vectors.shape)


def _along_flows(c: Tensor, sides: Tensor, angles: Tensor, moments: int) -> Tensor:
    """Wavelet coefficients (n, C, h, w) of one level, in the flows of its squares (C, h, w)."""
    out = c.clone()
    for side in sorted({int(side) for side in sides.unique()} - {1}):
        bases = flow_bases(side, moments).to(c)
        for channel, row, column in (sides == side).nonzero().tolist():
            if row % side or column % side:
                continue
            square = (slice(None), channel, slice(row, row + side), slice(column, column + side))
            flow = round(float(angles[channel, row, column]) * 2 * side / torch.pi)
            out[square] = (c[square].flatten(1) @ bases[flow].T).reshape(-1, side, side)
    return out
