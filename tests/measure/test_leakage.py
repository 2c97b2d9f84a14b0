"""What pictures and losses tell of a training set."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gahb
from gahb.measure.leakage import bits, fano, membership
from gahb.measure.statistics import share_interval


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.floats(0, 1), st.integers(2, 64))
def test_fano_is_as_it_is_written(p, sets):
    right = max(p, 1 / sets)
    entropy = -sum(q * math.log2(q) for q in (right, 1 - right) if q > 0)
    plain = math.log2(sets) - entropy - (1 - right) * math.log2(sets - 1)
    assert fano(p, sets) == pytest.approx(plain, abs=1e-9)
    assert 0 <= fano(p, sets) <= math.log2(sets) + 1e-12
    assert fano(min(1.0, p + 0.05), sets) >= fano(p, sets)


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.6])
def test_it_is_a_lower_bound_on_the_information(noise):
    """A picture of 8 values, the number of its set with errors: information known by summation, the best guess."""
    sets, values = 4, 8
    channel = noise * rand(sets, values) + torch.eye(sets, values).double()
    channel /= channel.sum(dim=1, keepdim=True)  # p(picture | set)
    joint, prior = channel / sets, channel.mean(dim=0)
    information = (joint * (channel / prior).log2().nan_to_num(neginf=0)).sum().item()
    accuracy = joint.max(dim=0).values.sum().item()
    assert fano(accuracy, sets) <= information + 1e-12
    if noise == 0:
        assert fano(accuracy, sets) == pytest.approx(information)


def test_bits_have_the_interval_of_the_share():
    hits = rand(300) < 0.8
    found = bits(hits, 2)
    low, high = share_interval(int(hits.sum()), 300)
    assert found.accuracy_interval == (low, high) and low < found.accuracy < high
    assert found.interval == (fano(low, 2), fano(high, 2)) and found.interval[0] < found.value < found.interval[1]
    tails = torch.distributions.Binomial(300, torch.tensor([low, high]).double())
    k = torch.arange(301).double()[:, None]
    chances = tails.log_prob(k).exp()
    assert chances[int(hits.sum()):, 0].sum() == pytest.approx(0.025, rel=1e-4)
    assert chances[: int(hits.sum()) + 1, 1].sum() == pytest.approx(0.025, rel=1e-4)


def test_guesses_at_random_prove_nothing():
    found = bits(torch.arange(400) % 2 == 0, 2)
    assert (found.value, found.interval[0]) == (0.0, 0.0)
    assert bits(torch.zeros(10, dtype=torch.bool), 4).value == 0.0


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_the_share_of_pairs(ties):
    members, others = rand(30), 0.2 + rand(150, seed=1)
    if ties:
        members, others = (values.mul(8).round() for values in (members, others))
    pairs = (members[:, None] < others).double() + 0.5 * (members[:, None] == others)
    found = membership(members, others, rate=0.1)
    assert found.area == pytest.approx(pairs.mean().item())
    rows, columns = pairs.mean(dim=1), pairs.mean(dim=0)
    assert found.stderr == pytest.approx(math.sqrt(rows.var() / 30 + columns.var() / 150))
    assert found.false_positives == (others < found.threshold).double().mean() <= 0.1
    assert found.true_positives == (members < found.threshold).double().mean()


def test_the_error_of_the_area_is_its_scatter():
    areas, errors = [], []
    for seed in range(100):
        found = membership(rand(50, seed=seed), 0.1 + rand(120, seed=1000 + seed))
        areas.append(found.area)
        errors.append(found.stderr)
    assert torch.tensor(areas).std().item() == pytest.approx(sum(errors) / 100, rel=0.25)


def test_the_loss_of_strangers_tells_nothing():
    found = membership(rand(400), rand(4000, seed=1))
    assert abs(found.area - 0.5) < 3 * found.stderr
    assert found.false_positives == 0.01 and found.interval[0] < 0.01 < found.interval[1]


def test_one_member_has_no_error_of_its_area():
    found = membership(torch.zeros(1), rand(100))
    assert (found.area, found.true_positives) == (1.0, 1.0) and math.isnan(found.stderr)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fano(1.2, 2), r"accuracy must be in \[0, 1\], got 1.2"),
        (lambda: fano(0.5, 1), "sets must be an integer of at least 2, got 1"),
        (lambda: bits(torch.ones(3), 2), r"hits must be .* of bool with n ≥ 1, got \(3,\) of torch.float32"),
        (lambda: bits([True], 2), "hits must be .*, got list"),
        (lambda: membership(torch.rand(3), torch.rand(50)), "others must be at least 1 / rate = 100 losses, got 50"),
        (lambda: membership(torch.rand(3, 2), torch.rand(100)), r"members must be .*, got shape \(3, 2\)"),
        (lambda: membership(torch.rand(3), torch.rand(100) / 0), "others must be finite"),
        (lambda: membership(torch.rand(3), torch.rand(100), rate=1), r"rate must be a number in \(0, 1\), got 1"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_copies_are_worth_all_bits():
    sets = gahb.images.disks(40, 8).split(10)
    drawn = [gahb.sample(gahb.Empirical(own), 8, (1, 8, 8), method="ddim", seed=k, progress=False)
             for k, own in enumerate(sets)]
    closeness = torch.stack([gahb.nearest(torch.cat(drawn), own)[0] for own in sets])
    assert bits(closeness.argmax(dim=0) == torch.arange(4).repeat_interleave(8), 4).value == 2.0


def test_the_error_of_an_area_of_one_is_that_of_a_share_of_one():
    """10 members below 500 others."""
    found = membership(torch.arange(10.0), torch.arange(20.0, 520.0))
    _, of_members = gahb.statistics.share(torch.ones(10))
    _, of_others = gahb.statistics.share(torch.ones(500))
    assert found.area == 1.0
    assert found.stderr == pytest.approx(math.hypot(of_members, of_others))
