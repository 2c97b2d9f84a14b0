"""Which of many images are near-duplicates: against plain loops over all correlations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gahb
from gahb.images import duplicates
from gahb.images.duplicates import distinct


def test_duplicates_are_found_across_blocks_and_compared_with_kept_ones_only():
    """In a chain a ~ b ~ c with a ≁ c, b goes and c stays; against a loop over all pairs."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 20))
    turn = [np.cos(t) * a + np.sin(t) * b for t in (0, 0.25, 0.5, 0.75, 1.0)]  # neighbours correlate by 0.97
    images = np.stack([np.clip(128 + 25 * t, 0, 255).astype(np.uint8) for t in turn] * 3)[:, None]
    signature = images.reshape(15, -1).astype(float)
    kept: list[int] = []
    for i in range(15):
        if all(abs(np.corrcoef(signature[i], signature[j])[0, 1]) <= 0.95 for j in kept):
            kept.append(i)
    assert kept == [0, 2, 4]
    for block in (1, 2, 4, 100):
        assert distinct(images, False, block=block).nonzero()[0].tolist() == kept


def test_of_plain_images_one_is_kept():
    pattern = np.random.default_rng(0).integers(0, 256, (8, 8))
    images = np.stack([np.full((8, 8), v) for v in (0, 0, 90, 255)] + [pattern]).astype(np.uint8)[:, None]
    assert distinct(images, False).tolist() == [True, False, False, False, True]
    colours = np.array([[255, 0, 0], [0, 0, 255], [9, 9, 9]], dtype=np.uint8)[:, :, None, None] * np.ones((8, 8))
    assert distinct(colours.astype(np.uint8), False).tolist() == [True, False, False]


def test_by_bounds_the_same_images_are_kept_as_by_all_correlations(monkeypatch):
    """900 images of which many correlate by 0.85 to 1 with another one, at 20×20."""
    monkeypatch.setattr(duplicates, "_FEW", 0)
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.normal(size=(300, 5, 5)), np.ones((4, 4)))
    near = smooth[rng.integers(0, 300, 300)] + rng.uniform(0.1, 0.6, (300, 1, 1)) * rng.normal(size=(300, 20, 20))
    other = rng.normal(size=(300, 20, 20))
    every = rng.permutation(np.concatenate([smooth, near, -other]))
    images = np.clip(128 + 30 * every, 0, 255).astype(np.uint8)[:, None]
    correlation = np.abs(np.corrcoef(images.reshape(len(images), -1)))
    kept = np.zeros(len(images), dtype=bool)
    for i in range(len(images)):
        kept[i] = not (correlation[i, :i][kept[:i]] > 0.95).any()
    assert 600 < kept.sum() < 890
    np.testing.assert_array_equal(distinct(images, False, block=128), kept)
    signature = duplicates._signatures(torch.from_numpy(images))
    upper, lower = duplicates._bounds(signature)
    assert upper.shape == (900, 49)
    assert (signature @ signature.T <= upper @ upper.T + 1e-5).all()
    assert (signature @ signature.T >= lower @ upper.T - 1e-5).all()


def test_pairs_name_the_earlier_image(monkeypatch):
    """Across blocks and with bounds; a copy of a copy is paired with the image that stays."""
    images = torch.rand(2500, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    copies = {2300: 40, 2301: 40, 1500: 1499, 5: 3}
    for copy, original in copies.items():
        images[copy] = 0.5 * images[original] + 0.2
    expected = sorted(([copy, original] for copy, original in copies.items()))
    for few in (4096, 0):
        monkeypatch.setattr(duplicates, "_FEW", few)
        assert gahb.images.near_duplicates(images, progress=False).tolist() == expected
    assert gahb.images.near_duplicates(images[:3], progress=False).shape == (0, 2)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.rand(3, 8, 8), {}, r"images must be \(n, C, H, W\) with n ≥ 1, got \(3, 8, 8\)"),
        (torch.rand(0, 1, 8, 8), {}, r"images must be .* got \(0, 1, 8, 8\)"),
        (torch.rand(3, 1, 8, 8), {"threshold": 1.5}, "threshold must lie between 0 and 1, got 1.5"),
    ],
)
def test_refuses(images, options, message):
    with pytest.raises(ValueError, match=message):
        gahb.images.near_duplicates(images, **options)
