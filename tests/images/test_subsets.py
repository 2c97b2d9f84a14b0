"""Shuffled pixels and disjoint subsets."""

from __future__ import annotations

import math
import re
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gahb
from gahb.images import shuffle_pixels, split
from gahb.images.subsets import pixel_permutation


def numbered(n: int, size: int = 2) -> torch.Tensor:
    return torch.arange(n * size * size, dtype=torch.float64).reshape(n, 1, size, size)


def members(images: torch.Tensor) -> list[int]:
    return [int(x[0, 0, 0]) // 4 for x in images]


# --- shuffle ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 2**63))
def test_one_permutation_from_size_and_seed(height, width, seed):
    order = pixel_permutation(height, width, seed=seed)
    assert sorted(order.tolist()) == list(range(height * width))
    x = torch.rand(3, 2, height, width, dtype=torch.float64)
    shuffled = shuffle_pixels(x, seed=seed)
    assert shuffled.shape == x.shape and shuffled.dtype == x.dtype
    assert torch.equal(shuffled.flatten(2), x.flatten(2)[..., order])
    # neither what is in the images nor how many there are, nor the generator, has a part in it
    torch.manual_seed(seed % 97)
    assert torch.equal(shuffle_pixels(x[1:2], seed=seed), shuffled[1:2])
    assert torch.equal(shuffle_pixels(1 - x, seed=seed), 1 - shuffled)


def test_other_seeds_and_sizes_shuffle_otherwise():
    orders = [tuple(pixel_permutation(8, 8, seed=seed).tolist()) for seed in range(20)]
    orders.append(tuple(pixel_permutation(4, 16).tolist()))
    assert len(set(orders)) == 21 and tuple(range(64)) not in orders


def test_every_pixel_goes_everywhere():
    """Over 2,000 seeds each place of a 3×3 image receives each pixel equally often, within 4.5 s.e."""
    n = 2000
    counts = torch.zeros(9, 9)
    for seed in range(n):
        counts[torch.arange(9), pixel_permutation(3, 3, seed=seed)] += 1
    assert (counts - n / 9).abs().max() < 4.5 * math.sqrt(n * 8 / 81)


def test_neighbours_are_no_longer_alike():
    x = gahb.images.c_alpha(50, 16, 3)
    for images, low, high in ((x, 0.8, 1), (shuffle_pixels(x), -0.2, 0.5)):
        centred = images - images.mean(dim=(2, 3), keepdim=True)
        right = (centred[..., 1:] * centred[..., :-1]).mean() / centred.square().mean()
        assert low < right < high
    assert torch.equal(x.flatten(1).sort(dim=1).values, shuffle_pixels(x).flatten(1).sort(dim=1).values)


# --- split --------------------------------------------------------------------------------


@settings(max_examples=60)
@given(total=st.integers(2, 40), share=st.floats(0, 1), seed=st.integers(0, 2**63))
def test_by_index_everything_is_in_one_part(total, share, seed):
    n = max(1, round(share * (total // 2)))
    parts = split(numbered(total), n, seed=seed)
    found = [members(part) for part in parts]
    assert [len(part) for part in found] == [n, n, total - 2 * n]
    assert sorted(chain(*found)) == list(range(total))
    again = split(numbered(total), n, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(parts, again))


def test_the_choice_is_random_and_the_generator_left_alone():
    rng = torch.get_rng_state()
    chosen = [tuple(members(split(numbered(30), 10, seed=seed)[0])) for seed in range(8)]
    assert len(set(chosen)) == 8
    assert torch.equal(rng, torch.get_rng_state())


@settings(max_examples=80)
@given(labels=st.lists(st.integers(0, 12), min_size=8, max_size=60), n=st.integers(1, 8), seed=st.integers(0, 999))
def test_by_group_no_label_is_shared(labels, n, seed):
    total = len(labels)
    if 2 * n > total:
        return
    refusal = None
    try:
        parts = split(numbered(total), n, seed=seed, groups=labels)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:  # the second set came out short
        pattern = rf"n = {n} is too many .* dealt by seed {seed}: they hold (\d+) and (\d+) images"
        message = re.fullmatch(pattern, refusal)
        assert message and int(message[1]) >= 1 and int(message[2]) < n
        return
    found = [members(part) for part in parts]
    assert len(found[0]) == len(found[1]) == n
    every = list(chain(*found))
    assert len(set(every)) == len(every)
    sets = [{labels[i] for i in part} for part in found]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    # what is dropped belongs to a label of the first or second set
    assert {labels[i] for i in set(range(total)) - set(every)} <= sets[0] | sets[1]
    for other in (torch.tensor(labels), np.array(labels), tuple(labels), [f"person {label}" for label in labels]):
        assert all(torch.equal(a, b) for a, b in zip(parts, split(numbered(total), n, seed=seed, groups=other)))


def test_few_large_groups_may_need_another_seed():
    refused = []
    for seed in range(20):
        try:
            first, second, _ = split(numbered(8), 3, seed=seed, groups=[0] * 5 + [1, 2, 3])
        except ValueError as error:
            refused.append(str(error))
        else:
            assert {len(first), len(second)} == {3} and len({*members(first), *members(second)}) == 6
    assert 0 < len(refused) < 20


def test_groups_of_one_lose_nothing():
    parts = split(numbered(9), 3, groups=list(range(9)))
    assert sorted(chain(*map(members, parts))) == list(range(9))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: split(numbered(5), 3),
            ValueError,
            "n must be at most half of the 5 images for two disjoint sets, got 3",
        ),
        (lambda: split(numbered(5), 0), ValueError, "n must be an integer of at least 1, got 0"),
        (lambda: split(numbered(5), 1.0), ValueError, "n must be an integer of at least 1, got 1.0"),
        (lambda: split([1, 2, 3], 1), TypeError, "images must be a torch tensor, got list"),
        (
            lambda: split(numbered(5), 1, groups=[1, 2]),
            ValueError,
            "groups must have one label for each of the 5 images, got 2",
        ),
        (
            lambda: split(numbered(6), 3, groups=[1] * 6),
            ValueError,
            "n = 3 is too many for two sets that share no group, dealt by seed 0: they hold 6 and 0 images",
        ),
        (
            lambda: split(numbered(2), 1, groups=[[1], [2]]),
            ValueError,
            r"groups must have one hashable label for each of the 2 images, got list \[\[1\], \[2\]\]",
        ),
        (lambda: split(numbered(2), 1, groups=torch.eye(2)), ValueError, "groups must have one hashable label"),
        (lambda: split(numbered(2), 1, groups=7), ValueError, "for each of the 2 images, got int 7"),
        (lambda: split(numbered(2), 1, seed=-1), ValueError, "seed must be an integer of at least 0, got -1"),
        (lambda: split(numbered(2), 1, seed=0.5), ValueError, "seed must be an integer of at least 0, got 0.5"),
        (lambda: shuffle_pixels(numbered(2), seed=None), ValueError, "seed must be an integer of at least 0, got None"),
        (lambda: shuffle_pixels(torch.rand(4, 9)), ValueError, r"images must be \(n, C, H, W\), got shape \(4, 9\)"),
        (lambda: shuffle_pixels(numbered(2).byte()), TypeError, "images must be floating point, got torch.uint8"),
        (lambda: shuffle_pixels(None), TypeError, "images must be a torch tensor, got NoneType"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
