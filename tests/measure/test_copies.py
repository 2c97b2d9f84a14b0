"""Copies where the truth is known: how many samples are copies, of which images, and where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from references import peak_memory
from scipy import stats

import gahb
from gahb.measure import copies as module
from gahb.measure import copy_search

N, SIZE = 500, 16


@pytest.fixture(scope="module")
def smooth():
    """C² backgrounds: 500 to train on, 500 held out, 400 new ones. They vary in about ten directions."""
    made = gahb.images.c_alpha(1400, SIZE, 2, contour=False, contrast="fixed")
    return made[:500], made[500:1000], made[1000:]


def noise(like: torch.Tensor, seed: int = 5) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def find(samples, train, held_out=None, **options) -> gahb.Copies:
    return gahb.copies(samples, train, held_out, progress=False, **options)


@pytest.mark.parametrize("given", [True, False])
def test_half_copies_and_half_fresh(smooth, given):
    train, held_out, new = smooth
    picks = torch.arange(0, 400, 2)
    found = find(torch.cat([train[picks], new[:200]]), train, held_out if given else None)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.called[:200].all() and torch.equal(found.index[:200], picks)
    assert found.called[200:].float().mean() <= 0.02
    assert found.decides and found.p_value < 1e-6
    assert found.from_train is not given
    assert found.verdict.startswith(f"Some samples are copies: {int(found.called.sum())} of 400 samples (5")


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 0.1 * x.std() * noise(x),  # white noise of a tenth of the contrast
        lambda x: 0.3 * x + 0.5,
        lambda x: x + 0.2,
        lambda x: (255 * x).round(),
    ],
    ids=["noise", "contrast", "brightness", "bytes"],
)
def test_changed_copies_are_found(smooth, change):
    train, held_out, _ = smooth
    found = find(change(train[:100]), train, held_out)
    assert found.called.float().mean() >= 0.95
    assert torch.equal(found.index, torch.arange(100))
    assert (found.ratio < 0.5).all()


def test_of_fresh_images_at_most_one_in_a_hundred_is_called_a_copy(smooth):
    train, held_out, new = smooth
    for null in (held_out, None):
        found = find(new, train, null)
        assert found.share <= 0.01 and found.p_value > 0.05
        assert found.verdict.startswith("No sign of copies: ")
        assert not found.duplicated.any()


def test_a_shift_by_one_pixel_a_crop_and_a_mirror_image_are_found_where_asked_for():
    made = gahb.images.dead_leaves(330, SIZE)
    train, held_out = made[:200], made[200:]
    x = train[:50]
    shifted = torch.cat([x[..., 1:, :], gahb.images.dead_leaves(50, SIZE, seed=3)[..., :1, :]], dim=2)
    cropped = torch.nn.functional.interpolate(x[..., 2:, 2:], (SIZE, SIZE), mode="bilinear")
    for changed, augment in ((shifted, "shift"), (x.flip(-1), "flip"), (cropped, "crop")):
        plain, found = find(changed, train, held_out), find(changed, train, held_out, augment=[augment])
        assert found.called.sum() > plain.called.sum() + 10, augment
        assert found.called.float().mean() >= 0.9, augment
        assert torch.equal(found.index[found.called], torch.arange(50)[found.called]), augment
    both = find(shifted.flip(-1), train, held_out, augment=["flip", "shift"])
    assert both.called.float().mean() >= 0.9
    names = [both.views[v - 1] for v in both.view[both.called]]
    assert set(names) == {"mirrored, shifted by (-1, 0)"}
    assert len(both.views) == 17


def test_where_the_class_is_dense_similarity_decides_nothing():
    """Disks have three directions besides brightness and contrast: of 2,000, one is near to any new disk."""
    made = gahb.images.disks(2600, SIZE)
    train, held_out, new = made[:2000], made[2000:2400], made[2400:]
    for samples in (new, train[:200], torch.cat([new, train[:200]])):
        found = find(samples, train, held_out)
        assert not found.decides
        assert found.verdict.startswith("Similarity cannot decide here: ")
        assert found.tolerance < module.TOLERANCE < 0.2
        assert 2 < found.dimension < 6


def test_similarities_are_those_of_all_pairs(smooth):
    """Against float64 correlations of all pairs, with views too; in tiles of samples and blocks of images."""
    train, held_out, new = smooth
    train, samples = train[:60], torch.cat([new[:9], train[7:9]])
    shifts = [torch.nn.functional.pad(train, (1, 1, 1, 1), mode="replicate")[..., a : a + SIZE, b : b + SIZE]
              for a in range(3) for b in range(3)]

    def correlations(a, b):
        return np.corrcoef(a.flatten(1).double(), b.flatten(1).double())[: len(a), len(a) :]

    plain = correlations(samples, train)
    moved = np.max([correlations(samples, view) for view in shifts], axis=0)
    for augment, expected in (((), plain), (("shift",), moved)):
        for block in (7, 60, 1000):
            found = find(samples, train, held_out[:120], augment=augment, block=block)
            ordered = np.sort(expected, axis=1)
            np.testing.assert_allclose(found.similarity, ordered[:, -1], atol=1e-6)
            np.testing.assert_allclose(found.second, ordered[:, -2], atol=1e-6)
            assert torch.equal(found.index, torch.from_numpy(expected.argmax(axis=1)))
            ratio = np.sqrt((1 - ordered[:, -1]).clip(0) / (1 - ordered[:, -2]))
            np.testing.assert_allclose(found.ratio, ratio, atol=5e-3)


def test_training_images_are_not_their_own_null(smooth):
    train = smooth[0]
    expected = np.corrcoef(train.flatten(1).double())
    np.fill_diagonal(expected, -1)
    found = find(smooth[2], train)
    np.testing.assert_allclose(found.null, expected.max(axis=1), atol=1e-6)
    some = find(smooth[2], train, n_null=150, seed=3)
    assert len(some.null) == 150 and len(some.null_index.unique()) == 150
    np.testing.assert_allclose(some.null, expected.max(axis=1)[some.null_index], atol=1e-6)


def test_tiles_change_nothing(smooth, monkeypatch):
    whole = find(smooth[2], smooth[0])
    monkeypatch.setattr(copy_search, "TILE", 4 * SIZE**2 * 70)
    tiled = find(smooth[2], smooth[0])
    torch.testing.assert_close(tiled.similarity, whole.similarity, rtol=0, atol=1e-6)
    torch.testing.assert_close(tiled.null, whole.null, rtol=0, atol=1e-6)
    assert torch.equal(tiled.index, whole.index) and tiled.share == whole.share


def test_interval_and_chance_are_those_of_their_laws(smooth):
    """The interval by its definition; p by drawing: how often so many of n new numbers exceed the k-th of m others."""
    found = find(smooth[2][:60], smooth[0], smooth[1][:199])
    hits = int(found.called.sum())
    low, high = found.interval
    if hits:
        assert stats.binom.sf(hits - 1, 60, low) == pytest.approx(0.025)
    assert stats.binom.cdf(hits, 60, high) == pytest.approx(0.025)
    rng = np.random.default_rng(0)
    n, m, k = 60, 199, 2
    draws = rng.random((20_000, n + m))
    counts = (draws[:, :n] > np.sort(draws[:, n:], axis=1)[:, -k][:, None]).sum(axis=1)
    assert (counts >= 1).mean() == pytest.approx(stats.betabinom(n, k, m + 1 - k).sf(0), abs=0.015)
    assert counts.mean() / n == pytest.approx(k / (m + 1), rel=0.05)  # the level, not more


def test_near_duplicates_of_training_images_do_not_raise_the_threshold(smooth):
    train, held_out, new = smooth
    clean = find(new, train, held_out)
    spoilt = torch.cat([held_out, train[30:60] + 0.002 * noise(train[30:60])])
    found = find(new, train, spoilt)
    assert torch.equal(found.leaks, torch.stack([torch.arange(500, 530), torch.arange(30, 60)], dim=1))
    assert found.threshold == clean.threshold and len(found.null) == 500
    within = find(new, torch.cat([train, train[:20]]))
    assert len(within.leaks) == 40 and within.threshold < 0.99


def test_few_copies_among_many_are_pointed_at(smooth):
    train, held_out, new = smooth
    found = find(torch.cat([new, train[:1] + 0.001]), train, held_out)
    assert found.p_value > 0.01
    assert found.verdict.startswith("Most samples are no copies, but look at 1 of them, near-duplicates of a training")


def test_the_images_most_often_copied_come_first(smooth):
    train, held_out, _ = smooth
    picks = torch.tensor([4] * 6 + [9] * 3 + [2])
    index, counts = find(train[picks], train, held_out).most_copied()
    assert index.tolist() == [4, 9, 2] and counts.tolist() == [6, 3, 1]


def test_colour_and_points(smooth):
    g = torch.Generator().manual_seed(0)
    train = torch.rand(200, 3, 8, 8, generator=g)
    found = find(train[:20] * 0.5, train, augment=["flip"])
    assert found.called.all() and found.index.tolist() == list(range(20))
    points = torch.rand(200, 30, generator=g)
    assert find(points[:5] + 1, points).called.all()


def test_stored_images_are_as_tensors(smooth, tmp_path, monkeypatch):
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    train, held_out, new = smooth
    for name, images in (("train", train), ("new", new), ("held", held_out)):
        np.save(tmp_path / f"{name}.npy", images.numpy())
    stored = [gahb.images.stored(tmp_path / f"{name}.npy", SIZE) for name in ("new", "train", "held")]
    found, expected = find(*stored, n_null=300), find(new, train, held_out, n_null=300)
    torch.testing.assert_close(found.similarity, expected.similarity, rtol=0, atol=1e-2)  # bytes
    torch.testing.assert_close(found.null, expected.null, rtol=0, atol=1e-2)


def test_an_interrupted_search_goes_on(smooth, tmp_path, monkeypatch):
    """Stopped after some blocks, in the second tile; the rest is looked at once, and the result is the same."""
    train, held_out, new = smooth
    monkeypatch.setattr(copy_search, "TILE", 4 * SIZE**2 * 500)
    expected = find(new, train, held_out, block=100)
    looked, stops, through, path = [], [7], copy_search.Search.through, tmp_path / "search"

    def stopping(self, images, *arguments, **options):
        for done in through(self, images, *arguments, **options):
            looked.append(done)
            if [len(looked)] == stops:
                stops.clear()
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(copy_search.Search, "through", stopping)
    with pytest.raises(KeyboardInterrupt):
        find(new, train, held_out, block=100, checkpoint=path)
    assert path.exists()
    found = find(new, train, held_out, block=100, checkpoint=path)
    assert looked == [100, 200, 300, 400, 500, 100, 200, 200, 300, 400, 500]
    assert torch.equal(found.similarity, expected.similarity) and torch.equal(found.null, expected.null)
    looked.clear()
    find(new, train, held_out, block=100, checkpoint=path)
    assert looked == []
    find(new[:50], train, held_out, block=100, checkpoint=path)  # another search: from the beginning
    assert looked[0] == 100 and len(looked) > 7
    path.write_text("something else")
    looked.clear()
    find(new[:50], train, held_out, block=500, checkpoint=path)
    assert looked


def test_memory_does_not_grow_with_the_training_set():
    samples, few, many = (torch.rand(n, 1, 8, 8) for n in (64, 2048, 16384))
    held = [peak_memory(lambda x=x: find(samples, x, n_null=200, block=256)) for x in (few, many)]
    assert held[1] <= 1.1 * held[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: find(x, x), ValueError, "samples must be other images than train, got train itself"),
        (lambda x, y: find(y, x, x), ValueError, "held_out must be other images than train, got train itself"),
        (lambda x, y: find(y[..., :3], x), ValueError, r"samples must be \(n, 1, 16, 16\) as train is, got \(9, 1, "),
        (lambda x, y: find(y, x, y[:, 0]), ValueError, r"held_out must be \(n, 1, 16, 16\) as train is, got \(9, 16"),
        (lambda x, y: find(y, x[:1]), ValueError, "train must hold at least 2 images, got 1"),
        (lambda x, y: find(y[:0], x), ValueError, "samples must hold at least 1 image, got 0"),
        (lambda x, y: find(y, x[:60]), ValueError, "train must hold at least 99 images to find what 1 % of n"),
        (lambda x, y: find(y, x, y, level=0.05), ValueError, "held_out must hold at least 19 images .* got 9"),
        (lambda x, y: find(y, x, level=2), ValueError, "level must be a number between 0 and 1, got 2"),
        (lambda x, y: find(y, x, augment="flip"), ValueError, "augment must name some of flip, shift, crop, as a list"),
        (lambda x, y: find(y, x, augment=["turn"]), ValueError, "augment must name some of .* got 'turn'"),
        (lambda x, y: find(y[:, 0, 0], x[:, 0, 0], augment=["flip"]), ValueError, r"augment needs images \(n, C, H"),
        (lambda x, y: find(y, x, n_null=0), ValueError, "n_null must be an integer of at least 1, got 0"),
        (lambda x, y: find(y, x, block=0), ValueError, "block must be an integer of at least 1, got 0"),
        (lambda x, y: find(y.tolist(), x), TypeError, "samples must be a torch tensor or what gahb.images.stored ret"),
        (lambda x, y: find(y * math.nan, x), ValueError, "samples and images must be finite"),
    ],
)  # fmt: skip
def test_refuses(smooth, call, error, message):
    with pytest.raises(error, match=message):
        call(smooth[0][:200], smooth[2][:9])
