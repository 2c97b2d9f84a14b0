r"""The Jacobian of a denoiser, $J = \nabla f(y)$, as a linear map: products with J and its transpose."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from .._points import as_columns, unit_vectors
from .._validate import check_denoises, check_points, sigma_vector
from ..contract import Denoiser, denoise
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
        denoiser whose answer is not finite, or not shaped, typed and placed
        like y.

    Examples
    --------
    >>> import gahb, torch
    >>> A = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    >>> jacobian = gahb.jacobian.Jacobian(lambda y, sigma=None: y @ A.T, torch.zeros(1, 2))
    >>> v = torch.tensor([[[0.0, 1.0]]])  # one direction at one point: (K, B, d)
    >>> jacobian.forward(v), jacobian.transposed(v)
    (tensor([[[1., 1.]]]), tensor([[[0., 1.]]]))
    """

    def __init__(self, denoiser: Denoiser, y: Tensor, sigma: float | Tensor | None = None):
        check_denoises(denoiser)
        check_points("y", y)
        if sigma is not None:
            sigma_vector(sigma, y)
        if not bool(torch.isfinite(y).all()):
            raise ValueError("y must be finite, got NaN or infinity among its values")
        self.y = y.detach()
        self._f = lambda u: denoiser(u, sigma)
        with derivative_settings():
            self._linear = linearize(denoiser, self.y, sigma)
            if self._linear is None:
                denoise(denoiser, self.y, sigma)

    def forward(self, v: Tensor) -> Tensor:
        """J v, (K, B, …)."""
        return self._in_blocks(v, self._linear.forward if self._linear else self._jvp)

    def transposed(self, w: Tensor) -> Tensor:
        """J' w, (K, B, …)."""
        return self._in_blocks(w, self._linear.transposed if self._linear else self._vjp)

    def matrix(self) -> Tensor:
        """J written down (B, d, d): d products, 4 d² bytes a point in float32.

        >>> import gahb, torch
        >>> gahb.jacobian.Jacobian(gahb.Gaussian(torch.zeros(2), torch.eye(2)), torch.zeros(1, 2), 1.0).matrix()
        tensor([[[0.5000, 0.0000],
                 [0.0000, 0.5000]]])
        """
        d, block = self.y[0].numel(), 256
        J = self.y.new_empty(len(self.y), d, d)
        for start in range(0, d, block):
            unit = unit_vectors(self.y, torch.arange(start, min(start + block, d)))
            J[:, :, start : start + block] = as_columns(self.forward(unit))
        return J

    def _in_blocks(self, v: Tensor, product) -> Tensor:
        v = v.expand(len(v), *self.y.shape)
        with derivative_settings():
            return torch.cat([product(part) for part in v.split(block_size(self.y))])

    def _jvp(self, v: Tensor) -> Tensor:
        return vmap(lambda tangent: jvp(self._f, (self.y,), (tangent,))[1])(v)

    def _vjp(self, w: Tensor) -> Tensor:
        return vmap(vjp(self._f, self.y)[1])(w)[0]


def block_size(y: Tensor, budget: int = 2**18) -> int:
    """Directions taken at a time: at most 256 pictures and `budget` values in all."""
    return max(1, min(256 // min(len(y), 256), budget // max(y.numel(), 1)))


@contextmanager
def derivative_settings() -> Iterator[None]:
    """Torch as products with J need it; afterwards as it was.

    Without gradients of its own; without the ten-bit products that CUDA takes
    for float32 by default; attention by its formula, as torch's fused kernels
    have no derivative in forward mode; and compiled networks as they were
    before, as their derivatives would be compiled anew at every point.
    """
    cudnn, matmul, attention = torch.backends.cudnn, torch.backends.cuda.matmul, torch.backends.mha
    before = cudnn.allow_tf32, matmul.allow_tf32, attention.get_fastpath_enabled()
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    attention.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _uncompiled():
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before[:2]
        attention.set_fastpath_enabled(before[2])


def _uncompiled() -> AbstractContextManager:
    """Nothing is compiled inside; where nothing has been compiled before, torch's compiler is not even loaded."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
