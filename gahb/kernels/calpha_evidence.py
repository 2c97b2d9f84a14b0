r"""What a noisy C^α image says of its contour and greys θ, and the image given θ: fields integrated exactly.

Given θ the noisy image is Gaussian, of covariance K (see `calpha_posterior`,
which samples θ). Far from the contour s is 0 or 1 for every θ that is looked
at, and K has blocks that do not depend on the contour. One eigendecomposition
of the block of each side eliminates these pixels for all θ, and a Cholesky
factor is needed only of the few *uncertain* pixels that are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .calpha import coverage

BLOCK = 2**16  # elements of the covariances that are built at a time: they stay in the cache


class Grid(NamedTuple):
    """size × size pixels, each a block of factor × factor of the image's; covariance (d, d) of a field on them."""

    size: int
    factor: int
    covariance: Tensor

    def pool(self, y: Tensor) -> Tensor:
        return y.reshape(self.size, self.factor, self.size, self.factor).mean(dim=(1, 3)).flatten()


@dataclass
class Given:
    """What the sure pixels of one region say of it, for each of n particles, at the m uncertain pixels."""

    log: Tensor  # (n,) log-density of the sure pixels
    mean: Tensor  # (n, m) of the region's grey at the uncertain ones
    covariance: Tensor  # (n, m, m)

    def select(self, index: Tensor) -> Given:
        return Given(self.log[index], self.mean[index], self.covariance[index])

    def replace(self, index: Tensor, other: Given) -> None:
        self.log[index], self.mean[index] = other.log[index], other.mean[index]
        self.covariance[index] = other.covariance[index]


class Region:
    """The pixels that lie in one region for every particle, in the eigenbasis of their covariance."""

    def __init__(self, covariance: Tensor, y: Tensor, pixels: Tensor, uncertain: Tensor):
        self.pixels = pixels
        values, self.vectors = torch.linalg.eigh(covariance[pixels][:, pixels])
        self.values = values.clamp(min=0)
        self.cross = covariance[uncertain][:, pixels] @ self.vectors  # (m, a)
        self.uncertain = covariance[uncertain][:, uncertain]
        self.y, self.one = self.vectors.T @ y[pixels], self.vectors.sum(dim=0)

    def given(self, centre: Tensor, gain: Tensor, variance: float) -> Given:
        """For means and gains (n,) of the region."""
        centre, power = centre[:, None], gain[:, None].square()
        noisy = variance + power * self.values  # (n, a)
        shrink = power / noisy
        residual = self.y - centre * self.one
        log = -(residual.square() / noisy + noisy.log()).sum(dim=1) / 2
        mean = centre + (residual * shrink) @ self.cross.T
        heard = (shrink * self.cross.square().sum(dim=0)).amax(dim=0) > 1e-8  # the others change nothing
        cross = self.cross[:, heard]
        explained = (cross * shrink[:, None, heard]) @ cross.T
        return Given(log, mean, power[..., None] * (self.uncertain - explained))


class Window:
    """Rows low … high − 1 of each column are uncertain: the contour of every particle passes there."""

    def __init__(self, grid: Grid, y: Tensor, low: Tensor, high: Tensor):
        self.grid, self.low, self.high = grid, low, high
        row = torch.arange(grid.size)[:, None]
        above, below = (row < low).flatten(), (row >= high).flatten()
        self.pixels = (~above & ~below).nonzero()[:, 0]  # (m,)
        self.y = y[self.pixels]
        self.regions = tuple(
            Region(grid.covariance, y, sure.nonzero()[:, 0], self.pixels) for sure in (above, below)
        )

    def holds(self, heights: Tensor) -> Tensor:
        """Whether the contours (n, columns) stay in the window."""
        low, high = extent(heights, self.grid.size)
        return ((low >= self.low) & (high <= self.high)).all(dim=1)

    def shares(self, heights: Tensor) -> Tensor:
        return coverage(heights, self.grid.size, self.pixels)

    def given(self, centre: Tensor, gain: Tensor, variance: float) -> tuple[Given, ...]:
        """For means and gains (n, 2) of both regions."""
        return tuple(region.given(centre[:, k], gain[:, k], variance) for k, region in enumerate(self.regions))

    def evidence(self, shares: Tensor, given: tuple[Given, ...], variance: float):
        """log p(y | θ) (n,) up to one constant; Cholesky factor (n, m, m) and residual (n, m) of uncertain pixels."""
        first, second = given
        roots = torch.empty_like(first.covariance)
        block = max(1, BLOCK // max(1, shares.shape[1] ** 2))
        for k in range(0, len(shares), block):
            part = slice(k, k + block)
            above, below = shares[part], 1 - shares[part]
            covariance = first.covariance[part] * above[:, None] * above[..., None]
            covariance += second.covariance[part] * below[:, None] * below[..., None]
            _diagonal(covariance).add_(variance)
            roots[part] = torch.linalg.cholesky_ex(covariance).L
        residual = self.y - shares * first.mean - (1 - shares) * second.mean
        white = torch.linalg.solve_triangular(roots, residual[..., None], upper=False)[..., 0]
        log = first.log + second.log - white.square().sum(dim=1) / 2 - _diagonal(roots).log().sum(dim=1)
        return log.nan_to_num(nan=-math.inf), roots, residual


@dataclass(frozen=True)
class Ensemble:
    """n draws of θ: x given each is Gaussian, see the module."""

    window: Window
    y: Tensor  # (d,)
    variance: float
    shares: Tensor  # (n, m)
    centre: Tensor  # (n, 2)
    gain: Tensor  # (n, 2)
    roots: Tensor  # (n, m, m)

    def changes(self) -> Tensor:
        """$\\mathbb E[x \\mid y, \\theta] - y = -\\sigma^2 K^{-1}(y - m)$ (n, d)."""
        rows = []
        for k, (share, centre) in enumerate(zip(self.shares, self.centre)):
            mean = torch.empty_like(self.y)
            mean[self.window.pixels] = share * centre[0] + (1 - share) * centre[1]
            for region, grey in zip(self.window.regions, centre):
                mean[region.pixels] = grey
            rows.append(-self.variance * self._solve(k, (self.y - mean)[None])[0])
        return torch.stack(rows)

    def spreads(self) -> Tensor:
        """$\\operatorname{tr}\\mathrm{Cov}[x \\mid y, \\theta]$ (n,)."""
        traces = []
        for root, share, gain in zip(self.roots, self.shares, self.gain):
            trace = torch.cholesky_inverse(root).trace()
            for region, part, power in zip(self.window.regions, (share, 1 - share), gain.square()):
                noisy = self.variance + power * region.values
                white = torch.linalg.solve_triangular(root, part[:, None] * region.cross, upper=False)
                trace = trace + (1 / noisy).sum() + ((power / noisy).square() * white.square().sum(dim=0)).sum()
            traces.append(trace)
        return self.variance * len(self.y) - self.variance**2 * torch.stack(traces)

    def products(self, v: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum over θ of $\\mathrm{Cov}[x \\mid y, \\theta]\\,v/\\sigma^2$ for v (K, d)."""
        return sum(weight * (v - self.variance * self._solve(k, v)) for k, weight in enumerate(weights))

    def _solve(self, k: int, v: Tensor) -> Tensor:
        """$K^{-1} v$ for the k-th θ and v (…, d): uncertain pixels first, then the sure ones of each region."""
        power = self.gain[k].square()
        parts = (self.shares[k], 1 - self.shares[k])
        known = [v[:, region.pixels] @ region.vectors for region in self.window.regions]
        noisy = [self.variance + g * region.values for g, region in zip(power, self.window.regions)]
        rest = v[:, self.window.pixels]
        for region, part, g, w, noise in zip(self.window.regions, parts, power, known, noisy):
            rest = rest - part * ((g * w / noise) @ region.cross.T)
        load = torch.cholesky_solve(rest.T, self.roots[k]).T
        out = torch.empty_like(v)
        out[:, self.window.pixels] = load
        for region, part, g, w, noise in zip(self.window.regions, parts, power, known, noisy):
            out[:, region.pixels] = ((w - g * (part * load) @ region.cross) / noise) @ region.vectors.T
        return out


def _diagonal(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=1, dim2=2)


def extent(heights: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Least and greatest height in each column of pixels (n, size), in pixels."""
    places = size * heights.reshape(len(heights), size, -1)
    return places.amin(dim=2), places.amax(dim=2)
