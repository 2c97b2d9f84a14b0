"""Patches of photographs: what they depend on, and that test photographs stay apart."""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gahb.images import TEST, TRAIN, centre, crops, photograph, photos


@settings(max_examples=25)
@given(
    n=st.integers(1, 6),
    start=st.integers(0, 10**9),
    size=st.sampled_from([5, 8, 16]),
    split=st.sampled_from(["train", "test"]),
    seed=st.integers(0, 2**63),
    skip=st.integers(0, 5),
)
def test_patch_i_depends_on_seed_and_index_only(n, start, size, split, seed, skip):
    whole = photos(n + skip, size, split=split, seed=seed, start=start)
    assert torch.equal(photos(n, size, split=split, seed=seed, start=start), whole[:n])
    assert torch.equal(photos(n, size, split=split, seed=seed, start=start + skip), whole[skip:])
    assert torch.equal(photos(1, size, split=split, seed=seed, start=start + n - 1), whole[n - 1 : n])


def test_seeds_splits_and_indices_give_other_patches():
    first = photos(4, 16)
    rng, numpy_rng = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for other in (photos(4, 16, seed=1), photos(4, 16, start=4), photos(4, 16, split="test")):
        assert not any(torch.equal(a, b) for a in first for b in other)
    assert torch.equal(rng, torch.get_rng_state())
    assert np.array_equal(numpy_rng, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("split", ["train", "test"])
def test_shape_dtype_and_range(split):
    x = photos(64, 20, split=split)
    assert x.shape == (64, 1, 20, 20) and x.dtype == torch.float32 and x.is_contiguous()
    assert 0 <= x.min() < 0.1 and 0.9 < x.max() <= 1
    levels = x * 255
    assert (levels - levels.round()).abs().max() < 1e-4


def test_no_photograph_is_on_both_sides():
    assert set(TRAIN).isdisjoint(TEST) and len(set(TRAIN + TEST)) == len(TRAIN + TEST)
    pair = {"motorcycle_left.png", "motorcycle_right.png"}
    assert pair <= set(TRAIN) or pair <= set(TEST)
    for name in TRAIN + TEST:
        assert (files("skimage.data") / name).is_file()
    contents = {(files("skimage.data") / name).read_bytes() for name in TRAIN + TEST}
    assert len(contents) == len(TRAIN + TEST)


@cache
def windows(name: str, size: int) -> np.ndarray:
    """Every square of a photograph, (rows, columns, size, size), read independently of the package."""
    with Image.open(str(files("skimage.data") / name)) as file:
        picture = np.asarray(file.convert("L").reduce(2), dtype=np.float32) / 255
    return np.lib.stride_tricks.sliding_window_view(picture, (size, size))


def holders(patch: np.ndarray, names) -> set[str]:
    """Photographs in which the patch is found, in one of its eight positions."""
    found = set()
    last = patch.shape[-1] - 1
    for name in names:
        squares = windows(name, last + 1)
        for k in range(4):
            for turned in (np.rot90(patch, k), np.rot90(patch, k).T):
                corners = squares[:, :, 0, 0] == turned[0, 0]
                for row, column in ((0, last), (last, 0), (last, last)):
                    corners &= squares[:, :, row, column] == turned[row, column]
                if (squares[corners] == turned).all(axis=(1, 2)).any():
                    found.add(name)
    return found


@pytest.mark.parametrize(("split", "own", "others"), [("train", TRAIN, TEST), ("test", TEST, TRAIN)])
def test_patches_come_from_photographs_of_their_split_only(split, own, others):
    seen = set()
    for patch in photos(12, 24, split=split, seed=2).numpy()[:, 0]:
        held = holders(patch, own)
        assert held
        assert not holders(patch, others)
        seen |= held
    assert len(seen) > 2


def test_photographs_are_chosen_in_proportion_to_area_and_turned_every_way(monkeypatch):
    """Plain pictures of known gray stand in: 3/4 and 1/4 of the area; a ramp shows the eight positions."""
    module = sys.modules["gahb.images.photos"]
    ramp = torch.arange(9.0).reshape(1, 3, 3)
    monkeypatch.setattr(module, "_photograph", lambda name: torch.full((1, 30, 60), float(name == TRAIN[0])))
    share = float(photos(900, 3)[:, 0, 0, 0].mean())
    expected = 1 / len(TRAIN)
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 900) ** 0.5
    sides = {name: (20, 30 if name == TRAIN[0] else 10) for name in TRAIN}
    monkeypatch.setattr(module, "_photograph", lambda name: torch.full((1, *sides[name]), float(name == TRAIN[0])))
    share, expected = float(photos(900, 3)[:, 0, 0, 0].mean()), 3 / (2 + len(TRAIN))
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 900) ** 0.5
    monkeypatch.setattr(module, "_photograph", lambda name: ramp)
    kinds, counts = photos(800, 3).flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 8
    assert ((counts - 100).abs() < 4 * (800 * 7 / 64) ** 0.5).all()


def test_places_reach_the_edges(monkeypatch):
    monkeypatch.setattr(
        sys.modules["gahb.images.photos"], "_photograph", lambda name: torch.arange(12.0).reshape(1, 3, 4)
    )
    corners = photos(300, 2).flatten(1).min(dim=1).values.unique()
    assert corners.tolist() == [0, 1, 2, 4, 5, 6]  # upper left corner of each of the six places


@pytest.mark.parametrize("name", TRAIN + TEST)
def test_a_photograph(name):
    x = photograph(name)
    with Image.open(str(files("skimage.data") / name)) as file:
        gray = np.asarray(file.convert("L").reduce(2), dtype=np.float32) / 255
    assert x.dtype == torch.float32 and x.shape[0] == 1
    assert x.shape[1] % 8 == 0 and x.shape[2] % 8 == 0 and min(x.shape[1:]) >= 128
    assert gray.shape[0] - x.shape[1] < 8 and gray.shape[1] - x.shape[2] < 8
    np.testing.assert_array_equal(x[0], gray[: x.shape[1], : x.shape[2]])
    x.zero_()  # a copy: the next caller is not hurt
    assert photograph(name).max() > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: photos(1, 251), "size must be at most 250 for train photographs, got 251"),
        (lambda: photos(1, 151, split="test"), "size must be at most 150 for test photographs, got 151"),
        (lambda: photos(0, 16), "n must be an integer of at least 1, got 0"),
        (lambda: photos(1, 0), "size must be an integer of at least 1, got 0"),
        (lambda: photos(1, 16.0), "size must be an integer of at least 1, got 16.0"),
        (lambda: photos(1, 16, start=-1), "start must be an integer of at least 0, got -1"),
        (lambda: photos(1, 16, seed=-1), "seed must be an integer of at least 0, got -1"),
        (lambda: photos(1, 16, split="val"), "split must be 'train' or 'test', got 'val'"),
        (lambda: photos(1, 16, seed=1 << 64), "seed must be an integer below 2\\*\\*64, got 18446744073709551616"),
        (lambda: photograph(["camera.png"]), r"name must be one of brick.png, .*, got \['camera.png'\]"),
        (lambda: photograph("lena.png"), "name must be one of brick.png, .*, got 'lena.png'"),
        (lambda: photograph("camera.png", multiple=0), "multiple must be an integer of at least 1, got 0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_crops_of_colour_images_keep_their_channels_together():
    grey = photos(3, 40)
    colour = torch.cat([grey, 1 - grey, grey / 2], dim=1)
    cut, of_grey = crops(colour, 20, 12, seed=4), crops(grey, 20, 12, seed=4)
    assert cut.shape == (20, 3, 12, 12)
    assert torch.equal(cut, torch.cat([of_grey, 1 - of_grey, of_grey / 2], dim=1))
    assert torch.equal(crops(colour, 2, 12, seed=4, start=18), cut[18:])


def test_the_largest_sizes_are_allowed():
    assert photos(1, 250).shape == (1, 1, 250, 250)
    assert photos(1, 150, split="test").shape == (1, 1, 150, 150)


def test_centre_is_the_middle_square():
    picture = torch.arange(5 * 8.0).reshape(1, 5, 8)
    assert torch.equal(centre(picture, 2), picture[:, 1:3, 3:5])
    assert torch.equal(centre(picture, 6), picture[:, :, 1:7])


def test_centre_refuses():
    with pytest.raises(TypeError, match="picture must be a torch tensor, got list"):
        centre([[1.0]], 2)
    with pytest.raises(ValueError, match=r"picture must be \(…, H, W\), got shape \(3,\)"):
        centre(torch.rand(3), 2)
    with pytest.raises(ValueError, match="side must be an integer of at least 1, got 0"):
        centre(torch.rand(3, 3), 0)
