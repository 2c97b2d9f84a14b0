r"""Classical denoisers: shrinkage of coefficients in a fixed orthonormal basis.

$$f(y) = \sum_k \rho_\sigma\bigl(\langle y, g_k\rangle\bigr)\, g_k$$

Wiener's ρ is linear, one factor for each frequency; wavelet thresholding's
is not, and that is what lets it adapt. Differentiable almost everywhere; a
hard threshold jumps, so that its autograd derivative misses the jumps (it is
not weakly differentiable, and Stein's identity fails for it).
"""

from __future__ import annotations

import math

import pywt
import torch
from torch import Tensor

from .._validate import check_images, check_points, positive_int, sigma_vector
from ..transforms import analyse, synthesise
from .placement import Placed, described


class Wiener(Placed):
    r"""The linear optimum for stationary images of a known power spectrum.

    $$f(y) = m + \mathcal F^{-1}\Bigl[\frac{P}{P + \sigma^2}\,\mathcal F (y - m)\Bigr]$$

    with $\mathcal F$ the orthonormal discrete Fourier transform, $m$ the mean
    value and $P$ the mean periodogram of the images. ``Wiener.of_spectrum`` takes
    a P that is known; for a covariance that is not stationary there is
    :class:`gahb.Gaussian`.

    Parameters
    ----------
    images : (n, C, H, W) in [0, 1], from which m (one number) and P (C, H, W)
        are estimated.

    Raises
    ------
    ValueError for images outside [0, 1]; in a call for y of another shape and a
    sigma that is None or not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.c_alpha(50, 16, 2.0)
    >>> curve = gahb.psnr_curve(gahb.Wiener(x), x, [0.2])
    >>> bool(curve.psnr > curve.input_psnr + 5)
    True
    """

    def __init__(self, images: Tensor):
        check_images("images", images)
        images = images.double()
        self.mean = images.mean()
        self.spectrum = torch.fft.fft2(images - self.mean, norm="ortho").abs().square().mean(dim=0)

    @classmethod
    def of_spectrum(cls, spectrum: Tensor, *, mean: float = 0.5) -> Wiener:
        """The filter for a known `spectrum` P ≥ 0, (H, W) or (C, H, W), and mean value m.

        P is the variance of each coefficient of the orthonormal DFT, as in
        :func:`gahb.images.c_alpha_spectrum`.

        ValueError for a P that is negative, not finite or of another number of axes.

        >>> import gahb, torch
        >>> f = gahb.Wiener.of_spectrum(torch.ones(4, 4), mean=0.0)
        >>> f(torch.ones(1, 1, 4, 4), 1.0)[0, 0, 0]  # P / (P + σ²) = ½ at every frequency
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
        """
        if spectrum.ndim not in (2, 3) or not (torch.isfinite(spectrum) & (spectrum >= 0)).all():
            raise ValueError(f"spectrum must be (H, W) or (C, H, W), finite and ≥ 0, got shape {tuple(spectrum.shape)} "
                             f"with values from {spectrum.min():.3g} to {spectrum.max():.3g}")
        filter = cls.__new__(cls)
        filter.mean = torch.as_tensor(mean, dtype=torch.float64)
        filter.spectrum = spectrum.double() if spectrum.ndim == 3 else spectrum.double()[None]
        return filter

    def __repr__(self) -> str:
        return described(self, shape=tuple(self.spectrum.shape), mean=round(float(self.mean), 6))

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        check_points("y", y)
        if y.shape[1:] != self.spectrum.shape:
            raise ValueError(f"y must be (B, {', '.join(map(str, self.spectrum.shape))}), got {tuple(y.shape)}")
        variance = sigma_vector(sigma, y).square()[:, None, None, None]
        spectrum, mean = self.spectrum.to(y), self.mean.to(y)
        coefficients = torch.fft.fft2(y - mean, norm="ortho") * (spectrum / (spectrum + variance))
        return mean + torch.fft.ifft2(coefficients, norm="ortho").real


class CycleSpun:
    """Shrinkage in an orthonormal periodised wavelet transform, averaged over circular shifts.

    Coifman & Donoho (1995). The shifts are 0, 5, 10, … pixels: spread out, and
    all of 0 … 2^j − 1 modulo 2^j when there are 2^j of them. The coarse
    coefficients are kept; a subclass says how it shrinks the details.
    """

    def __init__(self, wavelet: str, *, levels: int, multiple: float, shifts: int):
        # dmey calls itself orthogonal; its finite filter is so only to 1e-3
        if wavelet not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(wavelet).orthogonal or wavelet == "dmey":
            raise ValueError(f"wavelet must name an orthogonal wavelet of PyWavelets, got {wavelet!r}")
        if not multiple >= 0:
            raise ValueError(f"multiple must be ≥ 0, got {multiple!r}")
        self.wavelet, self.multiple = wavelet, float(multiple)
        self.levels = positive_int("levels", levels)
        self.shifts = positive_int("shifts", shifts)

    def __repr__(self) -> str:
        return described(self, **vars(self))

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        return self._spin(check_image_shape(y)[None], sigma)

    def oracle(self, y: Tensor, sigma: float | Tensor, x: Tensor, *, decisions: bool = True) -> Tensor:
        r"""Shrinkage with coefficients chosen by the clean image: a bound on what thresholding can do, not a denoiser.

        $$\sum_k 1_{|\langle x, g_k\rangle| > \sigma}\,\langle y, g_k\rangle\, g_k$$

        (and the coarse part) keeps what is above the noise: linear in y, with an
        expected squared error, summed over pixels, of
        $\sum_k \min(\langle x, g_k\rangle^2, \sigma^2)$ over the details before
        shifts are averaged (Donoho & Johnstone 1994). Where a basis is chosen,
        it is the best for x at T = σ. With ``decisions=False`` only the basis
        is taken from x, at the denoiser's own threshold, and y is shrunk in it
        as ever.

        Parameters
        ----------
        y, x : noisy and clean images (B, C, H, W).

        Raises
        ------
        ValueError where x is not shaped like y.

        Examples
        --------
        >>> import gahb, torch
        >>> x = gahb.images.disks(4, 16)
        >>> y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        >>> f = gahb.Wavelet(shifts=1)
        >>> bool((f.oracle(y, 0.2, x) - x).square().mean() < (f(y, 0.2) - x).square().mean())
        True
        """
        check_image_shape(y)
        check_points("x", x)
        if x.shape != y.shape:
            raise ValueError(f"x must be shaped like y, {tuple(y.shape)}, got {tuple(x.shape)}")
        return self._spin(torch.stack([y, x.to(y)]), sigma, decisions)

    def _spin(self, images: Tensor, sigma, decisions: bool = False) -> Tensor:
        """`images` (1 or 2, B, C, H, W): what is shrunk, and the clean one where it is known."""
        total = torch.zeros_like(images[0])
        sigma = sigma_vector(sigma, total)[:, None, None, None]
        places = [5 * i for i in range(self.shifts)]
        for i in places:
            for j in places:
                coarse, details = analyse(torch.roll(images, (i, j), dims=(-2, -1)), self.wavelet, self.levels)
                shrunk = [self._shrink(torch.cat(level, dim=-3), sigma, decisions) for level in details]
                level_by_level = [level.chunk(3, dim=-3) for level in shrunk]
                total = total + torch.roll(synthesise(coarse[0], level_by_level, self.wavelet), (-i, -j), dims=(2, 3))
        return total / self.shifts**2

    def _shrink(self, c: Tensor, sigma: Tensor, decisions: bool) -> Tensor:
        """Details of one level (1 or 2, B, 3 C, h, w), sigma (B, 1, 1, 1) -> (B, 3 C, h, w)."""
        raise NotImplementedError


class Wavelet(CycleSpun):
    r"""Thresholding in an orthonormal periodised wavelet basis, with cycle spinning.

    Detail coefficients $c$ become $c\,1_{|c|>T}$ (hard) or
    $\operatorname{sign}(c)\max(|c|-T, 0)$ (soft) with $T$ = `multiple` × σ, or
    soft with the T in $[0, \sigma\sqrt{2\ln n}]$ that minimises Stein's estimate
    of the risk in each subband of n coefficients,

    $$n\sigma^2 - 2\sigma^2\,\#\{|c| \le T\} + \sum \min(c^2, T^2)$$

    (Donoho & Johnstone 1995, without their fallback for sparse subbands); the
    coarse coefficients are kept. The result is averaged over circular shifts.
    Filters come from PyWavelets.

    Parameters
    ----------
    wavelet : a name of an orthogonal wavelet of PyWavelets.
    levels : decomposition levels, fewer where H or W is not divisible by
        ``2 ** levels``.
    threshold : "hard", "soft" or "sure".
    multiple : T / σ; by default 3 for hard and 1.5 for soft.
    shifts : circular shifts in each direction (0, 5, 10, … pixels), all pairs.

    Raises
    ------
    ValueError for a wavelet that is not orthogonal, an unknown threshold, and
    numbers out of range; in a call for y that is not 4-D and a sigma that is None
    or not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(8, 16)
    >>> y = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> f = gahb.Wavelet("haar", threshold="soft")
    >>> bool((f(y, 0.1) - x).square().mean() < 0.5 * 0.1**2)
    True
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
        if threshold not in ("hard", "soft", "sure"):
            raise ValueError(f"threshold must be 'hard', 'soft' or 'sure', got {threshold!r}")
        if threshold == "sure" and multiple is not None:
            raise ValueError(f"multiple must be None with threshold 'sure', which finds its own, got {multiple!r}")
        self.threshold = threshold
        if multiple is None:
            multiple = 3.0 if threshold == "hard" else 1.5
        super().__init__(wavelet, levels=levels, multiple=multiple, shifts=shifts)

    def _shrink(self, c: Tensor, sigma: Tensor, decisions: bool) -> Tensor:
        if decisions:
            return torch.where(c[1].abs() > sigma, c[0], 0.0)
        c, height = c[0], self.multiple * sigma
        if self.threshold == "hard":
            return torch.where(c.abs() > height, c, 0.0)
        if self.threshold == "sure":
            height = _sure_threshold(c, sigma)
        return c - torch.clamp(c, min=-height, max=height)


def check_image_shape(y: Tensor) -> Tensor:
    if check_points("y", y).ndim != 4:
        raise ValueError(f"y must be (B, C, H, W), got shape {tuple(y.shape)}")
    return y


def _sure_threshold(c: Tensor, sigma: Tensor) -> Tensor:
    """The minimiser of SURE in each subband (…, h, w) -> (…, 1, 1): 0 or one of the |c|, for it rises in between."""
    sizes = c.abs().flatten(-2).sort(dim=-1).values
    n, variance = sizes.shape[-1], sigma[..., 0].square()
    rank = torch.arange(1, n + 1, device=c.device)
    energy = sizes.square()
    risk = energy.cumsum(dim=-1) + (n - rank) * energy - 2 * variance * rank  # less nσ², its value at T = 0
    risk = torch.where(energy <= 2 * math.log(n) * variance, risk, 0.0)
    least, place = risk.min(dim=-1, keepdim=True)
    return torch.where(least < 0, sizes.take_along_dim(place, dim=-1), 0.0)[..., None]
