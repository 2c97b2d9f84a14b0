"""The fused kernel in Triton's interpreter, on the CPU, against the torch version; on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import gahb

pytest.importorskip("triton", reason="Triton is not installed (pip install triton, on Linux)")

# points, images, pixels, dtype: less than a tile, a tile and more, a share that ends within a tile, near-duplicates
SCRIPT = """
import torch
from gahb.kernels.posterior import _pass
from gahb.kernels.posterior_triton import posterior_mean

g = torch.Generator().manual_seed(0)
for points, count, d, dtype, sigma in [(3, 1, 5, torch.float32, 0.5), (17, 70, 40, torch.float32, 0.7),
                                       (3, 1100, 33, torch.uint8, 0.6), (2, 40, 1024, torch.float64, 0.01)]:
    x = torch.rand(count, d, generator=g, dtype=torch.float64)
    if sigma == 0.01:
        x = x[:1] + 0.01 * torch.nn.functional.normalize(torch.randn(count, d, generator=g, dtype=torch.float64), dim=1)
    scale = 255 if dtype == torch.uint8 else 1
    images = (scale * x).to(dtype)
    y = (scale * (x[:1] + sigma * torch.randn(points, d, generator=g, dtype=torch.float64))).float().double()
    variance = torch.full((points,), (scale * sigma) ** 2, dtype=torch.float64)
    centre = images.double().mean(dim=0)
    expected = _pass(y - centre, images, centre, variance, 64)[1] + centre
    out = posterior_mean(y, images, variance)
    assert out.shape == y.shape and out.dtype == torch.float64
    error = float((out - expected).norm() / expected.norm())
    nearest = images[torch.cdist(y, images.double()).argmin(dim=1)].double()
    moved = float((nearest - expected).norm() / expected.norm())
    print(error, moved)
    assert error < 1e-6 and (count == 1 or moved > 1e-4), (points, count, d, error, moved)
"""


def test_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 4


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    images = gahb.images.disks(5000, 32)
    for sigma in (0.01, 0.3, 3.0):
        y = images[:20] + sigma * torch.randn(20, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        expected = gahb.Empirical(images)(y.double(), sigma)
        out = gahb.Empirical(images.cuda())(y.cuda(), sigma).cpu()
        assert (out - expected).norm() < 1e-5 * expected.norm()
