"""What pictures and losses tell of the images that a model was trained on: bits from below, and membership."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._validate import positive_int
from .statistics import share_interval


@dataclass(frozen=True)
class Bits:
    """What :func:`bits` returns.

    >>> import gahb, torch
    >>> found = gahb.leakage.bits(torch.ones(200, dtype=torch.bool), 4)
    >>> found.value, found.interval[0] > 1.8
    (2.0, True)
    """

    value: float  #: lower bound on the information of a picture about the set it came from, in bits
    interval: tuple[float, float]  #: 95 %, over the guesses (Clopper and Pearson for `accuracy`, in bits)
    accuracy: float  #: share of right guesses
    accuracy_interval: tuple[float, float]  #: 95 % (Clopper and Pearson 1934)
    sets: int  #: K


def fano(accuracy: float, sets: int) -> float:
    r"""Information that a guess among K equally likely sets proves, in bits, by its share of right guesses p.

    $$\log_2 K - h(p) - (1-p)\log_2(K-1)
      = p\log_2(pK) + (1-p)\log_2\frac{(1-p)K}{K-1}$$

    with h the entropy of a coin of bias p (Fano). It is the Kullback-Leibler
    divergence of a coin of bias p from one of bias 1/K, 0 at p = 1/K and
    $\log_2 K$ at p = 1. A p below 1/K counts as 1/K.

    Parameters
    ----------
    accuracy : p in [0, 1]. sets : K ≥ 2.

    Raises
    ------
    ValueError for p outside of [0, 1], or K < 2.

    Examples
    --------
    >>> import gahb
    >>> gahb.leakage.fano(1.0, 8), gahb.leakage.fano(0.5, 2), round(gahb.leakage.fano(0.75, 2), 3)
    (3.0, 0.0, 0.189)
    """
    positive_int("sets", sets, at_least=2)
    if isinstance(accuracy, bool) or not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must be in [0, 1], got {accuracy!r}")
    chance = 1 / sets
    right = max(accuracy, chance)
    terms = [(right, chance), (1 - right, 1 - chance)]
    return max(0.0, sum(p * math.log2(p / q) for p, q in terms if p > 0))


def bits(hits: Tensor, sets: int) -> Bits:
    r"""Bits that one picture tells about the set it came from, from below: Fano's inequality, with an interval.

    A set is chosen among K with equal chances, a picture is made by a model of
    that set, and the set is guessed from the picture. The information of the
    picture about the set is at least :func:`fano` of the chance that the guess
    is right. The interval is exact for independent guesses (Clopper & Pearson
    1934), and `fano` rises with that chance; it is over pictures, for the sets
    and models at hand.

    Parameters
    ----------
    hits : whether each guess was right (n,), of dtype bool; independent guesses,
        about as many for each set.
    sets : K ≥ 2.

    Raises
    ------
    ValueError for hits of another shape or dtype, none of them, or K < 2.

    Examples
    --------
    Guesses of the nearest image, for copies of the images of two sets:

    >>> import gahb, torch
    >>> first, second = gahb.images.disks(20, 8), gahb.images.disks(20, 8, start=20)
    >>> pictures = torch.cat([first, second])
    >>> closeness = torch.stack([gahb.nearest(pictures, images)[0] for images in (first, second)])
    >>> came_from = torch.arange(2).repeat_interleave(20)
    >>> gahb.leakage.bits(closeness.argmax(dim=0) == came_from, 2).value
    1.0
    """
    positive_int("sets", sets, at_least=2)
    if not isinstance(hits, Tensor) or hits.dtype != torch.bool or hits.ndim != 1 or len(hits) == 0:
        given = f"{tuple(hits.shape)} of {hits.dtype}" if isinstance(hits, Tensor) else type(hits).__name__
        raise ValueError(f"hits must be a tensor (n,) of bool with n ≥ 1, got {given}")
    interval = share_interval(int(hits.sum()), len(hits))
    accuracy = hits.double().mean().item()
    return Bits(fano(accuracy, sets), tuple(fano(p, sets) for p in interval), accuracy, interval, sets)


@dataclass(frozen=True)
class Membership:
    """What :func:`membership` returns.

    >>> import gahb, torch
    >>> loss = torch.rand(400, generator=torch.Generator().manual_seed(0))
    >>> found = gahb.leakage.membership(loss[:100] / 10, loss[100:])
    >>> found.area > 0.9, found.interval[0] < found.true_positives < found.interval[1]
    (True, True)
    """

    area: float  #: under the curve of true against false positives (chance that a member's loss is the lower)
    stderr: float  #: of `area`, over members and others (DeLong et al. 1988); not zero where these are apart
    true_positives: float  #: share of members with a loss below `threshold`
    interval: tuple[float, float]  #: 95 %, for that share over members (Clopper and Pearson 1934)
    threshold: float  #: of the loss
    false_positives: float  #: share of others with a loss below `threshold`, at most the rate asked for


def membership(members: Tensor, others: Tensor, *, rate: float = 0.01) -> Membership:
    r"""Whether a low loss tells members of a training set from other images.

    $$A = \mathbb P(\ell_{\text{in}} < \ell_{\text{out}}) + \tfrac12\,\mathbb P(\ell_{\text{in}} = \ell_{\text{out}})$$

    is the area under the curve of true against false positives, ½ where the
    loss tells nothing. Those attacked in practice are the images that are
    recognised without doubt, so that the share of members found at a small
    rate of false positives says more than A (Carlini et al. 2022). The
    threshold is the largest one with at most that rate among `others`; the
    interval takes it as given. Where every member lies below all others, the
    error of A is that of a share of 1 (:func:`gahb.statistics.share`), not zero.

    Parameters
    ----------
    members : losses (n,) of training images. others : losses (m,) of images of
        the same law that were not trained on. rate : of false positives, in (0, 1).

    Raises
    ------
    ValueError for losses that are not (n,) with n ≥ 1 or not finite, a rate
    outside of (0, 1), or fewer others than 1 / rate.

    Examples
    --------
    >>> import gahb
    >>> images = gahb.images.disks(2100, 8)
    >>> optimal = gahb.Empirical(images[:100])
    >>> losses = gahb.psnr_curve(optimal, images, [0.2]).per_image[0]
    >>> found = gahb.leakage.membership(losses[:100], losses[100:])
    >>> round(found.area), round(found.true_positives)
    (1, 1)
    """
    inside, outside = (_losses(name, values) for name, values in (("members", members), ("others", others)))
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < 1:
        raise ValueError(f"rate must be a number in (0, 1), got {rate!r}")
    n, m = len(inside), len(outside)
    if m * rate < 1:
        raise ValueError(f"others must be at least 1 / rate = {1 / rate:g} losses, got {m}")
    above, above_or_equal = (m - torch.searchsorted(outside, inside, right=right) for right in (True, False))
    of_members = (above + above_or_equal).double() / (2 * m)  # share of others with a larger loss
    below, below_or_equal = (torch.searchsorted(inside, outside, right=right) for right in (False, True))
    of_others = (below + below_or_equal).double() / (2 * n)
    parts = [_variance_of_mean(values) for values in (of_members, of_others)]
    threshold = outside[math.floor(m * rate + 1e-9)].item()
    found = int((inside < threshold).sum())
    return Membership(
        area=of_members.mean().item(),
        stderr=math.sqrt(sum(parts)),
        true_positives=found / n,
        interval=share_interval(found, n),
        threshold=threshold,
        false_positives=(outside < threshold).double().mean().item(),
    )


def _variance_of_mean(values: Tensor) -> float:
    """Of values in [0, 1]; where all are equal, that of a share with two hits and two misses added."""
    n = len(values)
    if n == 1:
        return math.nan
    if (spread := values.var().item()) > 0:
        return spread / n
    p = (values.sum().item() + 2) / (n + 4)
    return p * (1 - p) / (n + 4)


def _losses(name: str, values) -> Tensor:
    """Sorted, float64, on the CPU."""
    if not isinstance(values, Tensor) or values.ndim != 1 or len(values) == 0:
        given = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be a tensor (n,) with n ≥ 1, got {given}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity among {len(values)} losses")
    return values.detach().cpu().double().sort().values
