"""Denoisers that hold tensors: on another device, and as text."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor


class Placed:
    """A denoiser whose tensors can be moved; points on another device than its own are answered there, more slowly."""

    def to(
        self, device: torch.device | str | Tensor | torch.dtype | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy with its tensors on `device`, or on that of a tensor; this one stays as it is.

        `dtype` is taken as of torch's modules and changes nothing: what is
        exact is computed in float64, and answered in the dtype of y.

        >>> import gahb, torch
        >>> gahb.Gaussian(torch.zeros(2), torch.eye(2)).to("cpu")
        Gaussian(shape=(2,))
        """
        if isinstance(device, Tensor):
            device = device.device
        moved = copy.copy(self)
        if device is not None and not isinstance(device, torch.dtype):
            vars(moved).update({name: _moved(value, torch.device(device)) for name, value in vars(self).items()})
        return moved


def described(denoiser, **settings) -> str:
    """``Name(setting=value, …)``, for `repr`."""
    return f"{type(denoiser).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


def _moved(value, device: torch.device):
    """A tensor, or what holds tensors and can be moved itself, on the device; anything else as it is."""
    return value.to(device) if hasattr(value, "to") else value
