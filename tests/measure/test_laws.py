"""The energy distance against SciPy in one dimension, against sums over pairs, and against its own scatter."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

import gahb
from gahb.measure.laws import energy_distance


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_sum_over_pairs():
    a, b = normal(5, 2, 3), normal(7, 2, 3, seed=1) + 0.5
    between = np.mean([(x - y).norm() for x in a for y in b])
    own = [np.mean([(x - y).norm() for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    found = energy_distance(a, b)
    assert found.value == pytest.approx(2 * between - sum(own), abs=1e-12)
    assert found.share == pytest.approx(found.value / (2 * between), abs=1e-12)


def test_in_one_dimension_it_is_scipys():
    """The square of SciPy's distance, which counts each sample as a pair with itself, too."""
    n = 400
    a, b = normal(n), normal(n, seed=1) + 0.7
    own = sum(torch.cdist(s[:, None], s[:, None]).mean().item() for s in (a, b))
    biased = scipy.stats.energy_distance(a.numpy(), b.numpy()) ** 2
    assert energy_distance(a, b).value == pytest.approx(biased - own / (n - 1), rel=1e-9)


def test_it_has_no_bias_and_its_error_is_its_scatter():
    """200 pairs of samples of 20, seed 0 on; equal laws: 4 s.e.; shifted ones: the error to 20 %."""
    samples = normal(400, 20, 3)
    same = np.array([energy_distance(a, b).value for a, b in samples.split(2)])
    assert abs(same.mean()) < 4 * same.std() / 200**0.5
    shifted = [energy_distance(a, b + 1.0) for a, b in samples.split(2)]
    scatter = np.std([found.value for found in shifted])
    assert np.mean([found.stderr for found in shifted]) == pytest.approx(scatter, rel=0.2)


def test_it_sees_what_two_moments_do_not():
    """A fair coin of ±1 and a normal law have one mean and variance."""
    coin = normal(500, 1).sign()
    found = energy_distance(coin, normal(500, 1, seed=1))
    assert found.value > 5 * found.stderr > 0


@pytest.mark.parametrize(("a", "b"), [((1, 3), (5, 3)), ((5, 3), (5, 4)), ((5,), (5, 1))])
def test_it_refuses(a, b):
    with pytest.raises(ValueError, match="a and b must be"):
        energy_distance(torch.zeros(a), torch.zeros(b))


def test_ratios_are_those_of_sorted_distances():
    samples, images = normal(6, 1, 3, 4), normal(30, 1, 3, 4, seed=1)
    distances = [sorted((s - x).norm().item() for x in images) for s in samples]
    expected = [near / second for near, second, *_ in distances]
    for block in (1, 7, 1024):
        found = gahb.memorization.distance_ratio(samples, images, block=block)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_copy_has_a_small_ratio_and_a_double_none():
    images = normal(20, 1, 3, 4)
    ratio = gahb.memorization.distance_ratio(images[:3] + 1e-6, images)
    assert (ratio < 1e-5).all()
    doubled = torch.cat([images, images[:1]])
    assert gahb.memorization.distance_ratio(images[:1], doubled).item() == 1.0
    with pytest.raises(ValueError, match="N ≥ 2"):
        gahb.memorization.distance_ratio(images, images[:1])


def test_the_difference_of_two_distances_is_that_of_the_two_numbers():
    """60 and 90 points, seed 0: the value exactly; its error within 40 % of the scatter over 60 repetitions."""
    normal = torch.Generator().manual_seed(0)

    def draw(n=60, m=90):
        z = torch.randn(n, 3, generator=normal, dtype=torch.float64)
        law = torch.randn(m, 3, generator=normal, dtype=torch.float64)
        return 1.5 * z, z + 0.2, law

    a, b, law = draw()
    value, _ = gahb.laws.energy_difference(a, b, law)
    apart = gahb.laws.energy_distance(a, law).value - gahb.laws.energy_distance(b, law).value
    assert value == pytest.approx(apart, abs=1e-12)
    found = [gahb.laws.energy_difference(*draw()) for _ in range(60)]
    scatter = torch.tensor([v for v, _ in found]).std().item()
    assert 0.6 < torch.tensor([e for _, e in found]).mean().item() / scatter < 1.4
    assert gahb.laws.energy_difference(a, a, law) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"a, b and law must be .* got \(60, 3\), \(59, 3\) and \(90, 3\)"):
        gahb.laws.energy_difference(a, b[1:], law)


def test_scaled_wavelets_have_one_variance_and_see_a_fine_scale():
    """Smooth fields with a little grain; grain 20 % too weak; 300 fields of 12×12, seed 0."""
    fields = normal(900, 1, 3, 3).repeat_interleave(4, 2).repeat_interleave(4, 3)
    grain = 0.05 * normal(900, 1, 12, 12, seed=1)
    law, same, weak = (fields + grain)[:300], (fields + grain)[300:600], (fields + 0.8 * grain)[600:]
    coefficients = gahb.laws.scaled_wavelets(law, law)
    of_subband = coefficients.var(dim=0).split([9, 36, 36, 36, 9, 9, 9])  # coarse, 12 → 6, 6 → 3
    torch.testing.assert_close(torch.stack([v.mean() for v in of_subband]), torch.ones(7, dtype=torch.float64))

    def distance(images, view):
        return energy_distance(view(images), view(law)).value

    in_wavelets = [distance(x, lambda x: gahb.laws.scaled_wavelets(x, law)) for x in (same, weak)]
    in_pixels = [distance(x, lambda x: x) for x in (same, weak)]
    assert in_wavelets[1] > 10 * abs(in_wavelets[0]) and in_pixels[1] < 10 * abs(in_pixels[0])


def test_scaled_wavelets_refuses_other_shapes():
    images = normal(4, 1, 8, 8)
    with pytest.raises(ValueError, match=r"images of one shape, got \(4, 1, 8, 8\) and \(4, 1, 8, 6\)"):
        gahb.laws.scaled_wavelets(images, images[..., :6])
    with pytest.raises(ValueError, match="levels"):
        gahb.laws.scaled_wavelets(images, images, levels=0)
