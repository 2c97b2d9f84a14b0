"""Mean-removed cosines against NumPy's correlation; what they are between unrelated images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import peak_memory

import gahb


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def correlations(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """All pairs (n, N), one at a time."""
    rows = [[np.corrcoef(p.flatten().numpy(), q.flatten().numpy())[0, 1] for q in b.double()] for p in a.double()]
    return np.array(rows)


@settings(max_examples=30)
@given(
    n=st.integers(1, 6), count=st.integers(1, 20), block=st.integers(1, 25), seed=st.integers(0, 10**6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
def test_nearest_is_the_largest_correlation(n, count, block, seed, dtype):
    samples, images = normal(n, 1, 3, 4, seed=seed).to(dtype), normal(count, 1, 3, 4, seed=seed + 1).to(dtype)
    similarity, index = gahb.nearest(samples, images, block=block)
    expected = correlations(samples, images)
    assert similarity.shape == index.shape == (n,) and index.dtype == torch.long
    np.testing.assert_allclose(similarity, expected.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(similarity, expected[np.arange(n), index], atol=1e-12)


def test_copies_are_found_whatever_their_brightness_and_contrast():
    images = gahb.images.disks(300, 16)
    picks = torch.tensor([3, 299, 7, 128])
    copies = 0.2 + 0.1 * images[picks] + 1e-4 * normal(4, 1, 16, 16).float()
    similarity, index = gahb.nearest(copies, images, block=64)
    assert torch.equal(index, picks)
    assert similarity.min() > 0.99
    torch.testing.assert_close(gahb.twin_similarity(copies, images[picks]), similarity)
    torch.testing.assert_close(gahb.twin_similarity(1 - copies, copies), -torch.ones(4, dtype=torch.float64))


def test_unrelated_noise_has_the_similarity_of_chance():
    """cos of independent Gaussian images: mean 0, standard deviation 1/√(d−1); 400 pairs, seed 0, 4 s.e."""
    d, pairs = 144, 400
    similarity = gahb.twin_similarity(normal(pairs, 1, 12, 12), normal(pairs, 1, 12, 12, seed=1))
    spread = 1 / math.sqrt(d - 1)
    assert abs(similarity.mean()) < 4 * spread / math.sqrt(pairs)
    assert abs(similarity.std() / spread - 1) < 4 / math.sqrt(2 * pairs)
    best, _ = gahb.nearest(normal(pairs, 1, 12, 12), normal(1000, 1, 12, 12, seed=1))
    assert abs(best.mean() / spread - 3.24) < 0.1  # the largest of 1,000 normal numbers, in the mean


def test_without_the_mean_unlike_images_would_look_alike():
    """The null of cosine similarity: what is left in if the mean is."""
    a, b = gahb.images.disks(200, 16), gahb.images.disks(200, 16, seed=1)
    plain = torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1))
    removed = gahb.twin_similarity(a, b)
    assert plain.mean() > 0.75
    assert abs(removed.mean()) < 4 * removed.std() / math.sqrt(200)  # a disk is as often bright as dark


def test_constant_images_are_like_nothing():
    constant = torch.full((2, 1, 8, 8), 0.3)
    images = torch.cat([constant[:1], torch.rand(5, 1, 8, 8)])
    assert torch.equal(gahb.twin_similarity(constant, constant), torch.zeros(2, dtype=torch.float64))
    similarity, index = gahb.nearest(images, images)
    assert similarity[0] == 0 and torch.equal(index[1:], torch.arange(1, 6))
    assert similarity[1:].min() > 1 - 1e-12


def test_bytes_and_files_larger_than_what_is_held(tmp_path):
    """uint8 images, read from a file that is mapped into memory."""
    images = (255 * gahb.images.dead_leaves(60, 8)).round().to(torch.uint8)
    stored = np.memmap(tmp_path / "images", dtype=np.uint8, mode="w+", shape=images.shape)
    stored[:] = images.numpy()
    mapped = torch.from_numpy(stored)
    samples = images[[5, 40]].float() / 255
    for result in (gahb.nearest(samples, mapped, block=7), gahb.nearest(images[[5, 40]], mapped)):
        assert torch.equal(result[1], torch.tensor([5, 40]))
        torch.testing.assert_close(result[0], torch.ones(2, dtype=torch.float64))


def test_memory_does_not_grow_with_the_set():
    samples, few, many = (torch.rand(n, 1, 8, 8) for n in (8, 2048, 16384))
    held = [peak_memory(lambda x=x: gahb.nearest(samples, x, block=256)) for x in (few, many)]
    assert held[1] <= 1.02 * held[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: gahb.nearest(x, x[:0]), ValueError, r"images must be \(N, 1, 4, 4\) with N ≥ 1, got \(0, 1, 4, 4\)"),
        (lambda x: gahb.nearest(x, x[..., :2]), ValueError, r"images must be .* got \(3, 1, 4, 2\)"),
        (lambda x: gahb.nearest(x.tolist(), x), TypeError, "samples must be a torch tensor, got list"),
        (lambda x: gahb.nearest(x, x[0, 0, 0]), ValueError, r"images must be \(n, …\), got shape \(4,\)"),
        (lambda x: gahb.nearest(x, x, block=0), ValueError, "block must be an integer of at least 1, got 0"),
        (lambda x: gahb.twin_similarity(x, x[:2]), ValueError, r"b must be shaped like a, \(3, 1, 4, 4\), got \(2,"),
        (lambda x: gahb.twin_similarity(x, None), TypeError, "b must be a torch tensor, got NoneType"),
    ],
)  # fmt: skip
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(3, 1, 4, 4))


def test_margins_are_twins_less_nearest():
    """Against correlations, one at a time; copies of one's own set have a margin of at most zero."""
    samples = {n: [normal(5, 1, 3, 4, seed=n + k) for k in (0, 1)] for n in (2, 7)}
    sets = {n: [normal(n, 1, 3, 4, seed=50 + n + k) for k in (0, 1)] for n in (7, 2)}
    for n, found in gahb.memorization.margins(samples, sets).items():
        a, b = samples[n]
        alike = np.diag(correlations(a, b))
        closest = sum(correlations(own, images).max(axis=1) for own, images in zip(samples[n], sets[n])) / 2
        np.testing.assert_allclose(found, alike - closest, atol=1e-12)
    assert gahb.memorization.margins({7: sets[7]}, {7: sets[7]})[7].max() <= 0
    with pytest.raises(ValueError, match=r"samples and sets must be of the same N, got \[2, 7\] and \[2\]"):
        gahb.memorization.margins(samples, {2: sets[2]})


def test_nearest_refuses_what_is_not_finite():
    images = normal(8, 5)
    images[3, 2] = math.nan
    with pytest.raises(ValueError, match="must be finite"):
        gahb.nearest(normal(2, 5, seed=1), images)
