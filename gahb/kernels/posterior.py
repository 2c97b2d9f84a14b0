r"""Posterior mean and covariance of a finite set of images, streamed.

For the density $\frac1N\sum_i \delta_{x_i}$ seen through Gaussian noise, the
posterior weights of $y$ are a softmax,

$$w_i(y) \propto \exp\bigl(-\|y - x_i\|^2 / 2\sigma^2\bigr), \qquad
  f^\star(y) = \sum_i w_i x_i, \qquad
  \nabla f^\star(y) = \tfrac1{\sigma^2} \sum_i w_i (x_i - f^\star)(x_i - f^\star)^\top .$$

The images are read block by block, twice for a Jacobian product, so that
memory does not grow with N in forward or in reverse mode.

Log-weights are of order $d/\sigma^2$ and differ by order one where weights
are truly mixed. Float64 of centred images resolves them; it serves points in
float64, and all derivatives. For other points the block's products are taken
in float32, whose error is bounded, and most images are then out of the
question: those that are left are weighed and averaged in float64. Only where
they are many, and float32 resolves their weights, does it weigh them too:
many share the weight where σ is large, and there it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch import Tensor

from .posterior_mean import Symmetric

# log-weights are taken from float32 if √d u |x| (|y| + |x|) / σ² is less; the error met is a tenth of that or less
RESOLVED = 2e-2


class EmpiricalPosterior(Symmetric):
    """The posterior of images (N, d) of any dtype, read `block` at a time (see `optimum`).

    `centre` (d,) float64 is taken from images and points; y and σ² are
    float64. `exact` is float64 throughout.
    """

    name = "empirical optimum"

    def __init__(self, images: Tensor, centre: Tensor, block: int, *, exact: bool):
        self.images, self.centre, self.block, self.exact = images, centre, block, exact

    def mean(self, y: Tensor, variance: Tensor) -> Tensor:
        """$f^\\star(y)$ (B, d)."""
        if not self.exact and _fused(y, self.images):
            from .posterior_triton import posterior_mean

            return posterior_mean(y, self.images, variance)
        run = _pass if self.exact or len(y) == 0 else _fast_pass
        return run(y - self.centre, self.images, self.centre, variance, self.block)[1] + self.centre

    def covariance_product(self, y: Tensor, variance: Tensor, v: Tensor) -> Tensor:
        """$\\mathrm{Cov}[x|y]\\,v/\\sigma^2$ for v (B, K, d)."""
        y = y - self.centre
        partition, mean = _pass(y, self.images, self.centre, variance, self.block)
        shift = (v * mean[:, None]).sum(dim=2, keepdim=True)  # (B, K, 1)
        product, mass = torch.zeros_like(v), torch.zeros_like(shift)
        for x in _blocks(self.images, self.centre, self.block):
            weights = torch.exp(_logits(y, x, variance) - partition[:, None])  # (B, n)
            coefficients = (v @ x.T - shift) * weights[:, None]  # (B, K, n)
            product = product + coefficients @ x
            mass = mass + coefficients.sum(dim=2, keepdim=True)
        return (product - mass * mean[:, None]) / variance[:, None, None]


def _fused(y: Tensor, images: Tensor) -> bool:
    """Whether the Triton kernel serves: all on one GPU, and images that fit on its chip."""
    return y.is_cuda and images.is_cuda and y.shape[1] <= 2048 and find_spec("triton") is not None


def _blocks(images: Tensor, centre: Tensor, block: int) -> Iterator[Tensor]:
    for start in range(0, len(images), block):
        yield images[start : start + block].to(centre) - centre  # (n, d) float64


def _logits(y: Tensor, x: Tensor, variance: Tensor) -> Tensor:
    """log-weights up to what is common to all images; y, x centred.  (B, n)"""
    return (y @ x.T - 0.5 * x.square().sum(dim=1)) / variance[:, None]


class _Softmax:
    """An online softmax: log-weights are shifted by the largest that was met.

    Sums are kept in `parts` of d: of few rows times a block, BLAS divides the rows among its threads,
    and each of them reorders the whole block; a batch is divided by parts.
    """

    def __init__(self, y: Tensor):
        self.top = y.new_full((len(y),), -torch.inf)
        self.total = y.new_zeros(len(y))
        self.parts = math.gcd(y.shape[1], 8)
        parts = y.new_zeros(self.parts, len(y), y.shape[1] // self.parts)
        self.sums = {dtype: parts.to(dtype, copy=True) for dtype in (torch.float64, torch.float32)}

    def add(self, logits: Tensor, x: Tensor) -> None:
        """Images x with `logits`, which are overwritten."""
        top = torch.maximum(self.top, logits.amax(dim=1))
        top = top.to(logits.dtype).to(self.top)  # a number of both dtypes: no more than a common shift
        weights = logits.sub_(top.to(logits)[:, None]).clamp_(min=-80).exp_()  # subnormal numbers are slow
        scale = torch.exp(self.top - top)
        self.top, self.total = top, self.total * scale + weights.sum(dim=1)
        if bool((scale < 1).any()):
            for total in self.sums.values():
                total.mul_(scale.to(total)[:, None])
        x = x.unflatten(1, (self.parts, -1)).transpose(0, 1)  # (parts, n, d / parts)
        self.sums[x.dtype].baddbmm_(weights.expand(self.parts, -1, -1), x)

    def result(self) -> tuple[Tensor, Tensor]:
        """Log-partition (B,) and posterior mean (B, d)."""
        sums = sum(self.sums.values()).transpose(0, 1).flatten(1)
        return self.top + self.total.log(), sums / self.total[:, None]


def _pass(y, images, centre, variance, block) -> tuple[Tensor, Tensor]:
    """Log-partition and posterior mean of the centred images, in float64."""
    softmax = _Softmax(y)
    for x in _blocks(images, centre, block):
        softmax.add(_logits(y, x, variance), x)
    return softmax.result()


def _fast_pass(y, images, centre, variance, block) -> tuple[Tensor, Tensor]:
    """The same, float32 products first.

    With $u = 2^{-24}$ and any order of summation, a score $\\langle y, x\\rangle - \\|x\\|^2/2$ is off by
    at most $(d + 8)\\,u\\,\\|x\\|(\\|y\\| + \\|x\\|)$ (Higham 2002, section 3.1); the error met is
    a tenth of $\\sqrt d\\,u\\,\\|x\\|(\\|y\\| + \\|x\\|)$ or less.
    """
    softmax, dense, d = _Softmax(y), False, y.shape[1]
    margin = (17 + math.log(len(images))) * variance  # what is left out weighs less than float32 rounding
    small, small_centre, small_variance = y.float(), centre.float(), variance.float()[:, None]
    lengths = torch.linalg.vector_norm(y, dim=1)
    longest, least = float(lengths.nan_to_num(0, 0).max()), float(variance.min())  # of points that are finite
    buffer, scores_buffer = small.new_empty(block, d), small.new_empty(block, len(y))  # new pages are slow
    for start in range(0, len(images), block):
        raw = images[start : start + block].to(y.device)
        x = torch.sub(raw, small_centre, out=buffer[: len(raw)])
        sizes = torch.linalg.vector_norm(x, dim=1)
        scores = torch.addmm(-0.5 * sizes.square()[:, None], x, small.T, out=scores_buffer[: len(raw)]).T
        size = float(sizes.max())
        rounding = 2.0**-24 * size * (longest + size)
        resolved = math.sqrt(d) * rounding / least < RESOLVED
        if not (resolved and dense):
            best = torch.maximum(scores.amax(dim=1).double(), softmax.top * variance)
            near = (scores >= (best - margin - 2 * (d + 8) * rounding).float()[:, None]).any(dim=0)
            count = int(near.sum())
            dense = 4 * count > len(raw)
        if resolved and dense:
            softmax.add(scores.div_(small_variance), x)
        elif count:
            x = raw[near].double() - centre
            softmax.add(_logits(y, x, variance), x)
    return softmax.result()
