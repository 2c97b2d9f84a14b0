"""Neural fields: what a render is, that it does not depend on how it is asked for, and what is refused."""

from __future__ import annotations

import pytest
import torch

import gahb


@pytest.fixture(scope="module")
def field():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return gahb.NeuralField(latents=2, width=6).eval()


@pytest.fixture(scope="module")
def z():
    return torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def by_hand(field, z, row, column, side):
    """One pixel of each image, by the formula: nearest place, relative position, side in units of the grid."""
    g, features = z.shape[-1], field.decoder(z)
    i, j = min(int(g * row), g - 1), min(int(g * column), g - 1)
    about = [2 * (g * row - i) - 1, 2 * (g * column - j) - 1, g * side][: 2 + field.cell]
    h = features[:, :, i, j] + field.place(torch.tensor(about))
    return field.renderer(h[:, :, None, None])[:, 0, 0, 0]


@pytest.mark.parametrize("cell", [True, False])
@torch.no_grad()
def test_a_render_is_the_formula_at_every_pixel(z, cell):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        field = gahb.NeuralField(latents=2, width=4, cell=cell).eval()
    size = 7  # pixels that lie on no regular part of the grid
    picture = field.render(z, size)
    assert picture.shape == (3, 1, 7, 7)
    for i in range(size):
        for j in range(size):
            expected = by_hand(field, z, (i + 0.5) / size, (j + 0.5) / size, 1 / size)
            assert torch.allclose(picture[:, 0, i, j], expected, atol=1e-5), (i, j)


@torch.no_grad()
def test_a_crop_is_a_part_of_the_whole(field, z):
    whole, at = field.render(z, 16), (torch.arange(16) + 0.5) / 16
    assert torch.allclose(field.pixels(z, at[3:9], at[5:12], 1 / 16), whole[:, :, 3:9, 5:12], atol=1e-6)
    rows, columns = torch.stack([at[k : k + 4] for k in (0, 5, 12)]), torch.stack([at[k : k + 4] for k in (9, 1, 0)])
    crops = field.pixels(z, rows, columns, torch.full((3,), 1 / 16))  # a place of its own for each image
    for k, (i, j) in enumerate([(0, 9), (5, 1), (12, 0)]):
        assert torch.allclose(crops[k], whole[k, :, i : i + 4, j : j + 4], atol=1e-6)
    assert field.pixels(z, torch.ones(1), torch.ones(1), 0.1).shape == (3, 1, 1, 1)  # the far corner


@torch.no_grad()
def test_only_a_field_that_is_told_the_side_depends_on_it(field, z):
    at, blind = torch.tensor([0.3, 0.6]), gahb.NeuralField(2, 6, cell=False).eval()
    assert not torch.allclose(field.pixels(z, at, at, 0.01), field.pixels(z, at, at, 0.2))
    assert torch.equal(blind.pixels(z, at, at, 0.01), blind.pixels(z, at, at, 0.2))


@torch.no_grad()
def test_latents_are_images_of_half_the_size(field):
    x = gahb.images.disks(4, 12)
    z = field.encode(x)
    assert z.shape == (4, 2, 6, 6) and 0 < float(z.min()) < float(z.max()) < 1
    assert torch.equal(field(x), field.render(z, 12)) and field(x, 5).shape == (4, 1, 5, 5)
    assert torch.allclose(field.encode(x[2:3])[0], z[2], atol=1e-6)  # each by itself


def test_gradients_reach_the_latents(field, z):
    z = z.clone().requires_grad_()
    (g,) = torch.autograd.grad(field.render(z, 9).square().sum(), z)
    assert bool((g != 0).any())


def test_a_size_outside_the_training_says_so(field, z):
    field = gahb.NeuralField(2, 6)
    field.render(z, 90)  # an untrained field has no range
    field.sizes.copy_(torch.tensor([20.0, 80.0]))
    field.render(z, 20), field.render(z, 80)
    for size in (19, 81):
        with pytest.warns(UserWarning, match=f"size {size} is outside the 20 to 80 pixels that this field was trained"):
            field.render(z, size)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, z: gahb.NeuralField(latents=0), "latents must be an integer of at least 1, got 0"),
        (lambda f, z: gahb.NeuralField(width=1.5), "width must be an integer of at least 1, got 1.5"),
        (lambda f, z: gahb.NeuralField(cell=1), "cell must be True or False, got 1"),
        (lambda f, z: f.encode(torch.rand(2, 1, 5, 6)), r"x must be \(B, 1, H, W\) with H and W divisible by 2"),
        (lambda f, z: f.encode(torch.rand(2, 3, 6, 6)), r"x must be \(B, 1, H, W\).*got \(2, 3, 6, 6\)"),
        (lambda f, z: f.encode(255 * torch.ones(2, 1, 6, 6)), r"x must have values in \[0, 1\], got values from 255"),
        (lambda f, z: f.render(z, 0), "size must be an integer of at least 1, got 0"),
        (lambda f, z: f.render(z[:, :1], 8), r"z must be latents \(B, 2, g, g\), got \(3, 1, 5, 5\)"),
        (lambda f, z: f.render(z[:, :, :4], 8), r"z must be latents \(B, 2, g, g\), got \(3, 2, 4, 5\)"),
        (lambda f, z: f.render(None, 8), "z must be latents .* got NoneType"),
        (lambda f, z: f.pixels(z, torch.tensor([1.1]), torch.tensor([0.5]), 0.1),
         r"rows must be in \[0, 1\], in sides of the image, got 1.1 to 1.1"),
        (lambda f, z: f.pixels(z, torch.tensor([0.5]), torch.tensor([float("nan")]), 0.1),
         r"columns must be in \[0, 1\]"),
        (lambda f, z: f.pixels(z, torch.rand(2, 4), torch.rand(4), 0.1), r"rows must be centres \(R,\) or \(3, R\)"),
        (lambda f, z: f.pixels(z, torch.rand(4), torch.rand(4), 0.0), "side must be a positive number, got 0.0"),
    ],
)
def test_what_is_refused(field, z, call, message):
    with pytest.raises(ValueError, match=message):
        call(field, z)
