r"""Posterior mean and covariance of a finite set of images, streamed.

For the density $\frac1N\sum_i \delta_{x_i}$ seen through Gaussian noise, the
posterior weights of $y$ are a softmax,

$$w_i(y) \propto \exp\bigl(-\|y - x_i\|^2 / 2\sigma^2\bigr), \qquad
  f^\star(y) = \sum_i w_i x_i, \qquad
  \nabla f^\star(y) = \tfrac1{\sigma^2} \sum_i w_i (x_i - f^\star)(x_i - f^\star)^\top .$$

The images are read block by block, twice for a Jacobian product, so that
memory does not grow with N in forward or in reverse mode. Log-weights are
of order $d/\sigma^2$ and differ by order one where weights are truly mixed;
they are computed in float64 from centred images, whatever the dtype of `y`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_NO_SIGMA = "derivatives of the empirical optimum in sigma are not implemented"


class PosteriorMean(torch.autograd.Function):
    """``apply(y, images, centre, variance, block)`` → $f^\\star(y)$, shaped like y (B, d), float64.

    `images` is (N, d) of any dtype, `centre` (d,) float64, `variance` σ² (B,)
    float64. Its forward and reverse derivatives are the product with the
    posterior covariance over σ² (which is symmetric).
    """

    @staticmethod
    def forward(y, images, centre, variance, block):
        _, mean = _pass(y - centre, images, centre, variance, block)
        return mean + centre

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, images, centre, variance, block = inputs
        ctx.block = block
        ctx.set_materialize_grads(False)  # else forward mode makes zeros as large as the images
        ctx.save_for_backward(y, images, centre, variance)
        ctx.save_for_forward(y, images, centre, variance)

    @staticmethod
    def backward(ctx, cotangent):
        if ctx.needs_input_grad[3]:
            raise NotImplementedError(_NO_SIGMA)
        if cotangent is None:
            return None, None, None, None, None
        product = CovarianceProduct.apply(*ctx.saved_tensors, cotangent[:, None], ctx.block)[:, 0]
        return product, None, None, None, None

    @staticmethod
    def jvp(ctx, tangent, _images, _centre, variance_tangent, _block):
        if variance_tangent is not None:
            raise NotImplementedError(_NO_SIGMA)
        return CovarianceProduct.apply(*ctx.saved_tensors, tangent[:, None], ctx.block)[:, 0]

    @staticmethod
    def vmap(info, in_dims, y, images, centre, variance, block):
        y, variance, restore = _flatten(info.batch_size, in_dims[0], y, in_dims[3], variance)
        return restore(PosteriorMean.apply(y, images, centre, variance, block)), 0


class CovarianceProduct(torch.autograd.Function):
    """``apply(y, images, centre, variance, v, block)`` → $\\mathrm{Cov}[x|y]\\,v/\\sigma^2$ for v (B, K, d)."""

    @staticmethod
    def forward(y, images, centre, variance, v, block):
        return _covariance_product(y, images, centre, variance, v, block)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, _):
        raise NotImplementedError("second derivatives of the empirical optimum are not implemented")

    @staticmethod
    def jvp(ctx, *_):
        raise NotImplementedError("second derivatives of the empirical optimum are not implemented")

    @staticmethod
    def vmap(info, in_dims, y, images, centre, variance, v, block):
        size = info.batch_size
        v = v.movedim(in_dims[4], 0) if in_dims[4] is not None else v.expand(size, *v.shape)
        if in_dims[0] is None and in_dims[3] is None:  # one set of weights serves all directions
            many = v.movedim(0, 1)  # (B, size, K, d)
            product = CovarianceProduct.apply(y, images, centre, variance, many.flatten(1, 2), block)
            return product.unflatten(1, many.shape[1:3]), 1
        y, variance, restore = _flatten(size, in_dims[0], y, in_dims[3], variance)
        return restore(CovarianceProduct.apply(y, images, centre, variance, v.flatten(0, 1), block)), 0


def _flatten(size, y_dim, y, variance_dim, variance):
    """Merge a vmapped axis with the batch axis of y and σ²; and the way back."""
    y = y.movedim(y_dim, 0) if y_dim is not None else y.expand(size, *y.shape)
    if variance_dim is None:
        variance = variance.expand(size, *variance.shape)
    else:
        variance = variance.movedim(variance_dim, 0)
    batch = y.shape[1]
    return y.flatten(0, 1), variance.flatten(0, 1), lambda out: out.unflatten(0, (size, batch))


def _blocks(images: Tensor, centre: Tensor, block: int) -> Iterator[Tensor]:
    for start in range(0, len(images), block):
        yield images[start : start + block].to(centre) - centre  # (n, d) float64


def _logits(y: Tensor, x: Tensor, variance: Tensor) -> Tensor:
    """log-weights up to what is common to all images; y, x centred.  (B, n)"""
    return (y @ x.T - 0.5 * x.square().sum(dim=1)) / variance[:, None]


def _pass(y, images, centre, variance, block) -> tuple[Tensor, Tensor]:
    """Log-partition (B,) and posterior mean (B, d) of the centred images: an online softmax."""
    top = y.new_full((len(y),), -torch.inf)
    total = y.new_zeros(len(y))
    mean = torch.zeros_like(y)
    for x in _blocks(images, centre, block):
        logits = _logits(y, x, variance)
        new_top = torch.maximum(top, logits.amax(dim=1))
        weights = torch.exp(logits - new_top[:, None])
        scale = torch.exp(top - new_top)
        total = total * scale + weights.sum(dim=1)
        mean = mean * scale[:, None] + weights @ x
        top = new_top
    return top + total.log(), mean / total[:, None]


def _covariance_product(y, images, centre, variance, v, block) -> Tensor:
    """Cov[x|y] v / σ² for v (B, K, d)."""
    y = y - centre
    partition, mean = _pass(y, images, centre, variance, block)
    shift = (v * mean[:, None]).sum(dim=2, keepdim=True)  # (B, K, 1)
    product, mass = torch.zeros_like(v), torch.zeros_like(shift)
    for x in _blocks(images, centre, block):
        weights = torch.exp(_logits(y, x, variance) - partition[:, None])  # (B, n)
        coefficients = (v @ x.T - shift) * weights[:, None]  # (B, K, n)
        product = product + coefficients @ x
        mass = mass + coefficients.sum(dim=2, keepdim=True)
    return (product - mass * mean[:, None]) / variance[:, None, None]
