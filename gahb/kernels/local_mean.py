r"""Means whose pixels depend on the pixels about them, as differentiable functions.

A *local* mean is an object with a `name`, ``mean(y, variance)`` (B, C, H, W),
``filters(y, variance)`` (B, C, C · P², HW), which are the derivatives of each
pixel by those of the P × P patch about it, and a `border`. Products with the
Jacobian are filters applied to vectors, in forward and in reverse mode, and
one set of filters serves all vectors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .patch_posterior import cut, extended


class LocalMean(torch.autograd.Function):
    """``apply(y, variance, local)`` → the mean, shaped like y (B, C, H, W); σ² (B,)."""

    @staticmethod
    def forward(y, variance, local):
        return local.mean(y, variance)

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, variance, ctx.local = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, variance)
        ctx.save_for_forward(y, variance)

    @staticmethod
    def backward(ctx, cotangent):
        if ctx.needs_input_grad[1]:
            _refuse(ctx.local, "derivatives in sigma")
        if cotangent is None:
            return None, None, None
        return spread(Filters.apply(*ctx.saved_tensors, ctx.local), cotangent, ctx.local.border), None, None

    @staticmethod
    def jvp(ctx, tangent, variance_tangent, _local):
        if variance_tangent is not None:
            _refuse(ctx.local, "derivatives in sigma")
        return filtered(Filters.apply(*ctx.saved_tensors, ctx.local), tangent, ctx.local.border)

    @staticmethod
    def vmap(info, in_dims, y, variance, local):
        return _flattened(LocalMean, info.batch_size, in_dims, y, variance, local)


class Filters(torch.autograd.Function):
    """``apply(y, variance, local)`` → its filters (B, C, C · P², HW)."""

    @staticmethod
    def forward(y, variance, local):
        return local.filters(y, variance)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.local = inputs[2]

    @staticmethod
    def backward(ctx, _):
        _refuse(ctx.local, "second derivatives")

    @staticmethod
    def jvp(ctx, *_):
        _refuse(ctx.local, "second derivatives")

    @staticmethod
    def vmap(info, in_dims, y, variance, local):
        return _flattened(Filters, info.batch_size, in_dims, y, variance, local)


def filtered(filters: Tensor, v: Tensor, border: str) -> Tensor:
    """The sum over each patch of v (B, C, H, W), by the filters of its middle pixel."""
    windows = cut(extended(v, _patch(filters), border), _patch(filters))  # (B, HW, D)
    return torch.einsum("bcdp,bpd->bcp", filters, windows).reshape(v.shape)


def spread(filters: Tensor, v: Tensor, border: str) -> Tensor:
    """The transpose of `filtered`."""
    patch, (height, width) = _patch(filters), v.shape[2:]
    parts = torch.einsum("bcdp,bcp->bdp", filters, v.flatten(2))
    total = F.fold(parts, (height + patch - 1, width + patch - 1), patch)  # with its border
    return folded(total, patch // 2, border)


def folded(total: Tensor, margin: int, border: str) -> Tensor:
    """Images with a border, whose border is added where it came from, or dropped."""
    if border != "circular" or margin == 0:
        return total[:, :, margin : total.shape[2] - margin, margin : total.shape[3] - margin]
    for axis in (2, 3):
        first, middle, last = total.split([margin, total.shape[axis] - 2 * margin, margin], dim=axis)
        length = middle.shape[axis] - margin
        head, tail = [0, length], [length, 0]
        pad = [0, 0] * (3 - axis)
        total = middle + F.pad(last, pad + head) + F.pad(first, pad + tail)
    return total


def _patch(filters: Tensor) -> int:
    return math.isqrt(filters.shape[2] // filters.shape[1])


def _flattened(function, size: int, in_dims, y: Tensor, variance: Tensor, local):
    """`function` with a vmapped axis of y and σ² merged with the batch."""
    y = y.movedim(in_dims[0], 0) if in_dims[0] is not None else y.expand(size, *y.shape)
    if in_dims[1] is not None:
        variance = variance.movedim(in_dims[1], 0)
    else:
        variance = variance.expand(size, *variance.shape)
    out = function.apply(y.flatten(0, 1), variance.flatten(0, 1), local)
    return out.unflatten(0, (size, y.shape[1])), 0


def _refuse(local, what: str):
    raise NotImplementedError(f"{what} of the {local.name} are not implemented")
