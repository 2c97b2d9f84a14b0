"""What samples say about means, shares, trends, slopes and crossings, with their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._text import plus_minus
from .._validate import positive_int


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean over the last axis (…, n) → (…,), and its standard error, NaN for n = 1; float64.

    $$\bar x = \tfrac1n \sum_i x_i, \qquad s = \Bigl[\tfrac{1}{n(n-1)} \sum_i (x_i - \bar x)^2\Bigr]^{1/2}$$

    >>> import gahb, torch
    >>> mean, error = gahb.statistics.mean_and_error(torch.tensor([1.0, 2.0, 3.0]))
    >>> mean.item(), round(error.item(), 4)
    (2.0, 0.5774)
    """
    values = values.double()
    n, mean = values.shape[-1], values.mean(dim=-1)
    return mean, values.std(dim=-1) / math.sqrt(n) if n > 1 else torch.full_like(mean, math.nan)


def ratio_of_means(a: Tensor, b: Tensor) -> tuple[float, float]:
    r"""$\bar a / \bar b$ of paired samples (n,) and its standard error.

    By the delta method, $\operatorname{sd}(a - R\,b) / (\bar b \sqrt n)$ with $R = \bar a/\bar b$.

    Raises
    ------
    ValueError unless a and b are two samples (n,) with n ≥ 2.

    Examples
    --------
    >>> import gahb, torch
    >>> ratio, error = gahb.ratio_of_means(torch.tensor([2.0, 4.0, 7.0]), torch.tensor([1.0, 2.0, 3.0]))
    >>> round(ratio, 3), round(error, 3)
    (2.167, 0.127)
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"a and b must be two (n,) samples with n ≥ 2, got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.double(), b.double()
    ratio = a.mean() / b.mean()
    return ratio.item(), ((a - ratio * b).std() / b.mean().abs() / math.sqrt(len(a))).item()


def decibels(worse: Tensor, better: Tensor) -> tuple[float, float]:
    r"""How many dB one mean squared error lies above another, mean over S noise levels, and its standard error.

    $$\frac1S \sum_s 10\log_{10} \frac{\bar a_s}{\bar b_s}, \qquad
      t_i = \frac{10}{S \ln 10} \sum_s \Bigl(\frac{a_{si}}{\bar a_s} - \frac{b_{si}}{\bar b_s}\Bigr)$$

    with means over the n images. The standard error is that of the mean of the
    $t_i$ (delta method): it is over images, which are the same at all levels and
    for both.

    Parameters
    ----------
    worse, better : paired squared errors a and b, (S, n), or (n,) for one level.

    Raises
    ------
    ValueError unless both have one shape, with n ≥ 2.

    Examples
    --------
    >>> import gahb, torch
    >>> errors = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    >>> gap, stderr = gahb.statistics.decibels(10 * errors, errors)
    >>> round(gap, 6), round(stderr, 6)
    (10.0, 0.0)
    """
    if worse.shape != better.shape or worse.ndim not in (1, 2) or worse.shape[-1] < 2:
        raise ValueError("worse and better must be of one shape (S, n) or (n,) with n ≥ 2, got "
                         f"{tuple(worse.shape)} and {tuple(better.shape)}")
    a, b = (torch.atleast_2d(errors.detach().cpu().double()) for errors in (worse, better))
    gaps = 10 * (a.mean(dim=1) / b.mean(dim=1)).log10()
    relative = a / a.mean(dim=1, keepdim=True) - b / b.mean(dim=1, keepdim=True)  # (S, n)
    _, error = mean_and_error(10 / math.log(10) * relative.mean(dim=0))
    return gaps.mean().item(), error.item()


def repeated(parts: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean square of n independent measurements of one vector, and the square of its expectation: two (B,).

    $$\frac1n \sum_i \|D_i\|^2, \qquad \frac{1}{n(n-1)} \sum_{i \ne j} \langle D_i, D_j\rangle$$

    for parts $D_i$ (n, B, …). The second has no bias: its expectation is
    $\|\mathbb E D\|^2$, and their ratio is the share that infinitely many
    repetitions leave. It can come out negative.

    ValueError for n < 2.

    >>> import gahb, torch
    >>> noise = torch.randn(200, 1, 1000, generator=torch.Generator().manual_seed(0))
    >>> mean_square, left = gahb.statistics.repeated(2 + noise)
    >>> round(mean_square.item() / 1000, 1), round(left.item() / 1000, 1)
    (5.0, 4.0)
    """
    n = len(parts)
    if n < 2:
        raise ValueError(f"parts must be at least two measurements, got {n}")
    flat = parts.double().flatten(2)
    squares, of_sum = flat.square().sum(dim=(0, 2)), flat.sum(dim=0).square().sum(dim=1)
    return squares / n, (of_sum - squares) / (n * (n - 1))


def combined_error(*parts: tuple[float, float]) -> tuple[float, float]:
    r"""Standard error of a sum of independent errors, and its degrees of freedom.

    $$s^2 = \sum_i s_i^2, \qquad \nu = \frac{s^4}{\sum_i s_i^4/\nu_i}$$

    (Welch and Satterthwaite), for parts $(s_i, \nu_i)$: the error over images
    with $n - 1$ degrees of freedom, say, and that over two trainings with one.

    >>> import gahb
    >>> stderr, df = gahb.statistics.combined_error((3.0, 1), (4.0, 100))
    >>> stderr, round(df, 1)
    (5.0, 7.5)
    """
    if not parts or not all(s >= 0 and df > 0 for s, df in parts) or not any(s for s, _ in parts):
        raise ValueError(f"parts must be pairs (standard error ≥ 0, degrees of freedom > 0), not all 0, got {parts}")
    variance = sum(s**2 for s, _ in parts)
    return math.sqrt(variance), variance**2 / sum(s**4 / df for s, df in parts)


def share(hits: Tensor) -> tuple[float, float]:
    r"""Share of true `hits` (n,), and a standard error that is not zero when all or none of them are true.

    $$\hat p = \frac kn, \qquad s^2 = \frac{\tilde p\,(1 - \tilde p)}{n + 4}, \quad \tilde p = \frac{k + 2}{n + 4}$$

    for k of n: that of Agresti and Coull (1998), two hits and two misses added.

    Raises
    ------
    ValueError unless `hits` is (n,) with n ≥ 1.

    Examples
    --------
    >>> import gahb, torch
    >>> part, error = gahb.statistics.share(torch.ones(60))
    >>> part, round(error, 3)
    (1.0, 0.022)
    """
    if hits.ndim != 1 or len(hits) == 0:
        raise ValueError(f"hits must be (n,) with n ≥ 1, got {tuple(hits.shape)}")
    n, k = len(hits), int(hits.bool().sum())
    return k / n, math.sqrt((k + 2) * (n - k + 2) / (n + 4) ** 3)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, from k hits of n (Clopper & Pearson 1934).

    >>> import gahb
    >>> tuple(round(end, 3) for end in gahb.statistics.share_interval(0, 100))
    (0.0, 0.036)
    """
    from scipy.stats import binomtest

    found = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="exact")
    return float(found.low), float(found.high)


def equal_values_interval(value: float, n: int, bounds: tuple[float, float]) -> tuple[float, float]:
    r"""95 % interval of a mean where n independent values all came out as `value`, and all values lie in [a, b].

    $$[\,v - p\,(v - a),\; v + p\,(b - v)\,], \qquad p = 1 - 0.025^{1/n}$$

    Their standard error is 0, which says nothing. But if a share p of all
    values were not v, then n of n would be with probability $(1 - p)^n$. So, but for
    one case in 40 at most, the others are at most that share, wherever in [a, b]
    they lie. For values of 0 or 1 it is :func:`share_interval`.

    ValueError for n < 1 and for a value outside the bounds.

    >>> import gahb
    >>> [round(end, 2) for end in gahb.statistics.equal_values_interval(-1.0, 8, (-1, 1))]
    [-1.0, -0.26]
    """
    low, high = bounds
    if not low <= value <= high:
        raise ValueError(f"value must lie in bounds, {low} to {high}, got {value}")
    share_of_others = 1 - 0.025 ** (1 / positive_int("n", n))
    return value - share_of_others * (value - low), value + share_of_others * (high - value)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of the ranks of each row (B, n) → (B,) float64: −1 where b falls as a rises.

    Equal values share the mean of their ranks (`scipy.stats.rankdata`); a
    constant row has NaN.

    >>> import gahb, torch
    >>> rising, falling = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[9.0, 4.0, 1.0]])
    >>> gahb.statistics.rank_correlation(rising, falling).round(decimals=6)
    tensor([-1.], dtype=torch.float64)
    """
    from scipy.stats import rankdata  # slow to import

    ranks = [torch.from_numpy(rankdata(rows.detach().cpu().numpy(), axis=1)) for rows in (a, b)]
    first, second = (rank - rank.mean(dim=1, keepdim=True) for rank in ranks)
    return (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))


def trend(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    r"""Spearman's correlation ρ of n pairs, and the scatter that ρ has where there is no trend: (ρ, s).

    $$\rho = \operatorname{corr}(\text{ranks of } a, \text{ranks of } b), \qquad s = \frac{1}{\sqrt{n - 1}}$$

    s is the standard deviation of ρ over all orders of b, each equally likely
    (Kendall, *Rank Correlation Methods*, 1970); it is not the error of the ρ
    found. With n ≤ 5 no ρ is further than 2s from zero; with n = 6 those from
    ±0.9 on are. Pairs with a NaN are left out; with fewer than three left both
    are NaN.

    Raises
    ------
    ValueError where a and b differ in length.

    Examples
    --------
    >>> import gahb, torch
    >>> gahb.statistics.trend([1, 2, 3, 4, 5], [10, 20, 30, 31, 40])
    (1.0, 0.5)
    """
    pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    pairs = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)
    pairs = pairs[~pairs.isnan().any(dim=1)]
    if len(pairs) < 3:
        return math.nan, math.nan
    return round(rank_correlation(*pairs.T[:, None]).item(), 12), (len(pairs) - 1) ** -0.5


@dataclass(frozen=True, repr=False)
class Bootstrap:
    """A number that a sample gives, and what redrawn samples give in its place (Efron 1979).

    >>> import gahb, torch
    >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> means = x[gahb.statistics.redrawn(4, draws=1000, seed=0)].mean(dim=1)
    >>> found = gahb.statistics.Bootstrap.of(x.mean(), means)
    >>> found.value, round(found.stderr, 1), found.interval[0] < 2.5 < found.interval[1]
    (2.5, 0.6, True)
    >>> found
    <Bootstrap: 2.50 ± 0.57, 95 % 1.5 to 3.5, 1,000 draws>
    """

    value: float  #: of the sample
    stderr: float  #: standard deviation over the redrawn samples
    interval: tuple[float, float]  #: 95 %, percentiles of the redrawn samples
    draws: Tensor  #: (draws,) the numbers of the redrawn samples

    @classmethod
    def of(cls, value: float, draws: Tensor) -> Bootstrap:
        """From the number of the sample and those of the redrawn ones; NaN among these are left out of `interval`."""
        low, high = draws.nanquantile(draws.new_tensor([0.025, 0.975])).tolist()
        stderr = float(draws.std()) if len(draws) > 1 else math.nan
        return cls(float(value), stderr, (low, high), draws)

    def __repr__(self) -> str:
        low, high = (plus_minus(end, None) for end in self.interval)
        return f"<Bootstrap: {plus_minus(self.value, self.stderr)}, 95 % {low} to {high}, {len(self.draws):,} draws>"

    def __sub__(self, other: Bootstrap) -> Bootstrap:
        """The paired difference, where both were redrawn together (same n, seed and draws).

        ValueError where they have different numbers of draws.
        """
        if self.draws.shape != other.draws.shape:
            raise ValueError(f"draws must be as many, got {len(self.draws)} and {len(other.draws)}")
        return Bootstrap.of(self.value - other.value, self.draws - other.draws)


def redrawn(n: int, draws: int, seed: int) -> Tensor:
    """Indices (draws, n) of samples redrawn with replacement: the same for all statistics of one n, draws and seed.

    >>> import gahb, torch
    >>> gahb.statistics.redrawn(4, draws=100, seed=0).shape
    torch.Size([100, 4])
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n, (positive_int("draws", draws), n), generator=generator)


def line_slope(x: Tensor, y: Tensor) -> Tensor:
    r"""Slope of the least-squares line of each column of y (S, …) against x (S,).

    $$\frac{\sum_s (x_s - \bar x)\, y_s}{\sum_s (x_s - \bar x)^2}$$

    >>> import gahb, torch
    >>> gahb.statistics.line_slope(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
    tensor(2.)
    """
    x = x - x.mean()
    return (x @ y) / x.square().sum()


def crossing(differences: Mapping[int, Tensor], *, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    r"""N at which a mean difference rises through zero, and its 95 % bootstrap interval: (N, low, high).

    Between the two sizes where the mean turns from negative to not negative
    it is taken to be linear in log N. Samples are redrawn jointly for all N,
    as sample k has the same noise for each. NaN where nothing crosses; the
    interval is of the redrawn curves that do.

    Parameters
    ----------
    differences : N → (n,) values, n the same for all N; at least two N ≥ 1.
    draws, seed : of the bootstrap.

    Raises
    ------
    ValueError for fewer than two N, N < 1, or draws < 1.

    Examples
    --------
    >>> import gahb, torch
    >>> n, low, high = gahb.crossing({10: torch.full((8,), -1.0), 1000: torch.full((8,), 1.0)})
    >>> round(n), round(low), round(high)
    (100, 100, 100)
    """
    sizes = sorted(differences)
    values = torch.stack([differences[size].double() for size in sizes])  # (sizes, n)
    if len(sizes) < 2 or sizes[0] < 1:
        raise ValueError(f"differences must be of at least two N ≥ 1, got {sizes}")
    picks = redrawn(values.shape[1], draws, seed)
    means = torch.cat([values.mean(dim=1)[None], values[:, picks].mean(dim=2).T])  # (1 + draws, sizes)
    logs = torch.tensor(sizes, dtype=torch.float64).log()
    turns = (means[:, :-1] < 0) & (means[:, 1:] >= 0)
    place = turns.float().argmax(dim=1, keepdim=True)  # the first
    a, b = means.gather(1, place), means.gather(1, place + 1)
    here = logs[place] + (logs[place + 1] - logs[place]) * a / (a - b)
    crossed = torch.where(turns.any(dim=1), here[:, 0], torch.nan).exp()
    found = Bootstrap.of(crossed[0].item(), crossed[1:])
    return found.value, *found.interval
