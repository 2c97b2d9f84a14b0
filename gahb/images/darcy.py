r"""Flow through a porous medium: pictures of a permeability and of the pressure that it causes.

Darcy's law and the balance of mass on the unit square are

$$-\nabla\cdot(K\nabla p) = f, \qquad \partial_n p = 0 \text{ on the border}, \qquad \int p = 0,$$

with a source in one corner and an equal sink in the opposite one. The unit of
length is the side of the square; K is in units of its median and f in units of
volume a time and area, so that p is in units of f · length² / K.

**Permeability.** $\log K = \sum_k \sqrt{\lambda_k}\,\xi_k\,\varphi_k$ with unit
normal $\xi_k$: the first `MODES` terms of the Karhunen–Loève sum of the
exponential covariance $e^{-(|s_1-t_1| + |s_2-t_2|)/\ell}$. Its eigenfunctions
are products of cosines and sines in closed form (Ghanem & Spanos 1991), so that
log K is one function, sampled at the centres of the cells of any grid.

**Pressure.** On cells of side h, the flux between two neighbours is
$K_{ij}(p_i - p_j)/h$ with $K_{ij} = \sqrt{K_i K_j}$, and no flux leaves the
square. What leaves a cell is what is put into it:

$$\frac{1}{h^2}\sum_{j \sim i} K_{ij}(p_i - p_j) = f_i.$$ (cells)

The error is O(h²). The equations are solved by a sparse direct solver; the same
sum, in torch, is the residual of any picture.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .._validate import check_points, check_request
from ..kernels.counter import normal

LENGTH = 0.1  # correlation length ℓ of log K, in sides of the square
MODES = 64  # terms of the Karhunen–Loève sum
CORNER = 0.125  # side of the source and of the sink
RATE = 10.0  # f in the source; −f in the sink
LOG_K = 4.0  # |log K| and |p| below these are in [0, 1] in the picture
PRESSURE = 0.5
COARSEST = 16  # cells a side: four for the shortest wave in log K, two for a corner


def darcy(n: int, size: int, *, seed: int = 0, start: int = 0) -> Tensor:
    r"""Pictures of a random permeability and its pressure.

    Channel 0 is $\tfrac12 + \log K / 8$, channel 1 is $\tfrac12 + p$, at the
    centres of size × size cells, where p solves

    $$-\nabla\cdot(K\nabla p) = f$$

    without flux through the border and with mean 0. log K is a Gaussian field
    of exponential covariance, cut to 64 terms; f is 10 in the corner of row and
    column 0, of side ⅛, and −10 in the opposite one. One draw in fifty would
    leave [0, 1], most for a pressure beyond ±½; it is drawn anew.

    Image i depends only on (seed, start + i). Its log K is the same function at
    every size, and its p differs by O(size⁻²).

    Parameters
    ----------
    n : number of images, at least 1.
    size : cells a side, at least 16.
    seed : of the random numbers, from 0 to 2⁶⁴ − 1.
    start : index of the first image, at least 0.

    Returns
    -------
    float32 (n, 2, size, size), values in [0, 1]. :func:`darcy_fields` gives K and p.

    Raises
    ------
    ValueError : if an argument is out of its range.

    References
    ----------
    The flow of section 4 of Bastek, Sun & Kochmann (ICLR 2025), on a smaller
    grid; their covariance depends on the Euclidean distance.

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.darcy(3, 24)
    >>> x.shape, bool(x.min() >= 0), bool(x.max() <= 1)
    (torch.Size([3, 2, 24, 24]), True, True)
    >>> float(gahb.images.darcy_residual(x).abs().mean()) < 1e-3  # that of p = 0 is 0.31
    True
    """
    check_request(n, size, seed=seed, start=start)
    check_grid(size)
    images = torch.empty(n, 2, size, size)
    left, attempt = torch.arange(n), 0
    while len(left):
        log_k, p = _draw(left + start, size, seed, attempt)
        inside = (log_k.abs().amax((1, 2)) <= LOG_K) & (p.abs().amax((1, 2)) <= PRESSURE)
        images[left[inside]] = darcy_images(log_k.exp(), p)[inside].float()
        left, attempt = left[~inside], attempt + 1
    return images


def darcy_images(permeability: Tensor, pressure: Tensor) -> Tensor:
    r"""The picture of given fields: (n, 2, size, size), $\tfrac12 + \log K/8$ and $\tfrac12 + p$.

    Parameters
    ----------
    permeability, pressure : (n, size, size), K positive.

    Raises
    ------
    ValueError : for fields of another or of different shapes, or a K that is not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> K, p = gahb.images.darcy_fields(gahb.images.darcy(2, 16))
    >>> gahb.images.darcy_images(K, 0 * p)[:, 1].unique()
    tensor([0.5000])
    """
    check_permeability(permeability)
    if pressure.shape != permeability.shape:
        raise ValueError(f"pressure must be shaped like permeability, {tuple(permeability.shape)}, "
                         f"got {tuple(pressure.shape)}")
    return torch.stack([0.5 + permeability.log() / (2 * LOG_K), 0.5 + pressure / (2 * PRESSURE)], dim=1)


def darcy_fields(images: Tensor) -> tuple[Tensor, Tensor]:
    r"""Permeability and pressure of pictures: $K = e^{8(x_0 - 1/2)}$ and $p = x_1 - \tfrac12$.

    Channel 0 is cut to [0, 1] before, as a screen cuts it: no K of the class is
    outside, and a sampler's pictures may be.

    Parameters
    ----------
    images : (n, 2, size, size), such as :func:`darcy` or a sampler returns.

    Returns
    -------
    K and p, (n, size, size).

    Raises
    ------
    ValueError : for pictures of another shape, or a grid below 16 × 16.

    Examples
    --------
    >>> import gahb
    >>> K, p = gahb.images.darcy_fields(gahb.images.darcy(2, 24))
    >>> bool((K > 0).all()), float(p.mean().abs()) < 1e-6
    (True, True)
    """
    _check_pictures(images)
    log_k, p = _log_fields(images)
    return log_k.exp(), p


def darcy_residual(images: Tensor) -> Tensor:
    r"""What the balance of mass lacks in each cell, $-\nabla\cdot(K\nabla p) - f$.

    It is zero, up to rounding, for pictures of :func:`darcy`, which are solved
    on the same cells. White noise of standard deviation s in p, with K = 1,
    makes a residual of standard deviation $\sqrt{20}\,s/h^2$ inside the square,
    h = 1/size: what a picture's own noise is worth grows with the square of the
    grid. A pressure of 0 makes −f, whose mean absolute value is 0.3125 on grids
    divisible by 8. A constant that is added to p is not seen. K is that of
    :func:`darcy_fields`: without a bound its exponential overflows at the first
    steps of a training.

    Parameters
    ----------
    images : (n, 2, size, size), of any dtype and on any device; gradients pass.

    Returns
    -------
    (n, size, size), in units of f.

    Raises
    ------
    ValueError : for pictures of another shape, or a grid below 16 × 16.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.darcy(2, 24)
    >>> without_pressure = torch.stack([x[:, 0], torch.full_like(x[:, 1], 0.5)], dim=1)
    >>> round(float(gahb.images.darcy_residual(without_pressure).abs().mean()), 4)
    0.3125
    """
    _check_pictures(images)
    size = images.shape[-1]
    log_k, p = _log_fields(images)
    outflow = _outflow(log_k, p, dim=1) + _outflow(log_k, p, dim=2)
    return size**2 * outflow - torch.as_tensor(corners(size), dtype=p.dtype, device=p.device)


def darcy_pressure(permeability: Tensor, source: Tensor | None = None) -> Tensor:
    r"""Solve $-\nabla\cdot(K\nabla p) = f$ without flux through the border and with mean 0.

    By finite differences of second order and a sparse direct solver, in float64.

    Parameters
    ----------
    permeability : K (n, size, size), positive and finite.
    source : f (size, size) or (n, size, size), of mean 0; by default that of :func:`darcy`.

    Returns
    -------
    p (n, size, size), float64.

    Raises
    ------
    ValueError : for a K that is not positive, a grid below 16 × 16, or a source of
        another shape or whose mean is not 0 (then no pressure balances it).

    Examples
    --------
    The pressure that a generated permeability causes, against the pressure that was generated with it:

    >>> import gahb
    >>> K, p = gahb.images.darcy_fields(gahb.images.darcy(2, 24))
    >>> bool((gahb.images.darcy_pressure(K) - p).abs().max() < 1e-5)
    True
    """
    check_permeability(permeability)
    size = permeability.shape[-1]
    check_grid(size)
    f = torch.from_numpy(corners(size)) if source is None else source
    if f.shape not in (permeability.shape[1:], permeability.shape):
        raise ValueError(f"source must be ({size}, {size}) or shaped like permeability, got {tuple(f.shape)}")
    f = f.double().expand(permeability.shape)
    mean = f.mean((1, 2)).abs().max().item()
    if not mean <= 1e-9 * max(f.abs().max().item(), 1.0):
        raise ValueError(f"source must have mean 0, as no flux leaves the square, got a mean of {mean:.3g}")
    log_k = permeability.detach().cpu().double().log().numpy()
    p = np.stack([_solve(k, b) for k, b in zip(log_k, f.cpu().numpy())])
    return torch.from_numpy(p).to(permeability.device)


def _log_fields(images: Tensor) -> tuple[Tensor, Tensor]:
    """log K and p of pictures."""
    return 2 * LOG_K * (images[:, 0].clamp(0, 1) - 0.5), 2 * PRESSURE * (images[:, 1] - 0.5)


def check_grid(size: int) -> None:
    """The waves in log K and the corners are resolved."""
    if size < COARSEST:
        raise ValueError(f"size must be at least {COARSEST}, which resolves the shortest wave of the permeability, "
                         f"got {size}")


def check_permeability(K) -> None:
    """(n, size, size), positive and finite."""
    check_points("permeability", K)
    if K.ndim != 3 or K.shape[1] != K.shape[2]:
        raise ValueError(f"permeability must be (n, size, size), got shape {tuple(K.shape)}")
    low, high = float(K.min()), float(K.max())
    if not (low > 0 and high < math.inf):
        raise ValueError(f"permeability must be positive and finite, got values from {low:.4g} to {high:.4g}")


def _check_pictures(images) -> None:
    check_points("images", images)
    if images.ndim != 4 or images.shape[1] != 2 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be (n, 2, size, size), permeability and pressure, got shape "
                         f"{tuple(images.shape)}")
    check_grid(images.shape[-1])


# --- permeability ---------------------------------------------------------------------------


def log_permeability(normals: Tensor, size: int) -> Tensor:
    """log K (n, size, size), float64, from the MODES normal numbers (n, MODES) of each image."""
    return torch.einsum("nk,kij->nij", normals.double(), torch.from_numpy(_modes(size)))


@cache
def _modes(size: int) -> np.ndarray:
    """√λ φ of the terms of largest variance, (MODES, size, size)."""
    one = waves(round(MODES**0.5) * 2, (np.arange(size) + 0.5) / size)  # (m, size): √λ φ in one dimension
    variance = waves_variance(len(one))
    pairs = sorted(((i, j) for i in range(len(one)) for j in range(len(one))),
                   key=lambda pair: (-variance[pair[0]] * variance[pair[1]], pair))
    return np.stack([np.outer(one[i], one[j]) for i, j in pairs[:MODES]])


@cache
def _frequencies(m: int) -> np.ndarray:
    """The first m solutions of w tan(w/2) = c (even terms) and w = −c tan(w/2) (odd ones), one in each (kπ, kπ + π)."""
    from scipy.optimize import brentq

    c = 1 / LENGTH
    even, odd = (lambda w: c * math.cos(w / 2) - w * math.sin(w / 2)), \
        (lambda w: w * math.cos(w / 2) + c * math.sin(w / 2))
    return np.array([brentq(odd if k % 2 else even, k * math.pi, (k + 1) * math.pi, xtol=1e-14) for k in range(m)])


def waves_variance(m: int) -> np.ndarray:
    """Eigenvalues λ of the covariance exp(−|s − t| / ℓ) on [0, 1], falling."""
    return 2 / LENGTH / (_frequencies(m) ** 2 + 1 / LENGTH**2)


def waves(m: int, t: np.ndarray) -> np.ndarray:
    """√λ φ at the places t, (m, len(t)): cosines and sines about the middle, of unit norm in L²(0, 1)."""
    w = _frequencies(m)[:, None]
    odd = (np.arange(m) % 2 == 1)[:, None]
    phi = np.where(odd, np.sin(w * (t - 0.5)), np.cos(w * (t - 0.5)))
    norm = np.sqrt(0.5 + np.where(odd, -1, 1) * np.sin(w) / (2 * w))
    return np.sqrt(waves_variance(m))[:, None] * phi / norm


def _draw(indices: Tensor, size: int, seed: int, attempt: int) -> tuple[Tensor, Tensor]:
    """log K and p of the numbered images, at an attempt."""
    stream = "darcy" if attempt == 0 else f"darcy {attempt}"
    first, count = int(indices[0]), int(indices[-1] - indices[0]) + 1
    log_k = log_permeability(normal(seed, stream, first, count, MODES)[indices - first], size)
    return log_k, darcy_pressure(log_k.exp())


# --- pressure -------------------------------------------------------------------------------


@cache
def corners(size: int) -> np.ndarray:
    """Mean of f over each cell, (size, size)."""
    edges = np.arange(size + 1) / size
    share = np.clip(np.minimum(edges[1:], CORNER) - edges[:-1], 0, None) * size
    return RATE * (np.outer(share, share) - np.outer(share[::-1], share[::-1]))


def _outflow(log_k: Tensor, p: Tensor, dim: int) -> Tensor:
    """Sum over the two neighbours along an axis of K (p − p of the neighbour), K their geometric mean."""
    n = p.shape[dim]
    before, after = (lambda v: v.narrow(dim, 0, n - 1)), (lambda v: v.narrow(dim, 1, n - 1))
    flux = ((before(log_k) + after(log_k)) / 2).exp() * (before(p) - after(p))
    border = torch.zeros_like(p.narrow(dim, 0, 1))
    return torch.cat([flux, border], dim) - torch.cat([border, flux], dim)


@cache
def _neighbours(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of cells with a common face."""
    cells = np.arange(size**2).reshape(size, size)
    one = np.concatenate([cells[:-1].ravel(), cells[:, :-1].ravel()])
    return one, np.concatenate([cells[1:].ravel(), cells[:, 1:].ravel()])


def _solve(log_k: np.ndarray, f: np.ndarray) -> np.ndarray:
    """p of one image: the last cell is held at 0, which leaves a positive definite matrix, and the mean taken off."""
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    size = len(log_k)
    one, other = _neighbours(size)
    face = np.exp((log_k.ravel()[one] + log_k.ravel()[other]) / 2)
    diagonal = np.bincount(one, face, size**2) + np.bincount(other, face, size**2)
    cells = np.arange(size**2)
    rows, columns = np.concatenate([cells, one, other]), np.concatenate([cells, other, one])
    matrix = csc_matrix((np.concatenate([diagonal, -face, -face]), (rows, columns)))[:-1, :-1]
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    p = np.append(factors.solve(f.ravel()[:-1] / size**2), 0.0).reshape(size, size)
    return p - p.mean()
