"""Batches of points (B, …): taken in parts, made noisy, written as the columns of a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def batches(n: int, sigma, size: int = 64) -> Iterator[tuple[slice, float | Tensor | None]]:
    """Slices of at most `size` of n points, each with its share of `sigma` (float, None or (n,) tensor)."""
    for start in range(0, n, size):
        part = slice(start, start + size)
        yield part, sigma_of(sigma, part)


def sigma_of(sigma, points) -> float | Tensor | None:
    """The noise levels of some of the points, where `sigma` has one for each."""
    return sigma[points] if isinstance(sigma, Tensor) and sigma.ndim else sigma


def per_point(values: Tensor, y: Tensor) -> Tensor:
    """`values` (B,) as (B, 1, …, 1), to be multiplied with points y (B, …)."""
    return values.reshape(-1, *[1] * (y.ndim - 1))


def noisy_batches(
    x: Tensor, sigmas: Iterable[float], *, seed: int, batch: int
) -> Iterator[tuple[float, Iterator[tuple[Tensor, Tensor]]]]:
    r"""For each noise level, (σ, pairs of clean points and $y = x + \sigma z$, at most `batch` at a time).

    One unit noise z, drawn from `seed`, serves all levels and all denoisers:
    whatever is measured on these points is paired.
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x)
    for sigma in sigmas:
        yield sigma, ((clean, clean + sigma * noise) for clean, noise in zip(x.split(batch), z.split(batch)))


def as_columns(block: Tensor) -> Tensor:
    """(K, B, …) → (B, d, K)."""
    return block.flatten(2).permute(1, 2, 0)


def as_block(columns: Tensor, y: Tensor) -> Tensor:
    """(B, d, K) → (K, B, …), each direction shaped like a point of y."""
    return columns.permute(2, 0, 1).reshape(-1, *y.shape)


def unit_vectors(y: Tensor, indices: Tensor) -> Tensor:
    """$e_j$ for each of the indices j (K,), shaped like a point of y: (K, 1, …)."""
    unit = y.new_zeros(len(indices), y[0].numel())
    unit[torch.arange(len(indices)), indices] = 1
    return unit.reshape(len(indices), 1, *y.shape[1:])
