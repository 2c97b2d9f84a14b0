"""Directions of images, and the nearest of them, against dense products."""

from __future__ import annotations

import pytest
import torch

from gahb.kernels.similarity import most_similar, unit


def test_unit_has_mean_zero_and_length_one():
    x = 3 + torch.rand(7, 1, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = unit(x, torch.float64)
    torch.testing.assert_close(u.mean(dim=1), torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(u.norm(dim=1), torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(unit(5 * x - 2, torch.float64), u)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.3, 1.0, 200.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_image_has_no_direction(level, dtype):
    flat = torch.full((1, 1, 33, 31), level, dtype=dtype)
    assert torch.equal(unit(flat, dtype), torch.zeros(1, 1023, dtype=dtype))
    flat[..., 0, 0] += max(level, 1) / 255  # one step of one pixel of a byte image counts
    assert unit(flat, dtype).norm() > 0.99


def test_the_index_is_that_of_the_largest_product_in_any_block():
    g = torch.Generator().manual_seed(1)
    samples, images = torch.randn(9, 20, generator=g), torch.randn(50, 20, generator=g)
    expected = (unit(samples) @ unit(images).T).argmax(dim=1)
    for block in (1, 7, 50, 100):
        assert torch.equal(most_similar(samples, images, block), expected)
