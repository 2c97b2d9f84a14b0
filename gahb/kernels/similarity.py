"""The image with the largest mean-removed cosine, among many: streamed, block by block."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(n, d) images, each less its own mean, over their norms; a constant image becomes 0."""
    away, inverse = _centred(images.flatten(1).to(dtype))
    return away * inverse[:, None]


def most_similar(samples: Tensor, images: Tensor, block: int) -> Tensor:
    """Index (n,) of the image whose cosine with each of the samples is largest, to float32 rounding."""
    directions = unit(samples)
    best = directions.new_full((len(samples),), -torch.inf)
    index = torch.zeros(len(samples), dtype=torch.long, device=samples.device)
    buffer = directions.new_empty(min(block, len(images)), directions.shape[1])
    for start in range(0, len(images), block):
        x = images[start : start + block].flatten(1).to(directions)
        away, inverse = _centred(x, out=buffer[: len(x)])
        here, place = (directions @ away.T).mul_(inverse).max(dim=1)
        if not torch.isfinite(here).all():
            raise ValueError("samples and images must be finite")
        index = torch.where(here > best, place + start, index)
        best = torch.maximum(here, best)
    return index


def _centred(x: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x (n, d) less the mean of each row, and 1 / norm of that (n,), 0 where only rounding is left."""
    mean = x.mean(dim=1)
    away = torch.sub(x, mean[:, None], out=out)
    norm = torch.linalg.vector_norm(away, dim=1)
    rounding = 1e-5 * torch.hypot(norm, math.sqrt(x.shape[1]) * mean)  # 1e-5 of the norm of x
    return away, torch.where(norm > rounding, 1 / norm, 0)
