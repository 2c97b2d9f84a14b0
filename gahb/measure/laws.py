r"""The distance between two laws, from a sample of each.

The energy distance of Székely and Rizzo (2013) compares distances between the
samples with distances within each of them. It is zero if and only if the laws
are equal. It needs no density and no bandwidth, and it sees the pictures as
points: a change of the coordinates (pixels, wavelet coefficients at equal
weight) changes what it looks at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._validate import positive_int
from ..transforms import analyse


@dataclass(frozen=True)
class EnergyDistance:
    """What :func:`energy_distance` returns.

    >>> import gahb, torch
    >>> samples = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> found = gahb.laws.energy_distance(samples[:100], samples[100:] + 3)
    >>> found.value > 10 * found.stderr, 0 < found.share < 1
    (True, True)
    """

    value: float  #: in the units of the samples
    stderr: float  #: over both samples, to first order
    share: float  #: `value` over its largest possible value, twice the mean distance between the samples: 0 to 1
    share_stderr: float  #: of `share`, with that mean distance taken as known


def energy_distance(a: Tensor, b: Tensor) -> EnergyDistance:
    r"""Energy distance between the laws of two samples, without bias.

    $$D = 2\,\mathbb E\|X - Y\| - \mathbb E\|X - X'\| - \mathbb E\|Y - Y'\| \ge 0$$

    with X, X' of the first law, Y, Y' of the second, all independent. The means
    are over pairs of different samples, so that the estimate has no bias, and
    comes out on both sides of 0 where the laws are equal. The standard error is that of
    the mean of each sample's own part, $2\,\mathbb E\|x - Y\| - 2\,\mathbb E\|x - X'\|$
    for x of the first; it vanishes for equal laws, where only two independent
    samples of one law say how large D comes out by chance.

    Parameters
    ----------
    a, b : (n, …) and (m, …), n, m ≥ 2, of the same shape of sample.

    Raises
    ------
    ValueError for fewer than two samples, or shapes that differ.

    Examples
    --------
    >>> import gahb, torch
    >>> x, y = gahb.images.disks(200, 8).split(100)
    >>> same = gahb.laws.energy_distance(x, y)
    >>> darker = gahb.laws.energy_distance(x, 0.5 * y)
    >>> abs(same.share) < 0.01 < darker.share
    True
    """
    if min(a.ndim, b.ndim) < 1 or a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 2:
        raise ValueError("a and b must be (n, …) and (m, …) with n, m ≥ 2 and samples of one shape, got "
                         f"{tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.reshape(len(a), -1).double(), b.reshape(len(b), -1).double()
    between = torch.cdist(a, b)  # (n, m)
    own_a, own_b = _to_others(a), _to_others(b)  # (n,), (m,)
    value = (2 * between.mean() - own_a.mean() - own_b.mean()).item()
    largest = 2 * between.mean().item()
    parts = (2 * between.mean(dim=1) - 2 * own_a, 2 * between.mean(dim=0) - 2 * own_b)
    stderr = math.sqrt(sum(part.var().item() / len(part) for part in parts))
    return EnergyDistance(value, stderr, value / largest if largest else 0.0, stderr / largest if largest else 0.0)


def energy_difference(a: Tensor, b: Tensor, law: Tensor) -> tuple[float, float]:
    r"""Energy distance of the law of `a` from a third one, less that of the law of `b`; and its standard error.

    $$D(a) - D(b) = 2\,\mathbb E\|A - Y\| - \mathbb E\|A - A'\|
      - 2\,\mathbb E\|B - Y\| + \mathbb E\|B - B'\|$$

    for paired samples, $a_k$ and $b_k$ drawn from one noise, say: what both owe
    to it drops out. What the third law owes to itself drops out too. The
    standard error is to first order, as in :func:`energy_distance`.

    Parameters
    ----------
    a, b : (n, …), paired, n ≥ 2. law : (m, …), m ≥ 2, a sample of the third law.

    Raises
    ------
    ValueError for fewer than two samples, or shapes that differ.

    Examples
    --------
    >>> import gahb
    >>> x, law = gahb.images.disks(60, 8), gahb.images.disks(200, 8, seed=1)
    >>> value, stderr = gahb.laws.energy_difference(0.5 * x, x, law)
    >>> value > 2 * stderr
    True
    """
    if a.shape != b.shape or law.shape[1:] != a.shape[1:] or a.ndim < 2 or min(len(a), len(law)) < 2:
        raise ValueError("a, b and law must be (n, …), (n, …) and (m, …) with n, m ≥ 2 and samples of one shape, got "
                         f"{tuple(a.shape)}, {tuple(b.shape)} and {tuple(law.shape)}")
    a, b, law = (points.flatten(1).double() for points in (a, b, law))
    to_a, to_b = torch.cdist(a, law), torch.cdist(b, law)  # (n, m)
    own = _to_others(a) - _to_others(b)  # (n,)
    between = to_a - to_b
    value = (2 * between.mean() - own.mean()).item()
    parts = (2 * between.mean(dim=1) - 2 * own, 2 * between.mean(dim=0))
    return value, math.sqrt(sum(part.var().item() / len(part) for part in parts))


def scaled_wavelets(images: Tensor, law: Tensor, *, wavelet: str = "haar", levels: int = 4) -> Tensor:
    r"""Wavelet coefficients of images, each subband divided by its standard deviation over `law`; (n, d), float64.

    In pixels the energy distance looks at the few directions in which images
    vary most, which are smooth. With all subbands at one scale it sees fine
    scales as well, where a sampler with few steps goes wrong first.

    Parameters
    ----------
    images : (n, C, H, W). law : (m, C, H, W), m ≥ 2, other images, such as fresh ones of the class.
    wavelet : an orthogonal wavelet of PyWavelets. levels : at most that many; fewer where a side is odd.

    Raises
    ------
    ValueError for images and law of different shapes, fewer than two images of the law, or levels < 1.

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.disks(100, 8)
    >>> coefficients = gahb.laws.scaled_wavelets(x, x)
    >>> coefficients.shape, round(coefficients.var(dim=0).mean().item(), 6)
    (torch.Size([100, 64]), 1.0)
    """
    positive_int("levels", levels)
    if images.ndim != 4 or law.ndim != 4 or images.shape[1:] != law.shape[1:] or len(law) < 2:
        raise ValueError("images and law must be (n, C, H, W) and (m, C, H, W) with m ≥ 2 and images of one shape, "
                         f"got {tuple(images.shape)} and {tuple(law.shape)}")
    scaled = []
    for own, of_law in zip(*(_subbands(x, wavelet, levels) for x in (images, law)), strict=True):
        scaled.append(own / of_law.var(dim=0).mean().sqrt().clamp(min=torch.finfo(own.dtype).tiny))
    return torch.cat(scaled, dim=1)


def _subbands(images: Tensor, wavelet: str, levels: int) -> list[Tensor]:
    """The coarse part and all details, (n, coefficients) each."""
    coarse, details = analyse(images.double(), wavelet, levels)
    return [part.flatten(1) for part in (coarse, *(part for level in details for part in level))]


def _to_others(x: Tensor) -> Tensor:
    """Mean distance (n,) of each sample to the others; x in float64, as the squares cancel."""
    distances = torch.cdist(x, x).fill_diagonal_(0)
    return distances.sum(dim=1) / (len(x) - 1)
