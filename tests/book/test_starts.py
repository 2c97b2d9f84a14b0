"""Gaussians from which networks of images that may not be shown start to draw."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb._validate import InputError
from gahb.book import starts


def test_a_start_has_the_mean_and_the_leading_components(tmp_path):
    images = gahb.images.disks(1000, 8)
    whole = gahb.Gaussian.of(images)
    found = starts.read(starts.write(images, tmp_path / "a", {}, components=20))
    torch.testing.assert_close(found.mean, whole.mean, rtol=0, atol=5e-4)
    values, vectors = torch.linalg.eigh(whole.covariance)
    best = (vectors[:, -20:] * values[-20:]) @ vectors[:, -20:].T
    torch.testing.assert_close(found.covariance, best, rtol=0, atol=1e-3 * float(values[-1]))
    assert torch.linalg.matrix_rank(found.covariance, rtol=1e-6) == 20


def test_few_images_are_refused(tmp_path):
    message = r"images must be \(n, C, H, W\) with n of at least 1,000, got \(999, 1, 8, 8\)"
    with pytest.raises(InputError, match=message):
        starts.write(gahb.images.disks(999, 8), tmp_path / "a", {})
    assert list(tmp_path.iterdir()) == []


def test_components_that_would_span_the_images_are_refused(tmp_path):
    images = gahb.images.disks(1000, 16)
    with pytest.raises(InputError, match=r"components must be at most 100, a tenth of the images .*, got 101"):
        starts.write(images, tmp_path / "a", {}, components=101)
    with pytest.raises(InputError, match=r"components must be at most 64, .*, got 100"):
        starts.write(images[..., :8, :8], tmp_path / "a", {})


def test_the_start_of_faces():
    """Of faces of persons whom neither twin saw, and of enough of them that none can be made out."""
    found = starts.of_faces(40)
    assert found.mean.shape == (1, 40, 40) and 0.3 < found.mean.mean() < 0.6
    assert 80 < found.covariance.trace() < 110 and torch.linalg.matrix_rank(found.covariance, rtol=1e-6) == 100
    assert starts.of_faces(39) is None
