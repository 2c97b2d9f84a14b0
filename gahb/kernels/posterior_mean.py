r"""Posterior means as differentiable functions, by the products with their Jacobian that each can form.

A *posterior* is an object with a `name`, ``mean(y, variance)`` → $f^\star(y)$,
shaped like y, and ``product(y, variance, v)`` and ``transposed(y, variance,
v)``, the Jacobian and its transpose times v, shaped like y. Most get the two
from one of these:

- `Symmetric`: the Jacobian is $\mathrm{Cov}[x|y]/\sigma^2$, and the posterior has
  ``covariance_product(y, variance, v)``, which is it times v (B, K, d).
- `gahb.kernels.local_mean.Local`: every pixel depends on a patch about it.
"""

from __future__ import annotations

import torch


class PosteriorMean(torch.autograd.Function):
    """``apply(y, variance, posterior)`` → $f^\\star(y)$, shaped like y (B, …); σ² (B,)."""

    @staticmethod
    def forward(y, variance, posterior):
        return posterior.mean(y, variance)

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, variance, ctx.posterior = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, variance)
        ctx.save_for_forward(y, variance)

    @staticmethod
    def backward(ctx, cotangent):
        if ctx.needs_input_grad[1]:
            _refuse_sigma(ctx.posterior)
        if cotangent is None:
            return None, None, None
        return ctx.posterior.transposed(*ctx.saved_tensors, cotangent), None, None

    @staticmethod
    def jvp(ctx, tangent, variance_tangent, _posterior):
        if variance_tangent is not None:
            _refuse_sigma(ctx.posterior)
        return ctx.posterior.product(*ctx.saved_tensors, tangent)

    @staticmethod
    def vmap(info, in_dims, y, variance, posterior):
        y, variance, restore = flattened(info.batch_size, in_dims[0], y, in_dims[1], variance)
        return restore(PosteriorMean.apply(y, variance, posterior)), 0


class Derivative(torch.autograd.Function):
    """Something of the Jacobian of the posterior that is the last argument; not differentiable itself."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.posterior = inputs[-1]

    @staticmethod
    def backward(ctx, _):
        _refuse_second(ctx.posterior)

    @staticmethod
    def jvp(ctx, *_):
        _refuse_second(ctx.posterior)


class Symmetric:
    """Products of a posterior that has a `covariance_product`: one serves forward and reverse mode."""

    def product(self, y, variance, v):
        return CovarianceProduct.apply(y, variance, v[:, None], self)[:, 0]

    transposed = product


class CovarianceProduct(Derivative):
    """``apply(y, variance, v, posterior)`` → $\\mathrm{Cov}[x|y]\\,v/\\sigma^2$ for v (B, K, d)."""

    @staticmethod
    def forward(y, variance, v, posterior):
        return posterior.covariance_product(y, variance, v)

    @staticmethod
    def vmap(info, in_dims, y, variance, v, posterior):
        size = info.batch_size
        v = v.movedim(in_dims[2], 0) if in_dims[2] is not None else v.expand(size, *v.shape)
        if in_dims[0] is None and in_dims[1] is None:  # one posterior serves all directions
            many = v.movedim(0, 1)  # (B, size, K, d)
            product = CovarianceProduct.apply(y, variance, many.flatten(1, 2), posterior)
            return product.unflatten(1, many.shape[1:3]), 1
        y, variance, restore = flattened(size, in_dims[0], y, in_dims[1], variance)
        return restore(CovarianceProduct.apply(y, variance, v.flatten(0, 1), posterior)), 0


def flattened(size, y_dim, y, variance_dim, variance):
    """Merge a vmapped axis with the batch axis of y and σ²; and the way back."""
    y = y.movedim(y_dim, 0) if y_dim is not None else y.expand(size, *y.shape)
    if variance_dim is None:
        variance = variance.expand(size, *variance.shape)
    else:
        variance = variance.movedim(variance_dim, 0)
    batch = y.shape[1]
    return y.flatten(0, 1), variance.flatten(0, 1), lambda out: out.unflatten(0, (size, batch))


def _refuse_sigma(posterior):
    raise NotImplementedError(f"derivatives of the {posterior.name} in sigma are not implemented")


def _refuse_second(posterior):
    raise NotImplementedError(f"second derivatives of the {posterior.name} are not implemented")
