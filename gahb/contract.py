r"""The one contract of all denoisers, and the part of it that every measurement checks.

A denoiser is called as ``denoiser(y, sigma=None)`` and returns an estimate of
the clean images: shaped like y, in its dtype and on its device. A wrong shape
would be broadcast in silence, and a measurement would be wrong without a word.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ._validate import check_denoises


@runtime_checkable
class Denoiser(Protocol):
    r"""What every measurement takes: a callable from noisy to clean images, $f(y) \approx \mathbb E[x \mid y]$.

    The estimate of the clean images, not of the noise, is returned. It has the
    shape, dtype and device of y. Each point of the batch is denoised by
    itself. Derivatives are taken by `torch.func`, so that a network must be in
    eval mode. :func:`gahb.check_denoiser` says which of this holds.

    Parameters
    ----------
    y : noisy images (B, C, H, W) or points (B, …), floating point.
    sigma : the noise's standard deviation, in the units of y: a float, a (B,)
        tensor, or None. A blind denoiser does not use it; one that needs it
        refuses None.

    Examples
    --------
    A function is a denoiser, and so is a network:

    >>> import gahb, torch
    >>> def halve(y, sigma=None):
    ...     return y / 2
    >>> isinstance(halve, gahb.Denoiser), isinstance(gahb.UNet(4, 1), gahb.Denoiser)
    (True, True)
    """

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None, /) -> Tensor:
        """The estimate of the clean images, shaped like `y`."""
        ...


def denoise(denoiser: Denoiser, y: Tensor, sigma: float | Tensor | None = None, *, name: str = "denoiser") -> Tensor:
    """``denoiser(y, sigma)``, checked: arguments, training mode, shape, dtype, device, and finite values.

    `name` is what the messages call the denoiser.

    Raises
    ------
    ValueError for a network in training mode, or an answer that is not finite
    or not shaped, typed and placed like y; TypeError for one that is no tensor, and
    for what cannot be called with y and sigma.
    """
    check_denoises(denoiser, name)
    return check_output(denoiser(y, sigma), y, name)


def check_output(x_hat, y: Tensor, name: str = "denoiser") -> Tensor:
    """The answer `x_hat` of a denoiser to y, if it has the shape, dtype and device of y and is finite.

    Under vmap, where no value can be read, finiteness is not checked.
    """
    if not isinstance(x_hat, Tensor):
        raise TypeError(f"{name} must return a tensor, got {type(x_hat).__name__}")
    for what in ("shape", "dtype", "device"):
        wanted, given = getattr(y, what), getattr(x_hat, what)
        if given != wanted:
            wanted, given = (tuple(value) if what == "shape" else value for value in (wanted, given))
            raise ValueError(f"{name} must return the {what} of y, {wanted}, got {given}")
    if not _all_finite(x_hat):
        if not _all_finite(y):
            raise ValueError(f"{name} was given a y that is not finite, with NaN or infinity among its values")
        wrong = int((~torch.isfinite(x_hat)).sum())
        raise ValueError(f"{name} must return finite values, got NaN or infinity in {wrong} of {x_hat.numel()}")
    return x_hat


def is_blind(denoiser: Denoiser, y: Tensor) -> bool:
    """Whether the denoiser answers at y without being told σ."""
    try:
        denoiser(y)
    except Exception:  # a denoiser that needs sigma says so in its own way
        return False
    return True


def _all_finite(values: Tensor) -> bool:
    try:
        return bool(torch.isfinite(values).all())
    except RuntimeError:  # under vmap the values cannot be read
        return True
