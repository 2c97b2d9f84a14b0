"""The stored answers of the C^α optimum: how they are kept, and that they are right."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb._validate import InputError
from gahb.book.optimum import Answers, Question, answered, answers, compute

SMALL = Question(4, 2.0, sigmas=(0.5,), count=2)


def test_answers_are_kept_and_gone_on_with(tmp_path):
    assert compute([SMALL], minutes=0, folder=tmp_path) == 2
    with pytest.raises(InputError, match="tools/optimum.py --sizes 4 --alphas 2"):
        answers(4, 2.0, folder=tmp_path)
    assert compute([SMALL], count=1, folder=tmp_path) == 0
    before = answers(4, 2.0, folder=tmp_path)
    assert len(before.images) == 1 == answered(4, 2.0, folder=tmp_path)
    assert compute([SMALL], count=2, folder=tmp_path) == 0
    assert len(answers(4, 2.0, count=1, folder=tmp_path).images) == 1
    found = answers(4, 2.0, folder=tmp_path)
    assert found.question == SMALL and found.mean.shape == (1, 2, 1, 4, 4)
    assert torch.equal(found.mean[:, :1], before.mean)
    assert torch.equal(found.images, gahb.images.c_alpha(2, 4, 2.0, start=1 << 31))
    # the same noisy images, and so the same errors, as a PSNR curve has
    curve = gahb.psnr_curve(SMALL.denoiser(), found.images, SMALL.sigmas, seed=SMALL.noise_seed)
    torch.testing.assert_close(found.per_image, curve.per_image, rtol=0, atol=3e-5)
    assert (found.error < SMALL.accuracy * found.variance).all()
    with pytest.raises(InputError, match="answers another question"):
        compute([Question(4, 2.0, sigmas=(0.2,), count=2)], folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["calpha-4px-2.safetensors"]


@pytest.mark.parametrize("size", [20, 32])
def test_the_noise_does_not_depend_on_how_many_images_are_taken(size):
    """psnr_curve draws it for all of its images at once."""
    few = torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Question(size, 2.0).noise()[:3], few)


def test_the_answers_of_the_book_are_what_is_computed_now():
    """The first image, at the largest noise level: equal to the integration error of both."""
    kept = answers(32, 2.0)
    level = kept.question.sigmas.index(1.0)
    y = kept.images[:1] + kept.question.noise()[:1]
    found = gahb.OptimalCAlpha(32, 2.0, accuracy=0.03).integrate(y, 1.0)
    difference = (found.mean - kept.mean[level, :1]).square().mean()
    assert difference < 4 * (kept.error[level, 0] + found.error)
    assert (kept.error.sum(dim=1) < 0.02 * kept.variance.sum(dim=1)).all()


def test_the_risk_of_a_denoiser_given_y():
    """A denoiser that is off by 0.3 has that square for its distance, less the error of the integration."""
    question = Question(4, 2.0, sigmas=(0.5, 1.0), count=2)
    images, zero = question.images(), torch.zeros(2, 2, dtype=torch.float64)
    mean = torch.stack([images + 0.25 * sigma * question.noise() for sigma in question.sigmas])
    kept = Answers(question, images, mean, zero + 0.01, zero + 0.2)
    found = kept.distance(lambda y, sigma=None: images + 0.25 * (y - images) + 0.3)
    torch.testing.assert_close(found, zero + 0.09 - 0.01, rtol=0, atol=1e-6)
    found = kept.risk(lambda y, sigma=None: images + 0.25 * (y - images) + 0.3)
    torch.testing.assert_close(found, zero + 0.2 + 0.08, rtol=0, atol=1e-6)
    found = kept.differences(lambda y, sigma=None: y)
    expected = torch.stack([0.75 * sigma * question.noise() for sigma in question.sigmas])
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)


def test_the_answers_agree_with_what_the_squared_errors_say():
    """Given y, the mean squared error is the posterior variance."""
    kept = answers(32, 2.0)
    ratio = kept.per_image.mean() / kept.variance.mean()
    assert 0.6 < ratio < 1.5
