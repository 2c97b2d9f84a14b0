"""Random numbers by counter: what they depend on, that they are SplitMix64, and that they look random."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gahb
from gahb.kernels import counter
from gahb.kernels.counter import in_blocks, normal, uniform

WORD = 1 << 64


def splitmix(state: int) -> int:
    """The output of SplitMix64 at this state, in Python's integers."""
    state %= WORD
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def words(seed: int, stream: str, image: int, count: int) -> list[int]:
    """The slow way: a key from seed and stream, a generator for the image, `count` of its outputs."""
    golden, key = 0x9E3779B97F4A7C15, seed
    for character in stream:
        key = splitmix((key + ord(character)) * golden)
    row = splitmix((image + 1) * golden + splitmix(key))
    return [splitmix(row + k * golden) for k in range(1, count + 1)]


def test_splitmix_is_the_published_one():
    """The first outputs from seed 1234567, as the generator's users publish them."""
    golden, expected = 0x9E3779B97F4A7C15, [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix(1234567 + k * golden) for k in (1, 2, 3)] == expected


@settings(max_examples=40)
@given(
    seed=st.one_of(st.integers(0, WORD - 1), st.sampled_from([0, 1, WORD // 2 - 1, WORD // 2, WORD - 1])),
    stream=st.text(max_size=12),
    start=st.one_of(st.integers(0, 2**62), st.sampled_from([0, 2**30, 2**31, 2**62])),
)
def test_bits_are_those_of_the_slow_way(seed, stream, start):
    """Multiplications that overflow int64, shifts of negative numbers, seeds beyond 2⁶³."""
    bits = counter._bits(seed, stream, start, 3, 5, None)
    expected = [words(seed, stream, start + i, 5) for i in range(3)]
    assert [[int(b) % WORD for b in row] for row in bits] == expected


def test_uniform_and_normal_are_made_of_these_bits():
    halves = [half for word in words(5, "x", 9, 3) for half in (word >> 40, (word >> 8) % 2**24)]
    u = uniform(5, "x", 9, 1, 6)[0].double()
    assert (u - (torch.tensor(halves, dtype=torch.float64) + 0.5) / 2**24).abs().max() <= 2**-25
    expected = []
    for a, b in zip(u[::2].tolist(), u[1::2].tolist()):
        radius = math.sqrt(-2 * math.log(a))
        expected += [radius * math.cos(2 * math.pi * b), radius * math.sin(2 * math.pi * b)]
    assert (normal(5, "x", 9, 1, 6)[0].double() - torch.tensor(expected, dtype=torch.float64)).abs().max() < 2e-6


def test_the_extreme_words_stay_inside_the_open_interval():
    """The largest number of 24 bits plus one half is no float32: it would be rounded to 1."""
    low, high = counter._halves(torch.tensor([0, -1]))
    for half in (low, high):
        assert half[0] == 2.0**-25 and half[1] == 1 - 2.0**-24
    radius = (-2 * low.log()).sqrt()
    assert bool(torch.isfinite(radius).all()) and bool((radius > 0).all())


@settings(max_examples=30)
@given(
    draw=st.sampled_from([uniform, normal]),
    n=st.integers(1, 5),
    skip=st.integers(0, 5),
    count=st.integers(1, 9),
    more=st.integers(0, 4),
    start=st.integers(0, 10**12),
    seed=st.integers(0, 2**63),
)
def test_a_number_depends_on_seed_image_and_place_only(draw, n, skip, count, more, start, seed):
    whole = draw(seed, "a", start, n + skip, count + more)
    assert whole.shape == (n + skip, count + more) and whole.dtype == torch.float32
    assert torch.equal(draw(seed, "a", start, n, count), whole[:n, :count])
    assert torch.equal(draw(seed, "a", start + skip, n, count + more), whole[skip:])
    assert torch.equal(draw(np.uint64(seed), "a", start, n, count), whole[:n, :count])


def test_a_seed_is_an_integer():
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        uniform(0.5, "a", 0, 1, 1)


def test_no_global_state():
    before = torch.get_rng_state()
    torch.manual_seed(1)
    first = normal(0, "a", 0, 2, 3)
    torch.manual_seed(2)
    assert torch.equal(first, normal(0, "a", 0, 2, 3))
    torch.set_rng_state(before)


@pytest.mark.parametrize("other", ["seed + 1", "seed + 2³²", "stream", "longer stream", "next image", "image + 2³¹"])
def test_streams_seeds_and_images_are_independent(other):
    """Correlations of the numbers, and of their squares, within 4 standard errors."""
    count = 400_000
    where = {
        "seed + 1": (4, "a", 0),
        "seed + 2³²": (3 + 2**32, "a", 0),
        "stream": (3, "b", 0),
        "longer stream": (3, "aa", 0),
        "next image": (3, "a", 1),
        "image + 2³¹": (3, "a", 2**31),
    }[other]
    x, y = (normal(*k, 1, count)[0].double() for k in ((3, "a", 0), where))
    for f in (lambda x: x, torch.square):
        r = float(torch.corrcoef(torch.stack([f(x), f(y)]))[0, 1])
        assert abs(r) < 4 / math.sqrt(count), r


def test_neighbours_in_one_image_are_independent():
    x = normal(3, "a", 0, 1, 400_000)[0].double()
    for lag in (1, 2, 3, 64, 1000):
        for f in (lambda x: x, torch.square):
            r = float(torch.corrcoef(torch.stack([f(x[:-lag]), f(x[lag:])]))[0, 1])
            assert abs(r) < 4 / math.sqrt(len(x)), (lag, r)


@pytest.mark.parametrize("layout", ["one image", "one number of each image"])
def test_moments_and_distributions(layout):
    """Means of the first four powers within 4 standard errors; Kolmogorov and Smirnov's distance."""
    count = 300_000
    shape = (1, count) if layout == "one image" else (count, 1)
    u, z = (draw(11, "law", 7, *shape).flatten().double().numpy() for draw in (uniform, normal))
    for values, law in ((u, stats.uniform()), (z, stats.norm())):
        for power in (1, 2, 3, 4):
            spread = math.sqrt((law.moment(2 * power) - law.moment(power) ** 2) / count)
            assert abs((values**power).mean() - law.moment(power)) < 4 * spread
        assert stats.kstest(values, law.cdf).pvalue > 1e-3
    bits = counter._bits(11, "law", 7, *shape, None).flatten().numpy().astype(np.uint64)
    for place in range(64):  # every bit is a fair coin, within 4.5 standard errors
        ones = int((bits >> np.uint64(place) & np.uint64(1)).sum())
        assert abs(ones - count / 2) < 4.5 * math.sqrt(count) / 2, place


def test_tails_of_the_normal_numbers():
    z = normal(2, "tail", 0, 100, 20_000).abs()
    for level in (3.0, 4.0):
        expected = 2 * stats.norm.sf(level) * z.numel()
        assert abs(int((z > level).sum()) - expected) < 4 * math.sqrt(expected)
    assert z.max() < math.sqrt(50 * math.log(2)) + 1e-5  # the smallest uniform number is 2⁻²⁵


def test_no_number_comes_twice():
    """64-bit words of the streams in use, of neighbouring seeds and many images, are distinct."""
    used = {
        name
        for path in Path(gahb.__file__).parent.rglob("*.py")
        for name in re.findall(r"\b(?:uniform|normal)\(\*?\w+, f?\"([^\"]+)\"", path.read_text())
    }
    assert {"disks", "c_alpha background", "leaves {block}"} <= used
    streams = [re.sub("{.*}", str(k), name) for name in sorted(used) for k in range(1 + 9 * ("{" in name))]
    parts = [counter._bits(seed, stream, 0, 50, 100, None) for seed in range(8) for stream in streams]
    every = torch.cat([part.flatten() for part in parts])
    assert len(every.unique()) == len(every) == 8 * len(streams) * 50 * 100


@pytest.mark.parametrize(("start", "n"), [(0, 1), (5, 32), (5, 33), (0, 100)])
def test_blocks_join_to_the_whole(start, n):
    asked = []

    def make(start, n):
        asked.append(n)
        return torch.arange(start, start + n)

    assert torch.equal(in_blocks(make, start, n), torch.arange(start, start + n))
    assert max(asked) <= 32 and sum(asked) == n
    asked.clear()
    in_blocks(make, start, n, "cuda")  # the device only says how many at a time
    assert asked == [n]
