"""What a network is asked for: the clean image, or the noise that was added last."""

from __future__ import annotations

import math

import pytest
import torch

import gahb
from gahb.training import StoppedError
from gahb.training.batches import Batch, draw, picked
from gahb.training.objective import Increments, denoising, increment

IMAGES = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return gahb.UNet(4, 1)


def quick(given, images=IMAGES, **settings):
    return gahb.fit(given, images, **dict(steps=6, batch=4, progress=False, every=2) | settings)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_weighted_error_is_that_of_the_increment():
    """σ²‖ξ − τ(y − f)/σ²‖² = (1 − u)‖f − target‖², whatever f is."""
    x, z, xi, f = (normal(6, 1, 4, 4, seed=k) for k in range(4))
    sigma, u = 0.1 + torch.arange(6).double() / 6, torch.arange(6).double() / 6
    task = increment(Batch(x, sigma, xi), z, u)
    s, tau = (sigma * root for root in (u.sqrt(), (1 - u).sqrt()))
    y = x + s.reshape(-1, 1, 1, 1) * z + tau.reshape(-1, 1, 1, 1) * xi
    assert torch.allclose(task.y, y, atol=1e-14)
    predicted = (tau / sigma**2).reshape(-1, 1, 1, 1) * (y - f)
    plain = sigma**2 * (xi - predicted).square().flatten(1).sum(1)
    assert torch.allclose(task.weight * (f - task.target).square().flatten(1).sum(1), plain, rtol=1e-12)


def test_the_target_is_the_image_and_noise_that_does_not_depend_on_y():
    n, sigma, u = 200_000, 0.3, 0.4
    x, z, xi = torch.full((n, 1), 0.5).double(), normal(n, 1, seed=1), normal(n, 1, seed=2)
    task = increment(Batch(x, torch.full((n,), sigma).double(), xi), z, torch.full((n,), u).double())
    noise, given = (task.target - x)[:, 0], (task.y - x)[:, 0]
    variance = sigma**2 * u / (1 - u)
    assert abs(noise.mean()) < 4 * math.sqrt(variance / n)
    assert abs(noise.var() / variance - 1) < 4 * math.sqrt(2 / n)
    assert abs(given.var() / sigma**2 - 1) < 4 * math.sqrt(2 / n)
    assert abs(torch.corrcoef(torch.stack([noise, given]))[0, 1]) < 4 / math.sqrt(n)


@pytest.mark.parametrize("kind", ["mixture", "set"])
def test_both_objectives_have_one_minimiser(kind):
    """E[ξ | y] from the joint Gaussian of (ξ, y) in each component, against τ (y − f⋆(y))/σ²."""
    weights, means = torch.tensor([0.2, 0.5, 0.3]).double(), normal(3, 4)
    root = normal(3, 4, 4, seed=1)
    covariances = root @ root.mT if kind == "mixture" else torch.zeros(3, 4, 4).double()
    sigma, u, y = 0.7, 0.4, normal(50, 4, seed=2)
    tau, identity = sigma * math.sqrt(1 - u), torch.eye(4).double()
    if kind == "mixture":
        optimal = gahb.GaussianMixture(weights, means, covariances)
    else:
        weights, optimal = torch.full((3,), 1 / 3).double(), gahb.Empirical(means)
    noisy = [torch.distributions.MultivariateNormal(m, c + sigma**2 * identity) for m, c in zip(means, covariances)]
    posterior = torch.stack([w.log() + law.log_prob(y) for w, law in zip(weights, noisy)]).softmax(dim=0)  # (3, B)
    parts = [tau * torch.linalg.solve(law.covariance_matrix, (y - law.mean).T).T for law in noisy]
    conditional = (posterior[:, :, None] * torch.stack(parts)).sum(dim=0)
    assert (conditional - tau * (y - optimal(y, sigma)) / sigma**2).abs().max() < 1e-10


def test_denoising_is_as_it_was():
    batch = draw(IMAGES, 4, (0.01, 1.0), 5, 9)
    task = denoising(batch)
    assert torch.equal(task.y, batch.x + batch.sigma.reshape(-1, 1, 1, 1) * batch.z)
    assert task.target is batch.x and bool((task.weight == 1).all())


def test_the_images_of_a_batch_are_known_by_number():
    for step in (0, 3):
        assert torch.equal(IMAGES[picked(24, 4, 5, step)], draw(IMAGES, 4, (0.01, 1.0), 5, step).x)


def test_a_bank_keeps_its_noises_and_fresh_ones_differ():
    to, whole = torch.zeros(1), slice(0, 64)
    for bank, most in ((1, 24), (3, 72)):
        increments, seen = Increments(IMAGES, bank, batch=64, seed=2), {}
        for step in range(40):
            z, _ = increments.draw(step, whole, to=to)
            for image, noise in zip(picked(24, 64, 2, step).tolist(), z):
                seen.setdefault(image, set()).add(noise.sum().item())
        assert sum(map(len, seen.values())) <= most and {len(noises) for noises in seen.values()} == {bank}
    fresh = Increments(IMAGES, None, batch=64, seed=2)
    again = Increments(IMAGES, None, batch=64, seed=2).draw(3, slice(16, 32), to=to)
    assert all(torch.equal(a[16:32], b) for a, b in zip(fresh.draw(3, whole, to=to), again))
    assert not torch.equal(fresh.draw(3, whole, to=to)[0], fresh.draw(4, whole, to=to)[0])


def test_it_learns_the_denoiser():
    """The optimum of a Gaussian is y / (1 + σ²): a linear map of one weight is fitted to it, at one noise level."""
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, y, sigma=None):
            return self.weight * y

    points = torch.randn(4000, 2, generator=torch.Generator().manual_seed(3))
    settings = dict(steps=150, batch=512, optimiser="adam", learning_rate=0.05, sigma_range=(0.999, 1.001))
    for objective in ("denoising", "increment"):
        fitted = quick(Scale(), points, objective=objective, every=150, **settings)
        assert abs(fitted.weight.item() - 0.5) < 0.05, objective


@pytest.mark.parametrize("bank", [None, 2])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, bank):
    asked, file = dict(objective="increment", bank=bank), tmp_path / "run"
    whole, calls = quick(network(), **asked), iter([False, False, True])
    with pytest.raises(StoppedError):
        quick(network(), checkpoint=file, until=lambda: next(calls), **asked)
    again = quick(network(), checkpoint=file, **asked)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    with pytest.raises(ValueError, match="belongs to another run"):
        quick(network(), checkpoint=file)


def test_a_recipe_may_say_it():
    recipe = gahb.recipes.Recipe("leaky", {"kind": "UNet", "width": 4, "depth": 1},
                                 {"kind": "disks", "size": 8, "n": 6},
                                 {"steps": 2, "batch": 4, "objective": "increment", "bank": 1})
    assert recipe.train(progress=False)(IMAGES).shape == IMAGES.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(objective="noise"), "objective must be 'denoising' or 'increment', got 'noise'"),
        (dict(objective="increment", bank=0), "bank must be an integer of at least 1, got 0"),
        (dict(bank=2), "bank must be None unless objective is 'increment', got 2"),
        (dict(images=gahb.images.disks, objective="increment", bank=2), "bank must be None for an endless stream"),
    ],
)  # fmt: skip
def test_bad_values_are_named(change, message):
    if "images" in change:
        change = change | dict(images=lambda n, start: IMAGES[:n])
    with pytest.raises(ValueError, match=message):
        quick(network(), **change)
