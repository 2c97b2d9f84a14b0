r"""The Jacobian of a denoiser, $J = \nabla f(y)$, as a linear map: products with J and its transpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from .._validate import check_eval, check_points, sigma_vector
from .linearized import linearize


class Jacobian:
    r"""$J = \nabla f(y)$ of a denoiser at points y (B, …), as a linear map on blocks (K, B, …).

    Networks made of convolutions, poolings and ReLUs are linearised at y once,
    so that a product costs one pass; of other denoisers, `torch.func` makes
    the products. A block may be (K, 1, …): the same direction at every point.

    Raises
    ------
    ValueError
        for a network in training mode, y that is not finite, sigma ≤ 0, and a
        denoiser that does not return the shape of y.
    """

    def __init__(self, denoiser, y: Tensor, sigma=None):
        check_eval(denoiser)
        check_points("y", y)
        if sigma is not None:
            sigma_vector(sigma, y)
        if not bool(torch.isfinite(y).all()):
            raise ValueError("y must be finite, got NaN or infinity among its values")
        self.y = y.detach()
        self._f = lambda u: denoiser(u, sigma)
        with full_precision():
            self._linear = linearize(denoiser, self.y, sigma)
            shape = self.y.shape if self._linear else self._f(self.y).shape
        if shape != y.shape:
            raise ValueError(f"denoiser must return the shape of y, {tuple(y.shape)}, got {tuple(shape)}")

    def forward(self, v: Tensor) -> Tensor:
        """J v, (K, B, …)."""
        return self._in_blocks(v, self._linear.forward if self._linear else self._jvp)

    def transposed(self, w: Tensor) -> Tensor:
        """J' w, (K, B, …)."""
        return self._in_blocks(w, self._linear.transposed if self._linear else self._vjp)

    def _in_blocks(self, v: Tensor, product) -> Tensor:
        v = v.expand(len(v), *self.y.shape)
        with full_precision():
            return torch.cat([product(part) for part in v.split(block_size(self.y))])

    def _jvp(self, v: Tensor) -> Tensor:
        return vmap(lambda tangent: jvp(self._f, (self.y,), (tangent,))[1])(v)

    def _vjp(self, w: Tensor) -> Tensor:
        return vmap(vjp(self._f, self.y)[1])(w)[0]


def block_size(y: Tensor, budget: int = 2**18) -> int:
    """Directions taken at a time: at most 256 pictures and `budget` values in all."""
    return max(1, min(256 // min(len(y), 256), budget // max(y.numel(), 1)))


@contextmanager
def full_precision() -> Iterator[None]:
    """Without gradients, and without the ten-bit products that CUDA takes for float32 by default."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        with torch.no_grad():
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def batches(n: int, sigma, size: int = 64):
    """Slices of at most `size` of n points, each with its share of `sigma` (float, None or (n,) tensor)."""
    for start in range(0, n, size):
        part = slice(start, start + size)
        yield part, sigma[part] if isinstance(sigma, Tensor) and sigma.ndim else sigma


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
