"""A constraint in the loss: what it is, that it pulls, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import gahb
from gahb.training import Constraint
from gahb.zoo.recipes import Recipe

SETTINGS = dict(steps=12, batch=8, seed=3, progress=False, every=5)


def circle(x):
    return x.square().sum(dim=1) - 1


def points(n: int = 200) -> torch.Tensor:
    angles = 2 * math.pi * torch.rand(n, 1, generator=torch.Generator().manual_seed(0))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return gahb.PointNetwork(2, width=16)


def halves(y, sigma=None):
    return y / 2


def test_the_mean_version_by_hand():
    y, sigma = torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([0.5, 2.0])
    value = Constraint(circle, c=3.0)(halves, y, sigma, halves(y))
    assert value.tolist() == pytest.approx([0.0, 3 / (2 * 4) * 9])


def test_the_sample_version_by_hand():
    """ŷ = y/2 + (s/σ) y/2 at s, of which f takes the half."""
    y, sigma, s = torch.tensor([[4.0, 0.0]]), torch.tensor([1.0]), 0.25
    value = Constraint(circle, c=2.0, estimate="sample", sigma_min=s)(halves, y, sigma, halves(y))
    x = (2 + s * 2) / 2
    assert value.item() == pytest.approx((x**2 - 1) ** 2)


@pytest.mark.parametrize("steps", [2, 3, 6])
def test_the_sample_version_is_ddim(steps):
    """The same levels, and the same answers, as `gahb.sample`."""
    exact, start = gahb.Gaussian(torch.tensor([0.3, -0.2]), torch.diag(torch.tensor([0.5, 0.1]))), torch.zeros(20, 2)
    seen = []
    drawn = gahb.sample(exact, 20, (2,), method="ddim", steps=steps, start=start, sigma_range=(0.05, 1.0),
                        callback=lambda step, images, sigma, y, x_hat: seen.append((y, x_hat)), progress=False)
    y, x_hat = seen[0]
    constraint = Constraint(lambda x: x, c=1.0, estimate="sample", steps=steps, sigma_min=0.05)
    found = constraint._sample(exact, y, torch.ones(20), x_hat)
    assert torch.allclose(found, drawn, atol=1e-5)


def test_below_the_last_level_the_sample_is_the_mean():
    y, sigma = torch.ones(1, 2), torch.tensor([0.005])
    a, b = (Constraint(circle, 1.0, estimate=e)(lambda v, s: v, y, sigma, y) for e in ("mean", "sample"))
    assert torch.allclose(a, b)


def test_an_inequality_does_not_punish_what_holds():
    inside = Constraint(circle, c=1.0, kind="inequality")
    assert inside.squares(torch.tensor([[0.5, 0.0], [2.0, 0.0]])).tolist() == [0.0, 9.0]


@pytest.mark.parametrize("estimate", ["mean", "sample"])
def test_it_pulls_images_to_the_law(estimate):
    """The law is that the first coordinate is 0; the points do not obey it."""
    constraint = Constraint(lambda x: x[:, :1], c=10.0, estimate=estimate, sigma_min=0.3)
    how = dict(steps=60, batch=64, optimiser="adam", learning_rate=0.01, sigma_range=(0.3, 1.0))
    y = points() + 0.5 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    sigma = torch.full((200,), 0.5)
    values = []
    for penalty in (None, constraint):
        f = gahb.fit(network(), points(), **SETTINGS | how, penalty=penalty)
        values.append(constraint(f, y, sigma, f(y, sigma)).mean().item())
    assert values[1] < values[0] / 4


def test_none_is_no_penalty_and_a_function_will_do():
    fits = [gahb.fit(network(), points(), **SETTINGS, **more) for more in ({}, {"penalty": None})]
    fits.append(gahb.fit(network(), points(), **SETTINGS, penalty=lambda f, y, sigma, x_hat: 0 * sigma))
    a, *others = (list(f.parameters()) for f in fits)
    assert all(torch.equal(p, q) for other in others for p, q in zip(a, other))


def test_a_checkpoint_knows_its_constraint(tmp_path):
    file = tmp_path / "run.safetensors"
    gahb.fit(network(), points(), **SETTINGS, checkpoint=file, penalty=Constraint(circle, 1.0))
    with pytest.raises(ValueError, match="belongs to another run: .*circle equality c=1 mean"):
        gahb.fit(network(), points(), **SETTINGS, checkpoint=file, penalty=Constraint(circle, 2.0))
    gahb.fit(network(), points(), **SETTINGS, checkpoint=file, penalty=Constraint(circle, 1.0))


@pytest.mark.parametrize(
    ("error", "change", "message"),
    [
        (TypeError, dict(residual=3), "residual must be a function of images, got int"),
        (ValueError, dict(c=0.0), "c must be a positive number, got 0.0"),
        (ValueError, dict(c=math.nan), "c must be a positive number, got nan"),
        (ValueError, dict(estimate="median"), "estimate must be 'mean' or 'sample', got 'median'"),
        (ValueError, dict(kind="less"), "kind must be 'equality' or 'inequality', got 'less'"),
        (ValueError, dict(steps=1), "steps must be an integer of at least 2, got 1"),
        (ValueError, dict(sigma_min=-1), "sigma_min must be a positive number, got -1"),
    ],
)
def test_what_a_constraint_refuses(error, change, message):
    with pytest.raises(error, match=message):
        Constraint(**dict(residual=circle, c=1.0) | change)


@pytest.mark.parametrize(
    ("error", "penalty", "message"),
    [
        (TypeError, 3.0, r"penalty must be a gahb.training.Constraint or a function .*, got float"),
        (ValueError, lambda f, y, s, x: x, r"penalty must return a tensor \(B,\), .* got shape \(1, 2\) for B = 1"),
        (ValueError, lambda f, y, s, x: 1.0, r"penalty must return a tensor \(B,\), .* got float"),
    ],
)
def test_what_fit_refuses(error, penalty, message):
    with pytest.raises(error, match=message):
        gahb.fit(network(), points(), **SETTINGS, penalty=penalty)


# --- recipes --------------------------------------------------------------------------------


def recipe(**penalty) -> Recipe:
    return Recipe(
        name="tiny",
        network={"kind": "UNet", "width": 4, "depth": 1, "channels": 2},
        images={"kind": "darcy", "size": 16, "n": 6},
        training={"steps": 2, "batch": 4} | ({"penalty": penalty} if penalty else {}),
    )


def test_a_recipe_names_its_residual():
    plain, other = recipe(), recipe(residual="darcy", c=1e-6, estimate="sample")
    assert plain.hash != other.hash
    a, b = (r.train(progress=False) for r in (plain, other))
    x = other.test_images(2)
    assert x.shape == (2, 2, 16, 16) and not torch.equal(a(x), b(x))


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (dict(residual="stokes", c=1.0), "penalty must be a mapping whose residual is one of darcy, got"),
        (dict(residual="darcy", c=-1.0), "recipe tiny: training.c must be a positive number, got -1.0"),
    ],
)
def test_what_a_recipe_refuses(penalty, message):
    with pytest.raises(ValueError, match=message):
        recipe(**penalty)
