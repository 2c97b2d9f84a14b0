"""Segments are where the geometry says, and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch

import gahb
from gahb.denoisers.bandlet import Geometry


def geometry(angle: float | None, side: int = 4, size: int = 16) -> Geometry:
    """One level of a size × size image: a flow in the first square of the first subband."""
    half = size // 2
    sides, angles = torch.ones(1, 3, half, half), torch.full((1, 3, half, half), math.nan)
    if angle is not None:
        sides[:, 0, :side, :side], angles[:, 0, :side, :side] = side, angle
    return Geometry(torch.zeros(1), [sides], [angles])


@pytest.mark.parametrize(("angle", "direction"), [(0.0, (0, 1)), (math.pi / 2, (1, 0)), (math.pi / 4, (1, 1))])
def test_a_segment_follows_its_flow(angle, direction):
    drawn = gahb.widgets.flow_lines(geometry(angle), torch.full((1, 1, 16, 16), 0.5), zoom=4)
    assert drawn.shape == (1, 1, 64, 64)
    places = (drawn[0, 0] == 0).nonzero().double()
    assert torch.all(places < 32)  # a square of 4 coefficients is 8 pixels, each drawn 4 wide
    torch.testing.assert_close(places.mean(0), torch.full((2,), 15.5, dtype=torch.float64), atol=0.1, rtol=0)
    spread = torch.linalg.eigh(places.T.cov())
    along = spread.eigenvectors[:, 1].abs()
    torch.testing.assert_close(along, torch.nn.functional.normalize(torch.tensor(direction).double(), dim=0),
                               atol=0.02, rtol=0)
    assert spread.eigenvalues[1] > 20 * spread.eigenvalues[0]


def test_without_flows_there_is_only_a_faint_image():
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    drawn = gahb.widgets.flow_lines(geometry(None), x, zoom=2)
    torch.testing.assert_close(drawn[..., ::2, 1::2], 0.35 + 0.4 * x)


def test_the_geometry_of_bandlets_fits():
    x = gahb.images.c_alpha(2, 32, 2)
    drawn = gahb.widgets.flow_lines(gahb.Bandlet("haar").geometry(x, 0.05), x)
    assert drawn.shape == (2, 1, 128, 128)
    assert drawn.min() == 0 and drawn.max() == 1  # segments of the finest level, and of others
    with pytest.raises(ValueError, match="geometry must be of images of shape"):
        gahb.widgets.flow_lines(gahb.Bandlet("haar").geometry(x, 0.05), x[..., :16, :16])
