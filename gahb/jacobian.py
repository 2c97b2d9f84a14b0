r"""Products with the Jacobian of a denoiser, $J = \nabla f(y)$, and its trace."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp, vmap

from ._validate import check_eval, check_points, positive_int, sigma_vector


def jacobian_products(denoiser, y: Tensor, sigma, v: Tensor) -> Tensor:
    """$J v$ for K directions at once: `v` (K, B, …) → (K, B, …), by forward mode under vmap."""
    return vmap(lambda tangent: jvp(lambda u: denoiser(u, sigma), (y,), (tangent,))[1])(v)


def divergence(denoiser, y: Tensor, sigma=None, *, probes: int | None = None, seed: int = 0) -> Tensor:
    r"""$\operatorname{tr} \nabla f(y)$ of each point (B,).

    With `probes=None` the exact sum of the d diagonal entries; else
    Hutchinson's estimate $\frac1K\sum_k z_k^\top J z_k$ with K = `probes`
    random sign vectors (Hutchinson 1990; Ramani, Blu & Unser 2008), unbiased.

    Raises ValueError for a network in training mode or `probes` < 1.
    """
    check_eval(denoiser)
    check_points("y", y)
    if sigma is not None:
        sigma_vector(sigma, y)
    total = y.new_zeros(len(y))
    with torch.no_grad():
        for v in _directions(y, probes, seed):
            for part, level in batches(len(y), sigma):
                products = jacobian_products(denoiser, y[part], level, v[:, part])
                total[part] += (v[:, part] * products).flatten(2).sum(dim=2).sum(dim=0)
    return total if probes is None else total / probes


def batches(n: int, sigma, size: int = 64):
    """Slices of at most `size` of n points, each with its share of `sigma` (float, None or (n,) tensor)."""
    for start in range(0, n, size):
        part = slice(start, start + size)
        yield part, sigma[part] if isinstance(sigma, Tensor) and sigma.ndim else sigma


def effective_dimension(denoiser, y: Tensor, sigma=None, *, probes: int | None = None, seed: int = 0) -> Tensor:
    r"""$\operatorname{tr} \nabla f(y)$ (B,): how many directions the denoiser keeps.

    For an orthogonal projector it is the dimension of the space projected on;
    for $f^\star$ it is $\mathbb E[\|x - f^\star\|^2 \mid y]/\sigma^2$. Arguments
    as in :func:`divergence`.
    """
    return divergence(denoiser, y, sigma, probes=probes, seed=seed)


def _directions(y: Tensor, probes: int | None, seed: int, budget: int = 256):
    """Blocks (K, B, …) of unit vectors e_j, or of random signs, of at most `budget` images."""
    block = max(1, budget // min(len(y), 64))
    d = y[0].numel()
    if probes is None:
        for start in range(0, d, block):
            count = min(block, d - start)
            unit = y.new_zeros(count, d)
            unit[torch.arange(count), torch.arange(start, start + count)] = 1
            yield unit.reshape(count, 1, *y.shape[1:]).expand(count, *y.shape)
        return
    positive_int("probes", probes)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, probes, block):
        count = min(block, probes - start)
        bits = torch.randint(0, 2, (count, *y.shape), generator=generator)
        yield (2 * bits - 1).to(y)
