"""How far answers agree: known cases, and errors against repeated draws."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb.measure.agreement import affine_distance, energy_square, error_cosine, explained, explained_more


def draws(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    f = torch.randn(n, 4, generator=source, dtype=torch.float64)
    return f, f + 0.5 * torch.randn(n, 4, generator=source, dtype=torch.float64)


def test_a_share_is_one_less_the_noise():
    f, g = draws(20_000, 0)
    zero = torch.zeros(4, dtype=torch.float64)
    value, error = explained(f, g, zero)
    assert abs(value - 0.75) < 4 * error < 0.03
    assert explained_more(f, f, g, zero) == pytest.approx((1 - value, error))
    assert explained(f, zero.expand_as(f), zero)[0] == 0


def test_the_cosine_of_errors_and_its_error():
    right = 1 / 1.25**0.5
    found = [error_cosine(*draws(50, seed)) for seed in range(400)]
    values, errors = torch.tensor(found, dtype=torch.float64).T
    assert abs(float(values.mean()) - right) < 5e-3
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)


def test_squares_are_about_their_pixel():
    filters = torch.zeros(2, 2, 1, 7, 7)
    filters[0, :, :, 3, 3] = 1.0
    filters[1, :, :, 0, 3] = 1.0
    assert energy_square(filters, [(3, 3), (0, 3)]).tolist() == [[1, 7], [7, 1]]


def test_an_affine_map_is_found_and_a_bend_is_seen():
    x = gahb.images.disks(600, 4)
    assert affine_distance(gahb.Gaussian.of(x), x, 0.3)[0] < 1e-6
    assert affine_distance(gahb.Empirical(x[:5]), x, 0.3)[0] > 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: explained(torch.zeros(2, 3), torch.zeros(3, 3), 0), r"got \(2, 3\) and \(3, 3\)"),
        (lambda: error_cosine(torch.zeros(1, 3), torch.zeros(1, 3)), "n ≥ 2"),
        (lambda: energy_square(torch.zeros(1, 1, 1, 3, 3), [(1, 1)], 2), "share must be .* got 2"),
        (lambda: energy_square(torch.zeros(1, 2, 1, 3, 3), [(1, 1)]), r"filters must be \(B, 1, C, H, W\)"),
        (lambda: affine_distance(gahb.Wavelet(), torch.zeros(19, 1, 4, 4), 0.1), "n ≥ 20, got n = 19"),
        (lambda: affine_distance(gahb.Wavelet(), torch.zeros(20, 1, 4, 4), 0.0), "sigma must be positive"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
