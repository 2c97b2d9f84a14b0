r"""The posterior average as one fused Triton kernel.

A program holds 16 points and goes through its share of the images, 16 at a
time: distances, an online softmax, and the weighted sum, while the tile is on
the chip. Each image is so brought in once for every 16 points, and looked at
twice, for its distance and for the sum. (The sums of 64 points of 1,024 pixels
would take all the registers of a multiprocessor. Programs of one share stand
side by side in the grid, so that what the first brings from memory the others
can find in the cache.) The shares' averages are merged at the end.

Distances are sums of squared differences, in float32 within a chunk of pixels
and float64 across chunks: their error is relative to $\|y - x\|^2$, so that
log-weights near the top are right to about $d\,2^{-24}$ at every σ, without
the cancellation of $\|y\|^2 - 2\langle y, x\rangle + \|x\|^2$.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._validate import require_extra

require_extra("gpu", "the fused kernel of the empirical optimum", "triton")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

POINTS, IMAGES, CHUNK, SHARES = 16, 16, 32, 64


@triton.jit
def _share(
    y, x, precision, top_out, total_out, mean_out, n_points, n_images, share, d,
    WIDE: tl.constexpr, POINTS: tl.constexpr, IMAGES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    part = tl.program_id(1)
    here = rows < n_points
    pixels = tl.arange(0, WIDE)
    scale = tl.load(precision + rows, mask=here, other=0.0)  # 1 / 2σ²
    top = tl.full((POINTS,), float("-inf"), tl.float64)
    total = tl.zeros((POINTS,), tl.float64)
    mean = tl.zeros((POINTS, WIDE), tl.float32)
    last = tl.minimum(n_images, (part + 1) * share)
    for first in range(part * share, last, IMAGES):
        columns = first + tl.arange(0, IMAGES)
        inside = columns < last
        begin = x + columns.to(tl.int64)[:, None] * d
        distance = tl.zeros((POINTS, IMAGES), tl.float64)
        for chunk in range(0, d, CHUNK):
            k = chunk + tl.arange(0, CHUNK)[None, :]
            a = tl.load(y + rows[:, None] * d + k, mask=here[:, None] & (k < d), other=0.0)
            b = tl.load(begin + k, mask=inside[:, None] & (k < d), other=0.0).to(tl.float32)
            away = a[:, None, :] - b[None, :, :]
            distance += tl.sum(away * away, axis=2).to(tl.float64)
        logits = tl.where(inside[None, :], -distance * scale[:, None], float("-inf"))
        new_top = tl.maximum(top, tl.max(logits, axis=1))
        weights = tl.exp((logits - new_top[:, None]).to(tl.float32))
        shrink = tl.exp((top - new_top).to(tl.float32))
        tile = tl.load(begin + pixels[None, :], mask=inside[:, None] & (pixels < d)[None, :], other=0.0)
        mean = mean * shrink[:, None] + tl.dot(weights, tile.to(tl.float32), input_precision="ieee")
        total = total * shrink + tl.sum(weights, axis=1)
        top = new_top
    out = part * n_points + rows
    tl.store(top_out + out, top, mask=here)
    tl.store(total_out + out, total, mask=here)
    tl.store(mean_out + out.to(tl.int64)[:, None] * d + pixels[None, :], mean,
             mask=here[:, None] & (pixels < d)[None, :])  # fmt: skip


def posterior_mean(y: Tensor, images: Tensor, variance: Tensor) -> Tensor:
    """$f^\\star(y)$ (B, d) float64, of y (B, d) with σ² `variance` (B,) and images (N, d), d ≤ 2,048."""
    (points, d), count = y.shape, len(images)
    share = triton.cdiv(triton.cdiv(count, SHARES), IMAGES) * IMAGES
    parts = triton.cdiv(count, share)
    top, total = (y.new_empty(parts, points, dtype=torch.float64) for _ in range(2))
    mean = y.new_empty(parts, points, d, dtype=torch.float32)
    _share[(triton.cdiv(points, POINTS), parts)](
        y.float().contiguous(), images.contiguous(), 0.5 / variance, top, total, mean, points, count, share, d,
        WIDE=max(16, triton.next_power_of_2(d)), POINTS=POINTS, IMAGES=IMAGES, CHUNK=CHUNK, num_warps=8,
    )  # fmt: skip
    scale = torch.exp(top - top.amax(dim=0))  # (parts, B)
    return (scale[:, :, None] * mean).sum(dim=0) / (scale * total).sum(dim=0)[:, None]
