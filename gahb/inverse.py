r"""Linear measurements of images, $v = A x$ with orthonormal rows, and the denoiser of what they leave open.

A measurement here is a linear function of images (B, …) to values (B, …), or a
matrix (m, d). With $A A^\top = \mathrm{Id}$ its transpose $A^\top v$ is the
shortest image with these values. The best estimate of x from a noisy image y
*and* the values is, where x given y is Gaussian,

$$\mathbb E[x \mid y, v] = f(y) + K\,(v - A f(y)), \qquad
  K = J A^\top (A J A^\top)^{-1}, \quad J = \nabla f(y),$$

as $\mathrm{Cov}[x \mid y] = \sigma^2 J$. It is a denoiser again, so that every
sampler draws from the law of the images that have these values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import vjp

from ._points import per_point
from ._validate import positive_int
from .contract import Denoiser, denoise
from .jacobian import Jacobian
from .kernels.counter import normal

Measure = Callable[[Tensor], Tensor]

GAINS = ("covariance", "adjoint")
_MOST = 200  # products with the Jacobian for one answer


def inpainting(mask: Tensor) -> Measure:
    """The pixels where `mask`, of the shape of an image, is true: (B, \\*shape) → (B, m).

    TypeError for a mask that is not boolean, ValueError for one that is nowhere true.

    >>> import gahb, torch
    >>> measure = gahb.inverse.inpainting(torch.tensor([[True, False], [False, True]]))
    >>> measure(torch.arange(4.0).reshape(1, 2, 2))
    tensor([[0., 3.]])
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"mask must be a boolean tensor of the shape of an image, got {_what(mask)}")
    if not mask.any():
        raise ValueError(f"mask must be true at one pixel at least, got none of {mask.numel()}")
    places = mask.flatten().nonzero()[:, 0]

    def measure(x: Tensor) -> Tensor:
        return x.flatten(1)[:, places.to(x.device)]

    return measure


def block_means(factor: int) -> Measure:
    r"""`factor` times the means of squares of `factor` × `factor` pixels: (B, C, H, W) → (B, C, H/factor, W/factor).

    The factor makes the rows orthonormal. ValueError for a factor below 1; in a
    call, for sides that it does not divide.

    >>> import gahb, torch
    >>> gahb.inverse.block_means(2)(torch.ones(1, 1, 4, 4))
    tensor([[[[2., 2.],
              [2., 2.]]]])
    """
    positive_int("factor", factor)

    def measure(x: Tensor) -> Tensor:
        if x.shape[-2] % factor or x.shape[-1] % factor:
            raise ValueError(f"factor must divide the sides {tuple(x.shape[-2:])} of the images, got {factor}")
        squares = x.unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor))  # (B, C, H/f, f, W/f, f)
        return squares.sum(dim=(-3, -1)) / factor

    return measure


def low_frequencies(count: int) -> Measure:
    r"""Coefficients of the frequencies up to `count` along each axis, as after a blur that cuts off the others.

    (B, C, H, W) → (B, C, 2 count + 1, 2 count + 1). They are those of Hartley's
    transform, the real part of the orthonormal Fourier transform less its
    imaginary part: real, and orthonormal. ValueError for a count below 0; in a
    call, for images with a side of at most 2 count.

    >>> import gahb, torch
    >>> gahb.inverse.low_frequencies(0)(torch.ones(1, 1, 4, 4))
    tensor([[[[4.]]]])
    """
    positive_int("count", count, at_least=0)

    def measure(x: Tensor) -> Tensor:
        if min(x.shape[-2:]) <= 2 * count:
            raise ValueError(f"count must be below half of the sides {tuple(x.shape[-2:])} of the images, got {count}")
        spectrum = torch.fft.fft2(x, norm="ortho")
        kept = torch.arange(-count, count + 1, device=x.device)
        hartley = spectrum.real - spectrum.imag
        return hartley[..., kept % x.shape[-2], :][..., kept % x.shape[-1]]

    return measure


def random_projections(m: int, d: int, *, seed: int = 0) -> Measure:
    """m orthonormal directions among all of $\\mathbb R^d$, drawn uniformly: (B, …) of d values → (B, m).

    ValueError for m < 1, m > d and a seed below 0.

    >>> import gahb, torch
    >>> measure = gahb.inverse.random_projections(3, 16)
    >>> measure(gahb.images.disks(5, 4)).shape
    torch.Size([5, 3])
    """
    positive_int("m", m)
    positive_int("seed", seed, at_least=0)
    if m > positive_int("d", d):
        raise ValueError(f"m must be at most d = {d}, got {m}")
    rows, triangle = torch.linalg.qr(normal(seed, "projections", 0, m, d).double().T)
    rows = rows * triangle.diagonal().sign()  # uniform, whatever sign the factorisation takes

    def measure(x: Tensor) -> Tensor:
        return x.flatten(1) @ rows.to(x)

    return measure


def matrix(measure: Measure | Tensor, shape: Sequence[int]) -> Tensor:
    """A (m, d), float64, of a measurement of images of `shape`.

    >>> import gahb
    >>> gahb.inverse.matrix(gahb.inverse.block_means(2), (1, 2, 2))
    tensor([[0.5000, 0.5000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return _function(measure, shape)(unit).flatten(1).T.contiguous()


def transposed(measure: Measure | Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    r"""$A^\top v$ (n, \*shape) of values (n, …): the shortest images that have them.

    >>> import gahb, torch
    >>> gahb.inverse.transposed(gahb.inverse.block_means(2), torch.full((1, 1, 1, 1), 2.0), (1, 2, 2))
    tensor([[[[1., 1.],
              [1., 1.]]]])
    """
    return vjp(_function(measure, shape), values.new_zeros(len(values), *shape))[1](values)[0]


class Given:
    r"""$y, \sigma \mapsto \mathbb E[x \mid y, v]$ of a denoiser's x, by one of two gains K (see this module).

    "covariance" solves for K by conjugate gradients with products of the
    symmetric part of J; what they leave is put in by $A^\top$. "adjoint" puts $K = A^\top$, as for J a multiple of the
    identity: the algorithm of Kadkhodaie & Simoncelli (2021).
    """

    def __init__(self, measure, values, clean: Tensor, gain: str):
        if gain not in GAINS:
            raise ValueError(f"gain must be one of {', '.join(GAINS)}, got {gain!r}")
        self.shape, self.gain = clean.shape[1:], gain
        self.measure = _function(measure, self.shape)
        probe = torch.randn(1, *self.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self._check_rows(probe.to(clean))
        self.values = self._values(values, self.measure(clean[:1]), len(clean))

    def __call__(self, denoiser: Denoiser, y: Tensor, sigma: Tensor, numbers: Tensor) -> Tensor:
        """The answers at y (b, …); `numbers` (b,) say which of the values are theirs."""
        x_hat = denoise(denoiser, y, sigma)
        short = self.values[numbers.to(y.device)] - self.measure(x_hat)
        if self.gain == "covariance":
            jacobian = Jacobian(denoiser, y, sigma)
            x_hat = x_hat + self._covariance_gain(jacobian, short)
            short = self.values[numbers.to(y.device)] - self.measure(x_hat)  # what is left of it
        return x_hat + self._transposed(short)

    def _transposed(self, values: Tensor) -> Tensor:
        return transposed(self.measure, values, self.shape)

    def _covariance_gain(self, jacobian: Jacobian, short: Tensor) -> Tensor:
        r"""$J A^\top c$ with $A J A^\top c$ = `short`, by conjugate gradients for all points at once.

        A point stops where the rest is small, and where the curvature is not
        positive: the matrix of a network need not be.
        """

        def spread(c: Tensor) -> Tensor:
            """J Aᵀ c, J symmetric."""
            v = self._transposed(c)[None]
            return ((jacobian.forward(v) + jacobian.transposed(v)) / 2)[0]

        rest, way = short, short
        answer = torch.zeros_like(jacobian.y)
        square = _dot(rest, rest)
        enough = square * torch.finfo(short.dtype).eps
        going = square > 0
        for _ in range(_MOST):
            moved = spread(way)
            seen = self.measure(moved)
            curvature = _dot(way, seen)
            going = going & (curvature > 0)
            step = torch.where(going, square / curvature, 0.0)
            answer = answer + per_point(step, answer) * moved
            rest = rest - per_point(step, rest) * seen
            before, square = square, _dot(rest, rest)
            going = going & (square > enough)
            if not going.any():
                break
            way = rest + per_point(torch.where(going, square / before, 0.0), way) * way
        return answer

    def _check_rows(self, probe: Tensor) -> None:
        r"""$A A^\top v = v$ for values v at random, and A 0 = 0."""
        values = self.measure(probe)
        if not isinstance(values, Tensor) or values.shape[:1] != (1,) or not values.is_floating_point():
            raise ValueError(f"measure must map images (B, …) to real values (B, …), got {_what(values)} for one image")
        if float(self.measure(torch.zeros_like(probe)).abs().max()) > 0:
            raise ValueError("measure must be linear, got values other than zero for an image of zeros")
        v = torch.randn(values.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(values)
        back = self.measure(self._transposed(v))
        defect = float((back - v).norm() / v.norm())
        if not defect < 1e2 * torch.finfo(v.dtype).eps ** 0.75:
            raise ValueError("measure must have orthonormal rows, A Aᵀ = Id, got a defect ‖A Aᵀ v − v‖/‖v‖ of "
                             f"{defect:.3g} at values v drawn at random")

    def _values(self, values, one: Tensor, n: int) -> Tensor:
        if not isinstance(values, Tensor):
            raise TypeError(f"values must be a tensor, what measure makes of images, got {type(values).__name__}")
        alone = tuple(one.shape[1:])
        if tuple(values.shape) not in (alone, (n, *alone)):
            raise ValueError(f"values must be {alone}, or {(n, *alone)} with some for each image, got "
                             f"{tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise ValueError("values must be finite, got NaN or infinity among them")
        return values.to(one).expand(n, *alone)


def _function(measure, shape: Sequence[int]) -> Measure:
    """A measurement as a function, whichever way it is given."""
    if not isinstance(measure, Tensor):
        if not callable(measure):
            raise TypeError(f"measure must be a linear function of images or a matrix, got {type(measure).__name__}")
        return measure
    d = math.prod(shape)
    if measure.ndim != 2 or measure.shape[1] != d or not 1 <= len(measure) <= d:
        raise ValueError(f"measure must be (m, {d}) with m from 1 to {d}, got {tuple(measure.shape)}")
    return lambda x: x.flatten(1) @ measure.to(x).T


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(dim=1)


def _what(value) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
