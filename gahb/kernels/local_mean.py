"""Posterior means whose pixels depend on the patches about them: products with their Jacobian, by filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .patch_posterior import cut, extended
from .posterior_mean import Derivative, flattened


class Local:
    """Products of a posterior that has a `border` and ``filters(y, variance)`` (B, C, C · P², HW).

    The filters are the derivatives of each pixel by those of the P × P patch
    about it: one set of them serves all vectors, forward and in reverse.
    """

    def product(self, y, variance, v):
        return filtered(Filters.apply(y, variance, self), v, self.border)

    def transposed(self, y, variance, v):
        return spread(Filters.apply(y, variance, self), v, self.border)


class Filters(Derivative):
    """``apply(y, variance, posterior)`` → its filters (B, C, C · P², HW)."""

    @staticmethod
    def forward(y, variance, posterior):
        return posterior.filters(y, variance)

    @staticmethod
    def vmap(info, in_dims, y, variance, posterior):
        y, variance, restore = flattened(info.batch_size, in_dims[0], y, in_dims[1], variance)
        return restore(Filters.apply(y, variance, posterior)), 0


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
