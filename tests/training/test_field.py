"""Fitting a neural field: what a step sees, that it learns and goes on where it was stopped, and what is refused."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb.training import StoppedError
from gahb.training.field import _loss

HOW = dict(size=8, sizes=[8, 12], steps=6, batch=4, crop=6, seed=3, every=2, progress=False)


def disks(n, start, size):
    return gahb.images.disks(n, size, start=start)


def field(width: int = 6) -> gahb.NeuralField:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return gahb.NeuralField(2, width)


def weights(network) -> torch.Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def test_it_learns_the_images_and_knows_its_sizes():
    log = []
    fitted = gahb.fit_field(field(), disks, **HOW | dict(steps=90, batch=8, every=30), log=log)
    assert not fitted.training and fitted.sizes.tolist() == [8, 12]
    assert [line["step"] for line in log] == [30, 60, 90] and log[-1]["images"] == 720
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    x, truth = disks(32, 10**6, 8), disks(32, 10**6, 12)
    grey = (truth - truth.mean()).abs().mean()
    assert (fitted(x, 12) - truth).abs().mean() < 0.7 * grey  # new images


def test_the_loss_is_that_of_the_rendered_crop():
    """With no noise on the latents, and a crop as large as the picture, it is the mean absolute error of renders."""
    network, settings = field(), dict(size=8, sizes=[8], batch=4, crop=8, seed=0, latent_noise=0.0)
    x = disks(4, 4, 8)  # the second step takes the next four
    with torch.no_grad():
        expected = (network(x) - x).abs().mean()
        assert torch.allclose(_loss(network, disks, settings, 1), expected)


def test_a_step_depends_on_the_seed_and_its_number_only():
    first, again, other = (gahb.fit_field(field(), disks, **HOW | dict(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(weights(first), weights(again)) and not torch.equal(weights(first), weights(other))


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path):
    path, whole, part = tmp_path / "there", [], []
    expected = gahb.fit_field(field(), disks, **HOW, log=whole)
    left = iter([False, False, True])
    with pytest.raises(StoppedError, match="stopped at step 3 of 6"):
        gahb.fit_field(field(), disks, **HOW, checkpoint=path, until=lambda: next(left))
    resumed = gahb.fit_field(field(), disks, **HOW, checkpoint=path, log=part)
    assert torch.equal(weights(resumed), weights(expected))
    assert [line["loss"] for line in part] == [line["loss"] for line in whole]
    with pytest.raises(ValueError, match="belongs to another run"):
        gahb.fit_field(field(), disks, **HOW | dict(crop=5), checkpoint=path)


def test_what_the_monitor_says_is_in_the_log():
    log = []
    gahb.fit_field(field(), disks, **HOW, log=log, monitor=lambda network: {"trains": network.training})
    assert [line["trains"] for line in log] == [False] * 3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (dict(images=None), TypeError, r"images must be a function \(n, start, size\) → images, got NoneType"),
        (dict(images=lambda n, start, size: 2 + torch.zeros(n, 1, size, size)), ValueError, r"values in \[0, 1\]"),
        (dict(images=lambda n, start, size: torch.zeros(n, 1, 8, 9)), ValueError,
         r"images\(n, start, size\) must return \(1, 1, 8, 8\), got \(1, 1, 8, 9\)"),
        (dict(size=7), ValueError, "size must be divisible by 2, got 7"),
        (dict(size=0), ValueError, "size must be an integer of at least 1, got 0"),
        (dict(sizes=[]), ValueError, "sizes must be a sequence of sizes in pixels, at least one"),
        (dict(sizes="20"), ValueError, "sizes must be a sequence of sizes in pixels"),
        (dict(sizes=[8.5]), ValueError, "sizes must be an integer of at least 1, got 8.5"),
        (dict(crop=9), ValueError, "crop must be at most the smallest of sizes, 8, got 9"),
        (dict(steps=0), ValueError, "steps must be an integer of at least 1, got 0"),
        (dict(seed=-1), ValueError, "seed must be an integer of at least 0, got -1"),
        (dict(latent_noise=-1), ValueError, "latent_noise must be a positive number, got -1"),
        (dict(learning_rate=0), ValueError, "learning_rate must be a positive number, got 0"),
        (dict(optimiser="sgd"), ValueError, "optimiser must be 'muon' or 'adam', got 'sgd'"),
    ],
)
def test_what_is_refused(changes, error, message):
    arguments = HOW | dict(images=disks) | changes
    with pytest.raises(error, match=message):
        gahb.fit_field(field(), arguments.pop("images"), **arguments)
