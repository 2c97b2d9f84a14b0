r"""Posterior of a C^α image seen through Gaussian noise: contours and greys sampled, fields integrated exactly.

With $s$ the share of each pixel above the contour and $(c_k, g_k)$ mean and
gain of the two regions, an image of the class, before it is clipped, is

$$x = s\,(c_1 + g_1 F_1) + (1 - s)\,(c_2 + g_2 F_2),$$

where the fields $F_k$ are independent, Gaussian, of covariance P. Given
θ = (contour, greys) the noisy image is therefore Gaussian,

$$y \mid \theta \sim \mathcal N(m, K), \quad m = s c_1 + (1 - s) c_2, \quad
  K = g_1^2 D_s P D_s + g_2^2 D_{1-s} P D_{1-s} + \sigma^2 \mathrm{Id},$$

so that $\mathbb E[x \mid y, \theta] = y - \sigma^2 K^{-1}(y - m)$ and
$\mathrm{Cov}[x \mid y, \theta] = \sigma^2 \mathrm{Id} - \sigma^4 K^{-1}$.
Only θ is sampled, from $p(\theta \mid y) \propto p(\theta)\,\mathcal N(y; m, K)$,
by sequential Monte Carlo (`calpha_particles`): particles are drawn from the
prior and follow the posteriors of the same y under noise that falls to σ, first
on pixels of twice the side. If σ ≥ 0.7 they stay there, and are weighted by the
ratio of the densities that y has on the image's own pixels and on the large
ones. Nothing enters but y and σ.

Densities and means given θ are those of `calpha_evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor

from .calpha_evidence import Ensemble, Grid
from .calpha_particles import Particles
from .posterior_mean import Symmetric

COARSE = 0.25  # noise down to which pixels of twice the side say enough of contour and greys
ROUGH = 0.7  # noise from which they say almost all, so that weights tell the rest
BETWEEN = 2  # sweeps between two records
FEWEST = 3  # records of a run
TOLERANCE = 5e-4  # standard deviation, in pixels, of what of a contour is left out


class Integration(NamedTuple):
    """The posterior of each point, float64."""

    mean: Tensor  #: $f^\\star(y)$ (B, d)
    error: Tensor  #: $\\|\\hat f - f^\\star\\|^2$ (B,), a sum over pixels, from two independent runs
    variance: Tensor  #: $\\mathbb E[\\|x - f^\\star(y)\\|^2 \\mid y]$ (B,), a sum over pixels


class CAlphaPosterior(Symmetric):
    """The posterior of a C^α image of `size` × `size` pixels, d = size², in float64 and on the CPU.

    `field` (size, size) and `contour` (columns,) are the spectra of a field of
    unit variance and of the contour's heights: the variances of orthonormal
    DFT coefficients. The mean is that of two independent runs of `particles`
    particles. They are recorded until the squared error of the mean is at most
    `accuracy` times the posterior variance, and at most `records` times. The
    error is a quarter of the squared difference of the runs, or that of as
    many independent draws if it is greater.
    """

    name = "optimal C^α denoiser"

    def __init__(self, size: int, field: Tensor, contour: Tensor, *, particles: int = 32, records: int = 24,
                 accuracy: float = 0.01, seed: int = 0):
        self.size, self.particles, self.seed = size, particles, seed
        self.records, self.accuracy = records, accuracy
        self.waves = _waves(contour, TOLERANCE / size)
        index = torch.arange(size)
        lag = (index[:, None] - index) % size
        covariance = torch.fft.ifft2(field).real[lag[:, None, :, None], lag[None, :, None, :]]
        self.fine = Grid(size, 1, covariance.reshape(size**2, size**2))
        self.coarse = None
        if size % 2 == 0 and size >= 16:
            half = size // 2
            blocks = covariance.reshape(half, 2, half, 2, half, 2, half, 2).mean(dim=(1, 3, 5, 7))
            self.coarse = Grid(half, 2, blocks.reshape(half**2, half**2))

    def mean(self, y: Tensor, variance: Tensor) -> Tensor:
        """$f^\\star(y)$ (B, d) of points y (B, d) under noise of variance σ² (B,)."""
        return self.integrate(y, variance).mean

    def integrate(self, y: Tensor, variance: Tensor) -> Integration:
        """Mean, squared error of the integration, and posterior variance of every point."""
        result = Integration(torch.empty_like(y), torch.empty_like(variance), torch.empty_like(variance))
        for *row, point, noise in zip(*result, y, variance):
            for out, value in zip(row, self._integrate(point.cpu(), noise.cpu())):
                out.copy_(value)
        return result

    def covariance_product(self, y: Tensor, variance: Tensor, v: Tensor) -> Tensor:
        """$\\mathrm{Cov}[x|y]\\,v/\\sigma^2$ for v (B, K, d)."""
        product = torch.empty_like(v)
        for rows, *point in zip(product, v.cpu(), y.cpu(), variance.cpu()):
            rows.copy_(self._product(*point))
        return product

    def _integrate(self, y: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not bool(y.isfinite().all()):
            return y * math.nan, variance * math.nan, variance * math.nan
        runs = [_Moments(), _Moments()]
        for count, pair in enumerate(self._pairs(y, variance), start=1):
            for run, record in zip(runs, pair):
                for log, draws in record:
                    run.add(log, draws)
            weights = [torch.cat(run.log).softmax(dim=0) for run in runs]
            first, second = (weight @ torch.cat(run.changes) for weight, run in zip(weights, runs))
            change, share = (first + second) / 2, torch.cat(weights) / 2
            between = share @ (torch.cat(runs[0].changes + runs[1].changes) - change).square().sum(dim=1)
            spread = share @ torch.cat(runs[0].spreads + runs[1].spreads) + between
            # runs may agree by chance: particles cannot tell more than if they were independent
            error = torch.maximum((first - second).square().sum() / 4, between * share.square().sum())
            if count >= FEWEST and error <= self.accuracy * spread:
                break
        return y + change, error, spread

    def _product(self, v: Tensor, y: Tensor, variance: Tensor) -> Tensor:
        """Law of total covariance: the mean of Cov[x | y, θ], and the covariance of E[x | y, θ]."""
        if not bool(y.isfinite().all()):
            return v * math.nan
        changes, weights, within, top = [], [], torch.zeros_like(v), None
        for pair in islice(self._pairs(y, variance), 4 * FEWEST):
            for log, draws in chain(*pair):
                top = log.max() if top is None else top
                weights.append((log - top).exp())
                changes.append(draws.changes())
                within += draws.products(v, weights[-1])
        weights, changes = torch.cat(weights), torch.cat(changes)
        away = changes - weights @ changes / weights.sum()
        return (within + (v @ away.T * weights) @ away / variance) / weights.sum()

    def _pairs(self, y: Tensor, variance: Tensor) -> Iterator[tuple]:
        """Records of two runs that have no random number in common, side by side."""
        return zip(*(self._run(y, variance, run) for run in range(2)))

    def _run(self, y: Tensor, variance: Tensor, run: int) -> Iterator[Iterator[tuple[Tensor, Ensemble]]]:
        """One run, recorded several times: each record is a few ensembles and the log-weights of their draws."""
        generator = torch.Generator().manual_seed(2 * self.seed + run)
        particles = Particles(self.waves, y, self.particles, generator)
        goal = 1 / float(variance)
        large = self.coarse is not None and goal < ROUGH**-2
        if self.coarse is not None:
            particles.enter(self.coarse)
            particles.cool(goal if large else min(goal, COARSE**-2))
        if not large:
            particles.enter(self.fine)
            particles.cool(goal)
        particles.settle()
        for _ in range(self.records):
            for _ in range(BETWEEN):
                particles.sweep()
            yield particles.draws(self.fine)


class _Moments:
    """What is recorded of the draws of one run: log-weights, E[x | y, θ] − y, and the trace of Cov[x | y, θ]."""

    def __init__(self):
        self.log: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.spreads: list[Tensor] = []

    def add(self, log: Tensor, draws: Ensemble) -> None:
        self.log.append(log)
        self.changes.append(draws.changes())
        self.spreads.append(draws.spreads())


def _waves(spectrum: Tensor, tolerance: float) -> Tensor:
    """Rows (p, columns) whose sum with standard normal weights is the contour, its mean removed.

    They are sines and cosines, the greatest first; those are left out that
    have a standard deviation of less than `tolerance` together.
    """
    columns = len(spectrum)
    angle = 2 * math.pi * torch.arange(columns, dtype=spectrum.dtype) / columns
    frequency = torch.arange(columns // 2 + 1)
    phase = frequency[:, None] * angle
    waves = torch.cat([phase.cos(), phase.sin()])
    norm = waves.square().sum(dim=1)
    power = torch.where(norm > 1e-9, spectrum[frequency].clamp(min=0).repeat(2), 0)  # the sine of frequency 0 is none
    order = power.argsort(descending=True)
    left = power.flip(0).sort().values.cumsum(dim=0).flip(0) / columns  # variance of this and all smaller waves
    order = order[left > tolerance**2]
    return waves[order] * (power[order] / norm[order]).sqrt()[:, None]
