"""What samples say about means, shares, trends and crossings, with their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .._validate import positive_int


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean over the last axis (…, n) → (…,), and its standard error, NaN for n = 1.

    $$\bar x = \tfrac1n \sum_i x_i, \qquad s = \Bigl[\tfrac{1}{n(n-1)} \sum_i (x_i - \bar x)^2\Bigr]^{1/2}$$
    """
    n, mean = values.shape[-1], values.mean(dim=-1)
    return mean, values.std(dim=-1) / math.sqrt(n) if n > 1 else torch.full_like(mean, math.nan)


def ratio_of_means(a: Tensor, b: Tensor) -> tuple[float, float]:
    r"""$\bar a / \bar b$ of paired samples (n,) and its standard error.

    By the delta method, $\operatorname{sd}(a - R\,b) / (\bar b \sqrt n)$ with $R = \bar a/\bar b$.
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"a and b must be two (n,) samples with n ≥ 2, got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.double(), b.double()
    ratio = a.mean() / b.mean()
    return ratio.item(), ((a - ratio * b).std() / b.mean().abs() / math.sqrt(len(a))).item()


def share(hits: Tensor) -> tuple[float, float]:
    r"""Share of true `hits` (n,) and a standard error that all or none of them has too.

    $$\hat p = \frac kn, \qquad s^2 = \frac{\tilde p\,(1 - \tilde p)}{n + 4}, \quad \tilde p = \frac{k + 2}{n + 4}$$

    for k of n: that of Agresti and Coull (1998), two hits and two misses added.
    """
    if hits.ndim != 1 or len(hits) == 0:
        raise ValueError(f"hits must be (n,) with n ≥ 1, got {tuple(hits.shape)}")
    n, k = len(hits), int(hits.bool().sum())
    return k / n, math.sqrt((k + 2) * (n - k + 2) / (n + 4) ** 3)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's, of each row (B, n): −1 where b falls as a rises."""
    ranks = [row.argsort(dim=1).argsort(dim=1).double() for row in (a, b)]
    return torch.nn.functional.cosine_similarity(*(r - r.mean(dim=1, keepdim=True) for r in ranks), dim=1)


def trend(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    r"""Spearman's correlation ρ of n pairs, and the scatter that ρ has where there is no trend: (ρ, s).

    $$\rho = \operatorname{corr}(\text{ranks of } a, \text{ranks of } b), \qquad s = \frac{1}{\sqrt{n - 1}}$$

    s is the standard deviation of ρ over all orders, each as likely (Kendall,
    *Rank Correlation Methods*, 1970); it is no error of the ranks found. With n ≤ 5
    no ρ is further than 2s from zero; with n = 6 those from ±0.9 on are. Values
    of one sample are distinct. Pairs with a NaN are left out; with fewer than
    three left both are NaN.
    """
    pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    pairs = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)
    pairs = pairs[~pairs.isnan().any(dim=1)]
    if len(pairs) < 3:
        return math.nan, math.nan
    return round(rank_correlation(*pairs.T[:, None]).item(), 12), (len(pairs) - 1) ** -0.5


def crossing(differences: Mapping[int, Tensor], *, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    r"""N at which a mean difference rises through zero, and its 95 % bootstrap interval: (N, low, high).

    Between the two sizes where the mean turns from negative to not negative
    it is taken to be linear in log N. Samples are redrawn jointly for all N,
    as sample k has the same noise for each. NaN where nothing crosses; the
    interval is of the redrawn curves that do.

    Parameters
    ----------
    differences : N → (n,) values, n the same for all N; at least two N.
    """
    sizes = sorted(differences)
    values = torch.stack([differences[size].double() for size in sizes])  # (sizes, n)
    if len(sizes) < 2 or sizes[0] < 1:
        raise ValueError(f"differences must be of at least two N ≥ 1, got {sizes}")
    generator = torch.Generator().manual_seed(seed)
    n = values.shape[1]
    picks = torch.randint(n, (positive_int("draws", draws), n), generator=generator)
    means = torch.cat([values.mean(dim=1)[None], values[:, picks].mean(dim=2).T])  # (1 + draws, sizes)
    logs = torch.tensor(sizes, dtype=torch.float64).log()
    turns = (means[:, :-1] < 0) & (means[:, 1:] >= 0)
    place = turns.float().argmax(dim=1, keepdim=True)  # the first
    a, b = means.gather(1, place), means.gather(1, place + 1)
    here = logs[place] + (logs[place + 1] - logs[place]) * a / (a - b)
    crossed = torch.where(turns.any(dim=1), here[:, 0], torch.nan).exp()
    low, high = crossed[1:].nanquantile(crossed.new_tensor([0.025, 0.975])).tolist()
    return crossed[0].item(), low, high
