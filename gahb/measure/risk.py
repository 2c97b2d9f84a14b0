r"""What a denoiser's error says: score, PSNR curves, Stein's unbiased risk estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._validate import check_eval, check_points, noise_levels, positive_int, sigma_vector
from ..jacobian.operator import batches
from ..jacobian.traces import divergence


def score(denoiser, y: Tensor, sigma) -> Tensor:
    r"""$(f(y) - y)/\sigma^2$, shaped like `y`.

    For $f = f^\star$ this is $\nabla \log p_\sigma(y)$, the score of the noisy
    density (Miyasawa 1961; equation (3) of the paper).

    `y` (B, …); `sigma` a positive float or (B,) tensor, also for a blind
    denoiser: it is what the noise is divided by.
    """
    check_eval(denoiser)
    check_points("y", y)
    variance = sigma_vector(sigma, y).square().reshape(-1, *[1] * (y.ndim - 1))
    return (denoiser(y, sigma) - y) / variance


@dataclass(frozen=True)
class PSNRCurve:
    """Error of a denoiser by noise level; PSNR in dB for images in [0, 1]."""

    sigmas: Tensor  #: (S,) noise levels
    input_psnr: Tensor  #: (S,) $-20\log_{10}\sigma$
    mse: Tensor  #: (S,) mean over pixels, images and noise of the squared error
    psnr: Tensor  #: (S,) $-10\log_{10}$ of `mse`: PSNR of the mean, not mean of PSNRs
    stderr: Tensor  #: (S,) standard error of `psnr` over images, in dB
    per_image: Tensor  #: (S, n) squared error of each image, mean over pixels


def psnr_curve(denoiser, images: Tensor, sigmas: Sequence[float], *, seed: int = 0, batch: int = 64) -> PSNRCurve:
    r"""Denoise `images` at every noise level and measure the squared error.

    $\mathrm{PSNR} = -10\log_{10}\mathrm{MSE}$. The same unit noise serves all
    levels, and all denoisers given the same seed, so that differences are
    paired.

    Parameters
    ----------
    images : (n, …), n ≥ 1. sigmas : noise levels > 0. seed : of the noise.
    batch : images denoised at a time (changes nothing but speed).
    """
    check_eval(denoiser)
    check_points("images", images)
    positive_int("batch", batch)
    if len(images) == 0:
        raise ValueError(f"images must be (n, …) with n ≥ 1, got shape {tuple(images.shape)}")
    levels = noise_levels(sigmas)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(images.shape, generator=generator, dtype=torch.float32).to(images)
    rows = []
    with torch.no_grad():
        for sigma in levels:
            errors = [
                (denoiser(x + sigma * noise, sigma) - x).double().square().flatten(1).mean(dim=1)
                for x, noise in zip(images.split(batch), z.split(batch))
            ]
            rows.append(torch.cat(errors))
    per_image = torch.stack(rows)  # (S, n)
    mse = per_image.mean(dim=1)
    n = per_image.shape[1]
    spread = per_image.std(dim=1) / math.sqrt(n) if n > 1 else torch.full_like(mse, math.nan)
    levels_tensor = torch.tensor(levels, dtype=torch.float64, device=mse.device)
    return PSNRCurve(
        sigmas=levels_tensor,
        input_psnr=-20 * levels_tensor.log10(),
        mse=mse,
        psnr=-10 * mse.log10(),
        stderr=10 / math.log(10) * spread / mse,
        per_image=per_image,
    )


def sure(denoiser, y: Tensor, sigma, *, probes: int | None = None, seed: int = 0) -> Tensor:
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
    """
    check_points("y", y)
    variance = sigma_vector(sigma, y).square()
    trace = divergence(denoiser, y, sigma, probes=probes, seed=seed)
    with torch.no_grad():
        parts = [denoiser(y[part], level) - y[part] for part, level in batches(len(y), sigma)]
    residual = torch.cat(parts).square().flatten(1).mean(dim=1)
    return residual - variance + 2 * variance * trace / y[0].numel()
