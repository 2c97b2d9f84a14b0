r"""Traces of Jacobians, $\operatorname{tr} \nabla f(y)$: exact, or estimated from few products."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._points import as_block, as_columns, batches, unit_vectors
from .._text import listed, plus_minus
from .._validate import check_points, positive_int, sigma_vector
from ..contract import Denoiser
from .operator import Jacobian


def divergence(
    denoiser: Denoiser, y: Tensor, sigma: float | Tensor | None = None, *, probes: int | None = None, seed: int = 0
) -> Tensor:
    r"""$\operatorname{tr} \nabla f(y)$ of each point (B,).

    With `probes=None` the exact sum of the d diagonal entries; else
    Hutchinson's estimate $\frac1K\sum_k z_k^\top J z_k$ with K = `probes`
    random sign vectors (Hutchinson 1990; Ramani, Blu & Unser 2008), unbiased.

    Raises ValueError for a network in training mode or `probes` < 1.

    Examples
    --------
    >>> import gahb, torch
    >>> A = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    >>> gahb.jacobian.divergence(lambda y, sigma=None: y @ A.T, torch.zeros(1, 2))
    tensor([3.])
    >>> gahb.jacobian.divergence(lambda y, sigma=None: y @ A.T, torch.zeros(1, 2), probes=10_000).round()
    tensor([3.])
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


def effective_dimension(
    denoiser: Denoiser, y: Tensor, sigma: float | Tensor | None = None, *, probes: int | None = None, seed: int = 0
) -> Tensor:
    r"""$\operatorname{tr} \nabla f(y)$ (B,): how many directions the denoiser keeps.

    For an orthogonal projector it is the dimension of the space projected on;
    for $f^\star$ it is $\mathbb E[\|x - f^\star\|^2 \mid y]/\sigma^2$. Arguments
    as in :func:`divergence`; :func:`gahb.trace_estimate` has an error bar.

    Examples
    --------
    The optimal denoiser of images near a plane keeps two dimensions:

    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(16), torch.diag((torch.arange(16) < 2).float()))
    >>> gahb.effective_dimension(f, torch.zeros(1, 16), sigma=0.1).round(decimals=2)
    tensor([1.9800])
    """
    return divergence(denoiser, y, sigma, probes=probes, seed=seed)


@dataclass(frozen=True, repr=False)
class TraceEstimate:
    """Traces of Jacobians, estimated.

    From :func:`gahb.trace_estimate`.

    >>> import gahb, torch
    >>> estimate = gahb.trace_estimate(gahb.BFCNN(4, 3).eval(), torch.rand(2, 1, 8, 8), products=12)
    >>> estimate.value.shape, estimate.stderr.shape
    (torch.Size([2]), torch.Size([2]))
    >>> gahb.trace_estimate(gahb.Gaussian(torch.zeros(4), torch.eye(4)), torch.zeros(2, 4), 1.0, products=12)
    <TraceEstimate at 2 points: 2, 2>
    """

    value: Tensor  #: (B,)
    stderr: Tensor  #: (B,) standard error, from the spread over probes

    def __repr__(self) -> str:
        n = len(self.value)
        found = listed([plus_minus(*each) for each in zip(self.value.tolist(), self.stderr.tolist())])
        return f"<TraceEstimate at {n:,} point{'s' * (n != 1)}: {found}>"


def trace_estimate(
    denoiser: Denoiser, y: Tensor, sigma: float | Tensor | None = None, *, products: int = 96, seed: int = 0
) -> TraceEstimate:
    r"""$\operatorname{tr} \nabla f(y)$ from few products, with its standard error.

    A third of the products find an orthonormal basis Q of the range of
    $J\,[z_1, z_2, \dots]$, on which the trace is exact; only what is left is
    estimated by random signs:

    $$\operatorname{tr} J = \operatorname{tr} Q^\top J Q
        + \mathbb E\, z^\top (\mathrm{Id} - QQ^\top) J (\mathrm{Id} - QQ^\top) z$$

    (Hutch++: Meyer, Musco, Musco & Woodruff 2021). Unbiased; never of larger
    order than Hutchinson's variance, and far smaller where the spectrum falls.

    `products` with J, an image: at least 6.

    ValueError for a network in training mode or `products` < 6.

    Examples
    --------
    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(100), torch.diag(0.5 ** torch.arange(100.0)))
    >>> estimate = gahb.trace_estimate(f, torch.zeros(1, 100), sigma=0.1, products=30)
    >>> exact = gahb.effective_dimension(f, torch.zeros(1, 100), sigma=0.1)
    >>> bool((estimate.value - exact).abs() < 4 * estimate.stderr)
    True
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


def _signs(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return (2 * torch.randint(0, 2, (count, *y.shape), generator=generator) - 1).to(y)
