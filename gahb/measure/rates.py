r"""Slopes of log MSE against log σ², and the exact errors of stationary Gaussian fields.

A class whose images need $M \sim \epsilon^{-1/\alpha}$ coefficients for a squared
error ε is denoised with an MSE of order $(\sigma^2)^{\alpha/(\alpha+1)}$: a line of
slope $\alpha/(\alpha+1)$. On pixels the line bends at both ends: at large
noise, which hides the class, and at small noise, where the details of the class
are smaller than a pixel. For stationary Gaussian fields the whole curve is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._validate import noise_levels, positive_int
from .statistics import Bootstrap, line_slope, redrawn


def slope(
    per_image: Tensor,
    sigmas: Sequence[float],
    *,
    within: tuple[float, float] = (0.0, float("inf")),
    draws: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    r"""Least-squares slope of $\log\mathrm{MSE}$ against $\log\sigma^2$, MSE the mean over images.

    The same images are redrawn at all noise levels, and for all denoisers
    given the same n, seed and draws, so that two slopes may be subtracted. What
    the bootstrap does not hold: another draw of the noise where the images
    share one, and another training of a network.

    Parameters
    ----------
    per_image : (S, n) squared errors, as in :class:`gahb.risk.PSNRCurve`. sigmas : (S,).
    within : least and largest σ used; ValueError if fewer than two are.

    Raises
    ------
    ValueError for a `per_image` that does not fit the sigmas, fewer than two
    levels `within`, or `draws` < 1.

    Examples
    --------
    >>> import gahb, torch
    >>> sigmas = [0.05, 0.1, 0.2]
    >>> errors = torch.tensor(sigmas)[:, None] ** 1.5 * torch.linspace(0.5, 1.5, 20)
    >>> found = gahb.rates.slope(errors, sigmas)
    >>> round(found.value, 3), round(found.stderr, 3)
    (0.75, 0.0)
    """
    levels = torch.tensor(noise_levels(sigmas), dtype=torch.float64)
    if per_image.ndim != 2 or len(per_image) != len(levels):
        raise ValueError(f"per_image must be ({len(levels)}, n) for {len(levels)} sigmas, got {tuple(per_image.shape)}")
    low, high = within
    used = (levels >= low * (1 - 1e-9)) & (levels <= high * (1 + 1e-9))
    if int(used.sum()) < 2:
        raise ValueError(f"within must hold at least two of sigmas {levels.tolist()}, got {within}")
    errors, x = per_image.detach().cpu().double()[used], 2 * levels[used].log()
    picks = redrawn(errors.shape[1], draws, seed)
    logs = torch.cat([errors.mean(dim=1, keepdim=True), errors[:, picks].mean(dim=2)], dim=1).log()  # (S, 1 + draws)
    slopes = line_slope(x, logs)
    return Bootstrap.of(slopes[0], slopes[1:])


def wiener_error(spectrum: Tensor, sigmas: Sequence[float], *, free_mean: bool = False) -> Tensor:
    r"""Exact MSE of the optimum for a stationary Gaussian field on the torus, (S,), mean over pixels.

    $$\frac1d \sum_\xi \frac{P(\xi)\,\sigma^2}{P(\xi) + \sigma^2}$$

    Parameters
    ----------
    spectrum : P, (H, W), variances of the orthonormal DFT coefficients, as of
        :func:`gahb.images.c_alpha_spectrum`.
    free_mean : the mean is not known (a flat prior): the frequency 0 costs σ².

    Returns
    -------
    (S,) float64. ValueError for noise levels that are not positive.

    Examples
    --------
    White images of variance 1 keep σ²/(1 + σ²) of the error:

    >>> import gahb, torch
    >>> gahb.rates.wiener_error(torch.ones(4, 4), [1.0, 3.0])
    tensor([0.5000, 0.9000], dtype=torch.float64)
    """
    variances, P = _variances(sigmas), spectrum.double()[None]
    terms = P * variances / (P + variances)
    if free_mean:
        terms[:, 0, 0] = variances[:, 0, 0]
    return terms.mean(dim=(1, 2))


def wiener_slopes(spectrum: Tensor, sigmas: Sequence[float]) -> Tensor:
    r"""Exact local slope of :func:`wiener_error`, $d\log\mathrm{MSE}/d\log\sigma^2$ at each σ, (S,).

    $$\sum_\xi \lambda_\xi^2 \Big/ \sum_\xi \lambda_\xi, \qquad \lambda_\xi = \frac{P(\xi)}{P(\xi)+\sigma^2}$$

    `spectrum` (H, W) and `sigmas` as in :func:`wiener_error`.

    >>> import gahb, torch
    >>> gahb.rates.wiener_slopes(torch.ones(4, 4), [1.0, 3.0])  # 1 / (1 + σ²)
    tensor([0.5000, 0.1000], dtype=torch.float64)
    """
    factors = spectrum.double() / (spectrum.double() + _variances(sigmas))
    return factors.square().sum(dim=(1, 2)) / factors.sum(dim=(1, 2))


def window_error(
    spectrum: Tensor, sigmas: Sequence[float], radius: int, *, free_mean: bool = False, step: int = 4
) -> Tensor:
    r"""Exact MSE of the best denoiser that sees a window about each pixel and no wrap-around, (S,).

    At a pixel p with the window W, all pixels of the image at most `radius`
    rows and columns away,

    $$C_{pp} - c^\top (C_{WW} + \sigma^2\mathrm{Id})^{-1} c, \qquad c = C_{Wp},$$

    and for a mean that is not known (universal kriging) more by
    $(1 - 1^\top a)^2 / 1^\top (C_{WW} + \sigma^2\mathrm{Id})^{-1} 1$, a the weights of c. With
    a radius below half a side no pixel is seen round the edge of the torus.

    Parameters
    ----------
    spectrum : (n, n), unchanged by mirroring and by exchanging its axes.
    step : the mean is over every `step`-th pixel of rows and columns.

    Raises
    ------
    ValueError for a spectrum without the symmetries, a radius or step < 1.

    Examples
    --------
    A larger window is better, and one of everything is Wiener's filter:

    >>> import gahb, torch
    >>> P = gahb.images.c_alpha_spectrum(8, 2.0)
    >>> errors = [gahb.rates.window_error(P, [0.1], radius, step=1).item() for radius in (1, 2, 8)]
    >>> errors[0] > errors[1] > errors[2], round(errors[2] / gahb.rates.wiener_error(P, [0.1]).item(), 6)
    (True, 1.0)
    """
    n, radius = len(spectrum), positive_int("radius", radius)
    P = spectrum.double()
    covariance = torch.fft.ifft2(P).real
    if P.shape != (n, n) or not all(torch.allclose(P, other) for other in (P.T, P.flip(0).roll(1, 0))):
        raise ValueError("spectrum must be square and unchanged by mirroring and by exchanging its axes")
    first = min(positive_int("step", step) // 2, (n - 1) // 2)
    rows, variances, total, weight = range(first, (n + 1) // 2, step), _variances(sigmas).flatten(), 0.0, 0
    for i in rows:
        for j in (j for j in rows if j >= i):
            copies = (1 + (i != j)) * (1 + (2 * i + 1 != n)) * (1 + (2 * j + 1 != n))  # exchanged, mirrored
            total = total + copies * _at_pixel(covariance, variances, (i, j), radius, free_mean)
            weight += copies
    return total / weight


def _at_pixel(covariance: Tensor, variances: Tensor, at: tuple[int, int], radius: int, free_mean: bool) -> Tensor:
    n = len(covariance)
    window = torch.cartesian_prod(*(torch.arange(max(0, i - radius), min(n, i + radius + 1)) for i in at))
    rows, columns = ((window[:, None] - window[None]) % n).unbind(-1)
    values, vectors = torch.linalg.eigh(covariance[rows, columns])
    c = vectors.T @ covariance[tuple(((window - torch.tensor(at)) % n).T)]
    ones, inverse = vectors.sum(dim=0), 1 / (values.clamp(min=0) + variances[:, None])  # (S, window)
    error = covariance[0, 0] - inverse @ c.square()
    if free_mean:
        error = error + (1 - inverse @ (ones * c)).square() / (inverse @ ones.square())
    return error


def increment_exponent(paths: Tensor, lags: Sequence[int], *, order: int = 1) -> float:
    r"""Exponent α at which the increments of periodic paths (n, points) grow with the lag h.

    $$\mathbb E\,|\Delta_h^p x|^2 \sim h^{2\min(\alpha, p)}, \qquad \Delta_h x(t) = x(t + h) - x(t)$$

    half the least-squares slope of the logarithms. For an `order` p above the
    regularity it is the regularity; first increments see nothing above 1.

    Raises
    ------
    ValueError for fewer than two lags, a lag or an order < 1.

    Examples
    --------
    >>> import gahb, torch
    >>> t = torch.arange(1024) / 1024
    >>> round(gahb.rates.increment_exponent(torch.sin(2 * torch.pi * t)[None], [1, 2, 4]), 3)
    1.0
    """
    if len(lags) < 2:
        raise ValueError(f"lags must be at least two, got {list(lags)}")
    powers = []
    for lag in lags:
        increments = paths.double()
        for _ in range(positive_int("order", order)):
            increments = increments.roll(-positive_int("lags", lag), dims=-1) - increments
        powers.append(increments.square().mean().log())
    x = torch.tensor([float(lag) for lag in lags], dtype=torch.float64).log()
    return float(line_slope(x, torch.stack(powers).cpu())) / 2


def _variances(sigmas: Sequence[float]) -> Tensor:
    return torch.tensor(noise_levels(sigmas), dtype=torch.float64)[:, None, None] ** 2
