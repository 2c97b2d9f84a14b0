r"""Products with the Jacobian of a denoiser, $J = \nabla f(y)$: its trace, and its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from ._validate import check_eval, check_points, positive_int, sigma_vector
from .kernels.linearized import linearize


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


def adaptive_filters(denoiser, y: Tensor, sigma=None, *, pixels) -> Tensor:
    r"""Rows of the Jacobian: the filters $\partial f_i/\partial y$ that make pixel i of the denoised image.

    For a bias-free network $f_i(y) = \langle \partial f_i/\partial y, y\rangle$.

    Parameters
    ----------
    y : images (B, C, H, W).
    pixels : (P, 2) rows and columns, or (P, 3) channels, rows and columns.

    Returns
    -------
    (B, P, C, H, W). ValueError for a pixel outside the image.
    """
    jacobian = Jacobian(denoiser, y, sigma)
    pixels, sizes = torch.as_tensor(pixels).cpu(), torch.tensor(y.shape[1:])
    if y.ndim != 4 or pixels.ndim != 2 or pixels.shape[1] not in (2, 3) or pixels.is_floating_point():
        raise ValueError(f"pixels must be (P, 2) or (P, 3) indices of images, got shape {tuple(pixels.shape)}")
    places = torch.nn.functional.pad(pixels, (3 - pixels.shape[1], 0))
    if bool(((places < 0) | (places >= sizes)).any()):
        raise ValueError(f"pixels must lie inside images of shape {tuple(y.shape[1:])}, got {pixels.tolist()}")
    strides = torch.tensor([y.shape[2] * y.shape[3], y.shape[3], 1])
    return jacobian.transposed(unit_vectors(y, (places * strides).sum(dim=1))).transpose(0, 1)


def divergence(denoiser, y: Tensor, sigma=None, *, probes: int | None = None, seed: int = 0) -> Tensor:
    r"""$\operatorname{tr} \nabla f(y)$ of each point (B,).

    With `probes=None` the exact sum of the d diagonal entries; else
    Hutchinson's estimate $\frac1K\sum_k z_k^\top J z_k$ with K = `probes`
    random sign vectors (Hutchinson 1990; Ramani, Blu & Unser 2008), unbiased.

    Raises ValueError for a network in training mode or `probes` < 1.
    """
    check_points("y", y)
    if sigma is not None:
        sigma_vector(sigma, y)
    total = y.new_zeros(len(y))
    for part, level in batches(len(y), sigma):
        jacobian = Jacobian(denoiser, y[part], level)
        for v in _directions(y, probes, seed):
            total[part] += (v[:, part] * jacobian.forward(v[:, part])).flatten(2).sum(dim=2).sum(dim=0)
    return total if probes is None else total / probes


def effective_dimension(denoiser, y: Tensor, sigma=None, *, probes: int | None = None, seed: int = 0) -> Tensor:
    r"""$\operatorname{tr} \nabla f(y)$ (B,): how many directions the denoiser keeps.

    For an orthogonal projector it is the dimension of the space projected on;
    for $f^\star$ it is $\mathbb E[\|x - f^\star\|^2 \mid y]/\sigma^2$. Arguments
    as in :func:`divergence`; :func:`gahb.trace_estimate` has an error bar.
    """
    return divergence(denoiser, y, sigma, probes=probes, seed=seed)


@dataclass(frozen=True)
class TraceEstimate:
    """Traces of Jacobians, estimated."""

    value: Tensor  #: (B,)
    stderr: Tensor  #: (B,) standard error, from the spread over probes


def trace_estimate(denoiser, y: Tensor, sigma=None, *, products: int = 96, seed: int = 0) -> TraceEstimate:
    r"""$\operatorname{tr} \nabla f(y)$ from few products, with its standard error.

    A third of the products find an orthonormal basis Q of the range of
    $J\,[z_1, z_2, \dots]$, on which the trace is exact; only what is left is
    estimated by random signs:

    $$\operatorname{tr} J = \operatorname{tr} Q^\top J Q
        + \mathbb E\, z^\top (\mathrm{Id} - QQ^\top) J (\mathrm{Id} - QQ^\top) z$$

    (Hutch++: Meyer, Musco, Musco & Woodruff 2021). Unbiased; never of larger
    order than Hutchinson's variance, and far smaller where the spectrum falls.

    `products` with J, an image: at least 6.
    """
    check_points("y", y)
    third = positive_int("products", products, at_least=6) // 3
    rank = min(third, y[0].numel())
    value, stderr = y.new_zeros(len(y)), y.new_zeros(len(y))
    for part, level in batches(len(y), sigma):
        jacobian = Jacobian(denoiser, y[part], level)
        generator = torch.Generator().manual_seed(seed)
        first, probes = (_signs(y, count, generator)[:, part] for count in (rank, third))
        Q = torch.linalg.qr(as_columns(jacobian.forward(first))).Q  # (B, d, rank)
        kept = (Q * as_columns(jacobian.forward(as_block(Q, y[part])))).sum(dim=(1, 2))
        z = as_columns(probes)
        z = z - Q @ (Q.mT @ z)
        rest = (z * as_columns(jacobian.forward(as_block(z, y[part])))).sum(dim=1)  # (B, third)
        value[part], stderr[part] = kept + rest.mean(dim=1), rest.std(dim=1) / math.sqrt(third)
    return TraceEstimate(value, stderr)


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


def _directions(y: Tensor, probes: int | None, seed: int, budget: int = 256):
    """Blocks (K, B, …) of unit vectors e_j, or of random signs, of at most `budget` images."""
    block = max(1, budget // min(len(y), 64))
    d = y[0].numel()
    if probes is None:
        for start in range(0, d, block):
            yield unit_vectors(y, torch.arange(start, min(start + block, d))).expand(-1, *y.shape)
        return
    positive_int("probes", probes)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, probes, block):
        yield _signs(y, min(block, probes - start), generator)


def unit_vectors(y: Tensor, indices: Tensor) -> Tensor:
    """$e_j$ for each of the indices j (K,), shaped like a point of y: (K, 1, …)."""
    unit = y.new_zeros(len(indices), y[0].numel())
    unit[torch.arange(len(indices)), indices] = 1
    return unit.reshape(len(indices), 1, *y.shape[1:])


def _signs(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return (2 * torch.randint(0, 2, (count, *y.shape), generator=generator) - 1).to(y)
