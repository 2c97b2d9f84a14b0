r"""Classical denoisers: shrinkage of coefficients in a fixed orthonormal basis.

$$f(y) = \sum_k \rho_\sigma\bigl(\langle y, g_k\rangle\bigr)\, g_k$$

Wiener's ρ is linear, one factor for each frequency; wavelet thresholding's
is not, and that is what lets it adapt. Differentiable almost everywhere; a
hard threshold jumps, so that its autograd derivative misses the jumps (it is
not weakly differentiable, and Stein's identity fails for it).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pywt
import torch
from torch import Tensor

from .._validate import check_images, check_points, positive_int, sigma_vector


class Wiener:
    r"""The linear optimum for stationary images of a known power spectrum.

    $$f(y) = m + \mathcal F^{-1}\Bigl[\frac{P}{P + \sigma^2}\,\mathcal F (y - m)\Bigr]$$

    with $\mathcal F$ the orthonormal discrete Fourier transform, $m$ the mean
    value and $P$ the mean periodogram of the images.

    Parameters
    ----------
    images : (n, C, H, W) in [0, 1], from which m (one number) and P (C, H, W)
        are estimated.
    """

    def __init__(self, images: Tensor):
        check_images("images", images)
        images = images.double()
        self.mean = images.mean()
        self.spectrum = torch.fft.fft2(images - self.mean, norm="ortho").abs().square().mean(dim=0)

    def __call__(self, y: Tensor, sigma=None) -> Tensor:
        check_points("y", y)
        if y.shape[1:] != self.spectrum.shape:
            raise ValueError(f"y must be (B, {', '.join(map(str, self.spectrum.shape))}), got {tuple(y.shape)}")
        variance = sigma_vector(sigma, y).square()[:, None, None, None]
        spectrum, mean = self.spectrum.to(y), self.mean.to(y)
        coefficients = torch.fft.fft2(y - mean, norm="ortho") * (spectrum / (spectrum + variance))
        return mean + torch.fft.ifft2(coefficients, norm="ortho").real


class Wavelet:
    r"""Thresholding in an orthonormal periodised wavelet basis, with cycle spinning.

    Detail coefficients $c$ become $c\,1_{|c|>T}$ (hard) or
    $\operatorname{sign}(c)\max(|c|-T, 0)$ (soft) with $T$ = `multiple` × σ;
    the coarse coefficients are kept. The result is averaged over circular
    shifts (Coifman & Donoho 1995). Filters come from PyWavelets.

    Parameters
    ----------
    wavelet : a name of an orthogonal wavelet of PyWavelets.
    levels : decomposition levels, fewer where H or W is not divisible by
        ``2 ** levels``.
    threshold : "hard" or "soft".
    multiple : T / σ; by default 3 for hard and 1.5 for soft.
    shifts : circular shifts in each direction (0 … shifts − 1), all pairs.
    """

    def __init__(
        self,
        wavelet: str = "sym4",
        *,
        levels: int = 4,
        threshold: str = "hard",
        multiple: float | None = None,
        shifts: int = 4,
    ):
        # dmey calls itself orthogonal; its finite filter is so only to 1e-3
        if wavelet not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(wavelet).orthogonal or wavelet == "dmey":
            raise ValueError(f"wavelet must name an orthogonal wavelet of PyWavelets, got {wavelet!r}")
        if threshold not in ("hard", "soft"):
            raise ValueError(f"threshold must be 'hard' or 'soft', got {threshold!r}")
        if multiple is None:
            multiple = 3.0 if threshold == "hard" else 1.5
        if not multiple >= 0:
            raise ValueError(f"multiple must be ≥ 0, got {multiple!r}")
        self.wavelet, self.threshold, self.multiple = wavelet, threshold, float(multiple)
        self.levels = positive_int("levels", levels)
        self.shifts = positive_int("shifts", shifts)

    def __call__(self, y: Tensor, sigma=None) -> Tensor:
        check_points("y", y)
        if y.ndim != 4:
            raise ValueError(f"y must be (B, C, H, W), got shape {tuple(y.shape)}")
        height = self.multiple * sigma_vector(sigma, y)[:, None, None, None]
        pairs = [(i, j) for i in range(self.shifts) for j in range(self.shifts)]
        total = torch.zeros_like(y)
        for shift in pairs:
            moved = torch.roll(y, shift, dims=(2, 3))
            total = total + torch.roll(self._shrink(moved, height), (-shift[0], -shift[1]), dims=(2, 3))
        return total / len(pairs)

    def _shrink(self, y: Tensor, height: Tensor) -> Tensor:
        coarse, details = analyse(y, self.wavelet, self.levels)
        return synthesise(coarse, [tuple(self._rho(c, height) for c in level) for level in details], self.wavelet)

    def _rho(self, c: Tensor, height: Tensor) -> Tensor:
        if self.threshold == "hard":
            return torch.where(c.abs() > height, c, torch.zeros_like(c))
        return c - torch.clamp(c, min=-height, max=height)


def analyse(y: Tensor, wavelet: str, levels: int) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Orthonormal wavelet coefficients: coarse, and three details a level, finest first."""
    details = []
    for _ in range(levels):
        rows, columns = y.shape[-2:]
        if rows % 2 or columns % 2 or min(rows, columns) < 2:
            break
        y = _step(rows, wavelet).to(y) @ y @ _step(columns, wavelet).to(y).T
        top, bottom = y.split(rows // 2, dim=-2)
        (y, horizontal), (vertical, diagonal) = (part.split(columns // 2, dim=-1) for part in (top, bottom))
        details.append((horizontal, vertical, diagonal))
    return y, details


def synthesise(coarse: Tensor, details: list[tuple[Tensor, Tensor, Tensor]], wavelet: str) -> Tensor:
    """Inverse of `analyse`."""
    y = coarse
    for horizontal, vertical, diagonal in reversed(details):
        y = torch.cat([torch.cat([y, horizontal], dim=-1), torch.cat([vertical, diagonal], dim=-1)], dim=-2)
        y = _step(y.shape[-2], wavelet).to(y).T @ y @ _step(y.shape[-1], wavelet).to(y)
    return y


@cache
def _step(n: int, wavelet: str) -> Tensor:
    """One level of the periodised transform as an orthogonal (n, n) matrix: coarse rows, then detail rows."""
    coarse, detail = pywt.dwt(np.eye(n), wavelet, mode="periodization", axis=0)
    return torch.from_numpy(np.concatenate([coarse, detail]))
