r"""What a denoiser's error says: score, PSNR curves, Stein's unbiased risk estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._points import batches, noisy_batches, per_point
from .._text import listed, plus_minus
from .._validate import check_points, check_sample, noise_levels, positive_int, sigma_vector
from ..contract import Denoiser, denoise
from ..jacobian.traces import divergence
from .statistics import mean_and_error


def score(denoiser: Denoiser, y: Tensor, sigma: float | Tensor) -> Tensor:
    r"""$(f(y) - y)/\sigma^2$, shaped like `y`.

    For $f = f^\star$ this is $\nabla \log p_\sigma(y)$, the score of the noisy
    density (Miyasawa 1961; equation (3) of the paper).

    `y` (B, …); `sigma` a positive float or (B,) tensor, also for a blind
    denoiser: it is what the noise is divided by.

    Raises
    ------
    ValueError for sigma that is None, not positive or of a wrong shape, and for
    a denoiser that breaks the contract.

    Examples
    --------
    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(2), torch.eye(2))
    >>> gahb.score(f, torch.tensor([[1.0, -2.0]]), 1.0)  # −y / (1 + σ²)
    tensor([[-0.5000,  1.0000]])
    """
    check_points("y", y)
    variance = per_point(sigma_vector(sigma, y).square(), y)
    return (denoise(denoiser, y, sigma) - y) / variance


@dataclass(frozen=True, repr=False)
class PSNRCurve:
    """Error of a denoiser by noise level; PSNR in dB for images in [0, 1].

    From :func:`gahb.psnr_curve`.

    >>> import gahb, torch
    >>> x = gahb.images.disks(8, 8)
    >>> curve = gahb.psnr_curve(lambda y, sigma=None: y, x, [0.1, 0.2])
    >>> curve.per_image.shape, torch.allclose(curve.psnr, -10 * curve.per_image.mean(dim=1).log10())
    (torch.Size([2, 8]), True)
    >>> curve
    <PSNRCurve of 8 images: 19.85 ± 0.45 dB at σ = 0.1 (noisy 20.00), 13.83 ± 0.45 dB at σ = 0.2 (noisy 13.98)>
    """

    sigmas: Tensor  #: (S,) noise levels
    input_psnr: Tensor  #: (S,) $-20\log_{10}\sigma$
    mse: Tensor  #: (S,) mean over pixels, images and noise of the squared error
    psnr: Tensor  #: (S,) $-10\log_{10}$ of `mse`: PSNR of the mean, not mean of PSNRs
    stderr: Tensor  #: (S,) standard error of `psnr` over images, in dB
    per_image: Tensor  #: (S, n) squared error of each image, mean over pixels

    def __repr__(self) -> str:
        columns = (self.psnr, self.stderr, self.sigmas, self.input_psnr)
        levels = [f"{plus_minus(psnr, error, unit=' dB')} at σ = {sigma:g} (noisy {noisy:.2f})"
                  for psnr, error, sigma, noisy in zip(*(column.tolist() for column in columns))]
        return f"<PSNRCurve of {self.per_image.shape[1]:,} images: {listed(levels)}>"


def psnr_curve(
    denoiser: Denoiser, images: Tensor, sigmas: Sequence[float], *, seed: int = 0, batch: int = 64
) -> PSNRCurve:
    r"""Denoise `images` at every noise level and measure the squared error.

    $\mathrm{PSNR} = -10\log_{10}\mathrm{MSE}$. The same unit noise serves all
    levels, and all denoisers given the same seed, so that differences are
    paired.

    Parameters
    ----------
    images : (n, …), n ≥ 1. The peak of PSNR is 1, the white of images in [0, 1].
        Other ranges are measured against the same peak: of images in [−1, 1],
        whose range is 2, with noise levels in their units, 6 dB less is
        reported than with peak 2.
    sigmas : noise levels > 0. seed : of the noise.
    batch : images denoised at a time (changes nothing but speed).

    Raises
    ------
    ValueError for no images, images of another scale (values beyond ±16, as
    those of 8 bits have), no noise levels or bad ones, and a denoiser that breaks
    the contract; TypeError for images that are not floating point.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(64, 16)
    >>> curve = gahb.psnr_curve(gahb.Wavelet(shifts=1), x, [0.05, 0.2])
    >>> curve.psnr.shape, bool((curve.psnr > curve.input_psnr).all())
    (torch.Size([2]), True)
    >>> noise = gahb.psnr_curve(lambda y, sigma=None: y, x, [0.05, 0.2])
    >>> noise.psnr.round(decimals=1), noise.input_psnr.round(decimals=1)
    (tensor([26.0000, 13.9000], dtype=torch.float64), tensor([26., 14.], dtype=torch.float64))
    """
    check_sample("images", images)
    _check_scale(images)
    positive_int("batch", batch)
    levels, rows = noise_levels(sigmas), []
    with torch.no_grad():
        for sigma, pairs in noisy_batches(images, levels, seed=seed, batch=batch):
            errors = [(denoise(denoiser, y, sigma) - x).double().square().flatten(1).mean(dim=1) for x, y in pairs]
            rows.append(torch.cat(errors))
    per_image = torch.stack(rows)  # (S, n)
    mse, spread = mean_and_error(per_image)
    levels_tensor = torch.tensor(levels, dtype=torch.float64, device=mse.device)
    return PSNRCurve(
        sigmas=levels_tensor,
        input_psnr=-20 * levels_tensor.log10(),
        mse=mse,
        psnr=-10 * mse.log10(),
        stderr=10 / math.log(10) * spread / mse,
        per_image=per_image,
    )


def _check_scale(images: Tensor) -> None:
    """PSNR is relative to the white of [0, 1]; values beyond 16 are those of another scale."""
    if images.ndim != 4:
        return
    low, high = float(images.min()), float(images.max())
    if max(-low, high) > 16:
        raise ValueError(f"images must be scaled to [0, 1], the range of PSNR, got values from {low:.4g} to "
                         f"{high:.4g}: divide 8-bit images, and their noise levels, by 255")


def sure(denoiser: Denoiser, y: Tensor, sigma: float | Tensor, *, probes: int | None = None, seed: int = 0) -> Tensor:
    r"""Stein's unbiased estimate of the mean squared error, from noisy images alone (B,).

    $$\mathrm{SURE}(y) = \tfrac1d\|f(y) - y\|^2 - \sigma^2
        + \tfrac{2\sigma^2}{d}\operatorname{tr}\nabla f(y)$$

    (Stein 1981; equation (7) of the paper), in squared units a pixel. Its mean
    over y equals that of $\frac1d\|f(y)-x\|^2$ for every weakly differentiable
    f. A single estimate can be negative.

    Parameters
    ----------
    sigma : a positive float or (B,) tensor, also for a blind denoiser.
    probes, seed : of the trace, as in :func:`gahb.jacobian.divergence`.

    Raises
    ------
    ValueError for sigma that is None, not positive or of a wrong shape,
    `probes` < 1, and a denoiser that breaks the contract.

    Examples
    --------
    Without the clean images, as with them:

    >>> import gahb, torch
    >>> x = gahb.images.disks(60, 8)
    >>> y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> f = gahb.Gaussian.of(x)
    >>> estimate, error = gahb.statistics.mean_and_error(gahb.sure(f, y, 0.2))
    >>> truth = (f(y, 0.2) - x).square().mean()
    >>> bool((estimate - truth).abs() < 3 * error), round(truth.item(), 3)
    (True, 0.004)
    """
    check_points("y", y)
    variance = sigma_vector(sigma, y).square()
    trace = divergence(denoiser, y, sigma, probes=probes, seed=seed)
    with torch.no_grad():
        parts = [denoise(denoiser, y[part], level) - y[part] for part, level in batches(len(y), sigma)]
    residual = torch.cat(parts).square().flatten(1).mean(dim=1)
    return residual - variance + 2 * variance * trace / y[0].numel()
