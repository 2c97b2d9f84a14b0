r"""Posterior of a disk image seen through Gaussian noise: cells of shapes, halved until they resolve it.

An image of the class is $x = a\,m_\theta + b\,(1 - m_\theta)$, where the greys
a and b are uniform on [0, 1] and $m_\theta$ is the coverage of a disk whose
shape θ = (row, column, radius) is uniform in a box (`disk`). Hence

$$f^\star(y) = \sum_\theta w_\theta\, \mathbb E[x \mid y, \theta], \qquad
  w_\theta \propto \int_{[0,1]^2} e^{-\|y - x\|^2/2\sigma^2}\, da\, db .$$

Given θ the exponent is quadratic in (a, b), and Gauss rules integrate it
(`grey_posterior`). Over θ it is the midpoint rule on equal cells, which for a
smooth peak converges faster than any power of their width. The cells start as
one grid over the box and are halved, hopeless ones left behind, until none
holds more than a given share of the mass. Nothing enters but y and σ.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from .disk import CENTRE, RADIUS, coverage
from .posterior_mean import Symmetric

_KEEP = 8  # cells halved at least, whatever their mass: a coarse grid sees a narrow peak from half a cell away
_HALVINGS = 40  # then shapes differ by rounding only
_BLOCK = 2**15  # pixels rendered at a time: they stay in the cache
_REACH = 6.0  # standard deviations of a grey to each side, for
_NODE, _WEIGHT = (torch.from_numpy(array) for array in leggauss(16))


class DiskPosterior(Symmetric):
    """The posterior of a disk of `size` × `size` pixels, d = size². All tensors are float64.

    There are `cells` first cells along each axis of the centre, two thirds as
    many along the radius. A cell weighs at most `share` in the end: a Gaussian
    peak has ⅛ in its middle one when they are 1.25 standard deviations wide.
    Cells lighter than `faint` times the heaviest are left behind, and of more
    than there were at first the lightest: at most 8 × their number are held at
    once, each as its mask.
    """

    name = "optimal disk denoiser"

    def __init__(self, size: int, *, cells: int = 12, share: float = 1 / 8, faint: float = 1e-6):
        self.size, self.share, self.faint = size, share, faint
        counts = (cells, cells, 2 * cells // 3)
        low, high = torch.tensor([CENTRE, CENTRE, RADIUS], dtype=torch.float64).T
        width = (high - low) / torch.tensor(counts)
        middles = [low[k] + width[k] * (torch.arange(n, dtype=torch.float64) + 0.5) for k, n in enumerate(counts)]
        self._first = _cells(torch.cartesian_prod(*middles), width, size)

    def to(self, device) -> DiskPosterior:
        """A copy with its first cells on `device`; they are taken to the points' device otherwise, at every point."""
        moved = copy.copy(self)
        moved._first = _Cells(*(part.to(device) for part in self._first))
        return moved

    def mean(self, y: Tensor, variance: Tensor) -> Tensor:
        """$f^\\star(y)$ (B, d) of points y (B, d) under noise of variance σ² (B,)."""
        mean = torch.empty_like(y)
        for row, *point in zip(mean, y, variance):
            row.copy_(self._mean(*self._resolve(*point)))
        return mean

    def spread(self, y: Tensor, variance: Tensor) -> Tensor:
        """$\\mathbb E[\\|x - f^\\star(y)\\|^2 \\mid y]$ (B,), a sum over pixels, for the price of one mean."""
        out = torch.empty_like(variance)
        for k, point in enumerate(zip(y, variance)):
            cells, weights, greys, covariance = self._resolve(*point)
            mean = self._mean(cells, weights, greys, covariance)
            second = covariance + greys[:, :, None] * greys[:, None]  # of the greys, given the shape
            aa, ab = cells.square, cells.area - cells.square  # inner products of m and 1 − m
            bb = self.size**2 - cells.area - ab
            squares = aa * second[:, 0, 0] + 2 * ab * second[:, 0, 1] + bb * second[:, 1, 1]
            out[k] = weights @ squares - mean @ mean
        return out

    def covariance_product(self, y: Tensor, variance: Tensor, v: Tensor) -> Tensor:
        """$\\mathrm{Cov}[x|y]\\,v/\\sigma^2$ for v (B, K, d)."""
        product = torch.empty_like(v)
        for rows, directions, *point in zip(product, v, y, variance):
            rows.copy_(self._product(directions, *self._resolve(*point)) / point[1])
        return product

    def _resolve(self, y: Tensor, variance: Tensor):
        """Cells, their weights (n,), and given each the mean (n, 2) and covariance (n, 2, 2) of the greys."""
        cells = _Cells(*(part.to(y.device) for part in self._first))
        for _ in range(_HALVINGS):
            log, greys, covariance = _grey_posterior(cells, y, variance)
            weights = log.softmax(dim=0)
            heaviest = weights.max()
            if not heaviest > self.share:  # NaN stays NaN
                break
            count = int((weights > self.faint * heaviest).sum().clamp(_KEEP, len(self._first.shapes)))
            cells = _halved(cells, log.topk(count).indices, self.size)
        return cells, weights, greys, covariance

    def _mean(self, cells: _Cells, weights: Tensor, greys: Tensor, _) -> Tensor:
        return _paint(cells, weights[:, None] * greys, self.size)

    def _product(self, v: Tensor, cells: _Cells, weights: Tensor, greys: Tensor, covariance: Tensor) -> Tensor:
        """Law of total covariance over shapes: of the greys given the shape, and of the means given the shape."""
        mean = self._mean(cells, weights, greys, None)
        inside = v[:, cells.pixels] @ cells.masks.T
        along = torch.stack([inside, v.sum(dim=1, keepdim=True) - inside], dim=2)  # mᵀv, (1 − m)ᵀv  (K, n, 2)
        between = (along * greys).sum(dim=2) - (v @ mean)[:, None]
        greys = torch.einsum("nij,knj->kni", covariance, along) + between[..., None] * greys
        return _paint(cells, weights[:, None] * greys, self.size)


class _Cells(NamedTuple):
    """Cells of one `width` around `shapes` (n, 3); their masks (n, p) on the pixels (p,) that any disk touches."""

    shapes: Tensor
    width: Tensor
    pixels: Tensor
    masks: Tensor
    area: Tensor  # sum of a mask
    square: Tensor  # and of its square


def _cells(shapes: Tensor, width: Tensor, size: int) -> _Cells:
    centre, radius = shapes[:, :2], shapes[:, 2:]
    top, left = ((centre - radius).amin(dim=0) * size).floor().int().clamp(min=0).tolist()
    bottom, right = ((centre + radius).amax(dim=0) * size).ceil().int().clamp(max=size).tolist()
    pixels = torch.arange(size**2, device=shapes.device).reshape(size, size)[top:bottom, left:right].flatten()
    masks = shapes.new_empty(len(shapes), len(pixels))
    area, square = shapes.new_empty(2, len(shapes))
    for part in torch.arange(len(shapes)).split(max(1, _BLOCK // len(pixels))):
        part = slice(int(part[0]), int(part[-1]) + 1)
        mask = coverage(centre[part], radius[part, 0], size, rows=(top, bottom), columns=(left, right)).flatten(1)
        masks[part], area[part], square[part] = mask, mask.sum(dim=1), mask.square().sum(dim=1)
    return _Cells(shapes, width, pixels, masks, area, square)


def _halved(cells: _Cells, kept: Tensor, size: int) -> _Cells:
    """The eight halves of each cell that is kept."""
    signs = torch.cartesian_prod(*[cells.width.new_tensor([-0.25, 0.25])] * 3)
    shapes = cells.shapes[kept][:, None] + signs * cells.width
    return _cells(shapes.flatten(0, 1), cells.width / 2, size)


def _paint(cells: _Cells, greys: Tensor, size: int) -> Tensor:
    """Sum over shapes of $a\\,m + b\\,(1 - m)$, greys (…, n, 2) → (…, d)."""
    inside, outside = greys.unbind(dim=-1)
    image = outside.sum(dim=-1, keepdim=True).repeat_interleave(size**2, dim=-1)
    image[..., cells.pixels] += (inside - outside) @ cells.masks
    return image


def _grey_posterior(cells: _Cells, y: Tensor, variance: Tensor):
    r"""Given each shape: log-evidence (n,), mean (n, 2) and covariance (n, 2, 2) of (a, b).

    The exponent is $-(c - \hat c)^\top G\,(c - \hat c)/2\sigma^2$ for c = (a, b),
    G the inner products of m and 1 − m, ĉ least squares; evidence is up to a
    factor common to all shapes. The rule runs over a, each node over b given a.
    """
    ya = cells.masks @ y[cells.pixels]
    yb = y.sum() - ya
    aa, ab = cells.square, cells.area - cells.square
    bb = len(y) - cells.area - ab
    determinant = aa * bb - ab.square()
    a, b = (bb * ya - ab * yb) / determinant, (aa * yb - ab * ya) / determinant
    spread = (variance * bb / determinant).sqrt()
    nearest = a - ab / aa * (b.clamp(0, 1) - b)  # a given the best b that is allowed
    middle, half, _ = _interval(nearest, spread)
    t, weight = _gauss_rule(y.device)
    nodes = middle[:, None] + half[:, None] * t  # (n, G)
    given = (yb[:, None] - ab[:, None] * nodes) / bb[:, None]
    log, mean, variance_b = _truncated(given, (variance / bb).sqrt()[:, None])
    log = log + weight.log() - ((nodes - a[:, None]) / spread[:, None]).square() / 2
    p = log.softmax(dim=1)
    greys = torch.stack([(p * nodes).sum(dim=1), (p * mean).sum(dim=1)], dim=1)
    away = torch.stack([nodes, mean], dim=1) - greys[..., None]  # (n, 2, G)
    covariance = (p[:, None] * away) @ away.mT
    covariance[:, 1, 1] += (p * variance_b).sum(dim=1)
    evidence = (ya * a + yb * b) / (2 * variance) + log.logsumexp(dim=1) + half.log()
    return evidence, greys, covariance


def _truncated(centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-integral, mean and variance of $e^{-(t - c)^2/2 s^2}$ over [0, 1], where c = centre, s = spread."""
    middle, half, away = _interval(centre, spread)
    t, weight = _gauss_rule(centre.device)
    z = ((middle - centre) / spread)[..., None] + (half / spread)[..., None] * t
    top = -(away / spread).square() / 2
    density = (z.square_().mul_(-0.5) - top[..., None]).exp_()
    total, first, second = (density @ torch.stack([weight, weight * t, weight * t * t], dim=1)).unbind(dim=-1)
    first, second = first / total, second / total
    return top + (total * half).log(), middle + half * first, half.square() * (second - first.square())


def _interval(centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Middle and half-length of the part of [0, 1] where the Gaussian lives, and how far off its centre is."""
    away = centre - centre.clamp(0, 1)
    radius = (away.square() + (_REACH * spread).square()).sqrt()
    low, high = (centre - radius).clamp(min=0), (centre + radius).clamp(max=1)
    return (low + high) / 2, (high - low) / 2, away


def _gauss_rule(device) -> tuple[Tensor, Tensor]:
    return _NODE.to(device), _WEIGHT.to(device)
