"""Statistics against other ways to the same number, and errors against the spread over repetitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gahb


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_share_and_its_error():
    """The error is that of the binomial law where it is not small; all of 64 is no certainty."""
    assert gahb.statistics.share(torch.ones(64)) == (1.0, pytest.approx((66 * 2 / 68**3) ** 0.5))
    assert gahb.statistics.share(torch.zeros(64, dtype=torch.bool))[1] == gahb.statistics.share(torch.ones(64))[1]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(2000, 100, generator=generator) < 0.3
    shares, errors = zip(*(gahb.statistics.share(row) for row in drawn))
    assert abs(np.mean(shares) - 0.3) < 0.005 and np.mean(errors) == pytest.approx(np.std(shares), rel=0.06)
    with pytest.raises(ValueError, match=r"hits must be \(n,\) with n ≥ 1, got \(0,\)"):
        gahb.statistics.share(torch.ones(0))


def test_ratio_of_means_and_its_error():
    """Against the spread of the ratio over many independent samples."""
    generator = torch.Generator().manual_seed(0)
    common = torch.rand(2000, 50, generator=generator)
    a, b = 0.5 * common + 0.1 * torch.rand(2000, 50, generator=generator), common + 0.2
    ratios, errors = zip(*(gahb.ratio_of_means(p, q) for p, q in zip(a, b)))
    spread = torch.tensor(ratios).std()
    assert abs(torch.tensor(errors).mean() / spread - 1) < 0.06
    with pytest.raises(ValueError, match=r"must be two \(n,\) samples with n ≥ 2, got \(1,\) and \(1,\)"):
        gahb.ratio_of_means(a[0, :1], b[0, :1])


def test_the_error_of_a_sum_is_welchs():
    """Two means with different spreads: the standard error and the degrees of freedom of SciPy's t-test."""
    from scipy.stats import ttest_ind

    a, b = normal(5), 3 * normal(40, seed=1)
    parts = [(v.std().item() / len(v) ** 0.5, len(v) - 1) for v in (a, b)]
    stderr, df = gahb.statistics.combined_error(*parts)
    expected = ttest_ind(a, b, equal_var=False)
    assert df == pytest.approx(expected.df)
    assert (a.mean() - b.mean()).item() / stderr == pytest.approx(expected.statistic)


def test_one_error_alone_stays_as_it_is():
    assert gahb.statistics.combined_error((0.3, 7)) == (0.3, pytest.approx(7))
    assert gahb.statistics.combined_error((0.3, 7), (0.0, 1)) == (0.3, pytest.approx(7))
    with pytest.raises(ValueError, match="pairs"):
        gahb.statistics.combined_error((0.0, 1))
    with pytest.raises(ValueError, match="pairs"):
        gahb.statistics.combined_error((0.1, 0))


def test_decibels_are_the_mean_of_gaps_with_the_error_of_the_jackknife():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 200, generator=generator, dtype=torch.float64) + 0.5
    found, error = gahb.statistics.decibels(a, b)

    def gap(kept):
        return sum(10 * math.log10(p[kept].mean() / q[kept].mean()) for p, q in zip(a, b)) / len(a)

    everything = torch.ones(200, dtype=torch.bool)
    assert found == pytest.approx(gap(everything), abs=1e-12)
    left_out = []
    for i in range(200):
        kept = everything.clone()
        kept[i] = False
        left_out.append(gap(kept))
    left_out = torch.tensor(left_out, dtype=torch.float64)
    jackknife = ((left_out - left_out.mean()).square().sum() * 199 / 200).sqrt()
    assert error == pytest.approx(jackknife.item(), rel=0.01)
    assert gahb.statistics.decibels(a[0], b[0]) == gahb.statistics.decibels(a[:1], b[:1])
    with pytest.raises(ValueError, match="one shape"):
        gahb.statistics.decibels(a, b[0])
    with pytest.raises(ValueError, match="n ≥ 2"):
        gahb.statistics.decibels(a[0, :1], b[0, :1])


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    a, b = normal(3, 9), normal(3, 9, seed=1)
    expected = [spearmanr(u, v).statistic for u, v in zip(a, b)]
    assert gahb.statistics.rank_correlation(a, b).tolist() == pytest.approx(expected)
    ties = torch.tensor([[1.0, 1.0, 2.0, 5.0]]), torch.tensor([[4.0, 3.0, 3.0, 9.0]])
    found = gahb.statistics.rank_correlation(*ties).item()
    assert found == pytest.approx(spearmanr(*(t[0] for t in ties)).statistic)
    assert gahb.statistics.rank_correlation(torch.ones(1, 4), ties[1]).isnan().all()


def test_mean_and_its_error():
    """Against NumPy along the last axis; one value has no error."""
    x = normal(3, 7)
    mean, error = gahb.statistics.mean_and_error(x)
    assert mean.tolist() == pytest.approx(np.mean(x.numpy(), axis=1))
    assert error.tolist() == pytest.approx(np.std(x.numpy(), axis=1, ddof=1) / 7**0.5)
    assert gahb.statistics.mean_and_error(x[:, :1])[1].isnan().all()


def test_a_trend_and_the_scatter_of_no_trend():
    """Of orders: exact; the error is that of random orders, and pairs with a NaN do not count."""
    trend = gahb.statistics.trend
    assert trend([1, 2, 3, 9], [10, 20, 30, 31]) == (1, 3**-0.5)
    assert trend([1, 2, 3, 4, 5], [10, 20, 30, 31, 40]) == (1, 0.5)
    assert trend([3, math.nan, 2, 1, 5], [1, 2, 2.5, 3, math.nan]) == (-1, 2**-0.5)
    assert all(map(math.isnan, trend([1, 2], [2, 1]) + trend([1, 2, 3], [1, math.nan, 3])))
    generator = np.random.default_rng(0)
    rho, error = map(np.array, zip(*(trend(range(6), generator.permutation(6)) for _ in range(1500))))
    assert abs(rho.mean()) < 0.03 and rho.std() == pytest.approx(error[0], rel=0.05)
    with pytest.raises(ValueError):
        trend([1, 2, 3], [1, 2])


def test_crossing_of_a_line_in_log_n_is_exact():
    levels = {n: torch.full((50,), -1 + 0.5 * math.log10(n)) for n in (1, 10, 1000, 100_000)}
    n, low, high = gahb.crossing(levels)
    assert n == pytest.approx(100) and low == pytest.approx(100) and high == pytest.approx(100)


def test_crossing_has_an_interval_that_covers():
    generator = torch.Generator().manual_seed(3)
    covered = 0
    for trial in range(60):
        noise = 0.5 * torch.randn(40, generator=generator, dtype=torch.float64)  # common to all N
        steps = {n: 0.3 * torch.randn(40, generator=generator) for n in (1, 10, 100, 1000)}
        values = {n: math.log10(n / 50) + noise + step for n, step in steps.items()}
        n, low, high = gahb.crossing(values, draws=300, seed=trial)
        assert low < n < high
        covered += low < 50 < high
    assert 52 <= covered <= 60  # 95 % of 60 is 57, with a standard deviation of 1.7


def test_crossing_where_nothing_crosses():
    assert all(math.isnan(v) for v in gahb.crossing({1: torch.ones(4), 10: torch.ones(4)}))
    assert all(math.isnan(v) for v in gahb.crossing({1: -torch.ones(4), 10: -torch.ones(4)}))
    with pytest.raises(ValueError, match="at least two N"):
        gahb.crossing({10: torch.ones(4)})


def test_repeated_measurements_have_a_mean_square_and_an_unbiased_square_of_the_mean():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 3, 4, generator=generator)
    parts = truth + 0.5 * torch.randn(400, 2, 3, 4, generator=generator)
    mean_square, left = gahb.statistics.repeated(parts)
    torch.testing.assert_close(mean_square, parts.double().square().sum((2, 3)).mean(0))
    a, b, c = parts[:3].double()
    pairs = [(u * v).sum((1, 2)) for u, v in ((a, b), (a, c), (b, c))]
    torch.testing.assert_close(gahb.statistics.repeated(parts[:3])[1], torch.stack(pairs).mean(0))
    torch.testing.assert_close(left, truth.double().square().sum((1, 2)), rtol=0.05, atol=0)
    with pytest.raises(ValueError, match="at least two"):
        gahb.statistics.repeated(parts[:1])
