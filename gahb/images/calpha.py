r"""C^α images: two regular backgrounds that meet along a regular contour.

Backgrounds and contours are Gaussian fields on the torus, sums of waves with
independent amplitudes. In n dimensions, standard deviations $|k|^{-(\alpha + n/2)}$
of the amplitudes give fields of Hölder regularity α: $|k|^{-(\alpha+1)}$ for
backgrounds, $|k|^{-(\alpha+1/2)}$ for contours (``convention="holder"``). The
generator published with the paper has $|k|^{-\alpha}$ for both
(``convention="spectral"``).

An image is a function on the unit square. Its spectrum ends at a fixed
frequency, and a pixel is the mean of the function over the pixel's square
(exactly for the backgrounds; for the contour by its exact heights at 320
columns or more). The same image therefore exists at every size.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .._validate import check_request, positive_int, positive_number
from ..kernels.calpha import REACH, coverage, greys
from ..kernels.counter import in_blocks, normal, uniform

CUT = 48  # highest frequency of a background, in cycles an image; images of 96×96 pixels resolve it
CONTOUR_CUT = 2048  # highest frequency of a contour
COLUMNS = 320  # a contour is evaluated at least at so many columns
FIELD_SD = 0.08  # standard deviation of a background with contrast="fixed" and no contour
CONTOUR_SD = 0.12  # standard deviation of a contour's height, in sides of the image


def c_alpha(
    n: int,
    size: int,
    alpha: float,
    *,
    convention: str = "holder",
    contour: bool = True,
    contrast: str = "random",
    rotate: bool = False,
    seed: int = 0,
    start: int = 0,
    device=None,
) -> Tensor:
    r"""Images of two regular backgrounds that meet along a regular contour.

    With fields $g_1, g_2$ of unit variance and a contour of height $c$, all of
    regularity α, the image at row $s$ and column $t$ of the unit square is

    $$x(s, t) = \begin{cases} m_1 + a_1\, g_1(s, t) & s < c(t) \\
        m_2 + a_2\, g_2(s, t) & \text{else,} \end{cases}$$

    clipped to [0, 1]. Image i depends only on (alpha and the other arguments of
    the class, seed, start + i), up to rounding, and is the same function at
    every size.

    Parameters
    ----------
    n : number of images, at least 1.
    size : side in pixels, at least 1.
    alpha : regularity of contour and backgrounds, above 0.
    convention : "holder" for images of Hölder regularity α, or "spectral" for
        amplitudes $|k|^{-\alpha}$ of backgrounds and contours.
    contour : whether there are two regions; otherwise one background fills the image.
    contrast : "random" draws u, v, uniform in [0, 1], for each image: one
        region has the range of grey [u, 1], the other [0, v], and either one is
        above with probability ½. "fixed" has the range [0, 0.6] above and
        [0.4, 1] below; without contour it has mean 0.5 and standard deviation
        0.08. A range spans 4 standard deviations of the field to each side of
        its middle. ``contour=False, contrast="fixed"`` is not clipped: it is
        exactly Gaussian, with the spectrum :func:`c_alpha_spectrum`.
    rotate : whether the contour is turned by a random angle around the centre;
        otherwise it is a graph over the horizontal axis.
    seed : of the random numbers, from 0 to 2⁶⁴ − 1.
    start : index of the first image, at least 0.
    device : where the images are made; they agree between devices to 1e-5.

    Returns
    -------
    float32 (n, 1, size, size), values in [0, 1].

    Raises
    ------
    ValueError : if an argument is out of its range.

    References
    ----------
    Section 3 of Kadkhodaie, Guth, Simoncelli & Mallat (ICLR 2024).

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.c_alpha(4, 32, alpha=2)
    >>> x.shape
    torch.Size([4, 1, 32, 32])
    >>> again = gahb.images.c_alpha(1, 32, alpha=2, start=3)
    >>> bool((again - x[3:]).abs().max() < 1e-6)
    True
    """
    check_request(n, size, seed=seed, start=start, device=device)
    alpha = _check(alpha, convention)
    if contrast not in ("random", "fixed"):
        raise ValueError(f"contrast must be 'random' or 'fixed', got {contrast!r}")

    def make(start: int, n: int) -> Tensor:
        where = (seed, start, n)
        fields = _fields(*where, size, alpha, convention, device)  # (n, 2, size, size), unit variance
        if not contour and contrast == "fixed":
            return 0.5 + FIELD_SD * fields[:, :1]
        centre, gain = _gray(*where, contrast, device)  # (n, 2, 1, 1)
        regions = centre + gain * fields
        if not contour:
            return regions[:, :1].clamp(0, 1)
        share = _coverage(*where, size, alpha, convention, rotate, device)[:, None]
        return (share * regions[:, :1] + (1 - share) * regions[:, 1:]).clamp(0, 1)

    return in_blocks(make, start, n, device)


def c_alpha_spectrum(size: int, alpha: float, *, convention: str = "holder") -> Tensor:
    r"""Variances of the Fourier coefficients of ``c_alpha(contour=False, contrast="fixed")``.

    These images are Gaussian and periodic with mean 0.5, so that their
    covariance is circulant: orthonormal 2-D DFT coefficients are independent.
    Coefficient $m$ has the variance

    $$P_m = \mathrm{size}^2 \sum_{k \equiv m} \operatorname{Var}(a_k)\,
        \operatorname{sinc}^2(k_1/\mathrm{size})\operatorname{sinc}^2(k_2/\mathrm{size}),$$

    a sum over the frequencies k that alias to m, where $a_k$ is the amplitude
    of the wave k and the sinc is the mean of a wave over a pixel. The sum of
    $P_m$ is size² times the variance of a pixel.

    Parameters
    ----------
    size : side in pixels, at least 1.
    alpha : regularity, above 0.
    convention : "holder" or "spectral", as for :func:`c_alpha`.

    Returns
    -------
    float64 (size, size), in squared grey values, with frequency 0 first as in ``torch.fft.fft2``.

    Raises
    ------
    ValueError : if an argument is out of its range.

    Examples
    --------
    >>> import gahb, torch
    >>> P = gahb.images.c_alpha_spectrum(16, alpha=2)
    >>> x = gahb.images.c_alpha(2000, 16, alpha=2, contour=False, contrast="fixed")
    >>> measured = torch.fft.fft2(x - 0.5, norm="ortho").abs().square().mean(dim=(0, 1))
    >>> print(f"{measured.sum() / P.sum():.1f}")
    1.0
    """
    positive_int("size", size)
    alpha = _check(alpha, convention)
    amplitude, aliases = _frequencies(size, alpha, convention)
    return (FIELD_SD * size) ** 2 * amplitude.abs().square()[aliases].sum(dim=0).reshape(size, size)


def contour_heights(n: int, points: int, alpha: float, *, convention: str = "holder", seed: int = 0,
                    start: int = 0, device=None, dtype=torch.float32) -> Tensor:
    """Heights (n, points) of the contours of `c_alpha` at `points` equidistant columns, before they are clipped."""
    positive_int("n", n)
    positive_int("points", points)
    alpha = _check(alpha, convention)
    k, amplitude = _contour_amplitudes(alpha, convention, device)
    draw = normal(seed, "c_alpha contour", start, n, 2 * CONTOUR_CUT, device)
    draw = torch.view_as_complex(draw.to(dtype).reshape(n, CONTOUR_CUT, 2))
    # sum of Re(a_k e^{2πi k (j + ½)/points}): fold the frequencies 0, 1, … modulo points
    waves = draw * (amplitude * torch.exp(1j * math.pi * k / points)).to(draw.dtype)
    waves = torch.nn.functional.pad(waves, (1, -(CONTOUR_CUT + 1) % points)).reshape(n, -1, points)
    folded = sum(waves.unbind(1))  # in a fixed order, on any device
    return 0.5 + CONTOUR_SD * torch.fft.ifft(folded, norm="forward").real


def contour_columns(size: int) -> int:
    """Number of places at which a contour is evaluated: a multiple of `size`, at least `COLUMNS`."""
    return size * -(-COLUMNS // size)


def contour_spectrum(points: int, alpha: float, *, convention: str = "holder") -> Tensor:
    """Variance of each orthonormal 1-D DFT coefficient of :func:`contour_heights`, whose covariance is circulant.

    float64 (points,); the mean height is 0.5.
    """
    positive_int("points", points)
    k, amplitude = _contour_amplitudes(_check(alpha, convention), convention, None)
    folded = torch.zeros(points, dtype=torch.float64)
    folded.index_add_(0, k.long() % points, amplitude.square())
    return CONTOUR_SD**2 * points / 2 * (folded + folded.flip(0).roll(1))


def _contour_amplitudes(alpha: float, convention: str, device) -> tuple[Tensor, Tensor]:
    """Frequencies of a contour and their amplitudes, whose squares sum to one."""
    k = torch.arange(1, CONTOUR_CUT + 1, dtype=torch.float64, device=device)
    amplitude = k ** -(alpha + 0.5 if convention == "holder" else alpha)
    return k, amplitude / amplitude.square().sum().sqrt()


def _check(alpha: float, convention: str) -> float:
    if convention not in ("holder", "spectral"):
        raise ValueError(f"convention must be 'holder' or 'spectral', got {convention!r}")
    return positive_number("alpha", alpha)


def _fields(seed, start, n, size, alpha, convention, device) -> Tensor:
    """Two independent fields of unit variance: real and imaginary part of one complex field."""
    amplitude, aliases = _frequencies(size, alpha, convention)
    draw = normal(seed, "c_alpha background", start, n, 2 * len(amplitude), device)
    waves = torch.view_as_complex(draw.reshape(n, -1, 2)) * amplitude.to(device, torch.complex64)
    folded = sum(waves.index_select(1, alias) for alias in aliases.to(device))  # in a fixed order, on any device
    field = torch.fft.ifft2(folded.reshape(n, size, size), norm="forward")
    return torch.view_as_real(field).movedim(3, 1)


@lru_cache(maxsize=32)
def _frequencies(size: int, alpha: float, convention: str) -> tuple[Tensor, Tensor]:
    """Amplitudes of all frequencies 0 < |k| ≤ CUT, followed by one of 0, and the table of which of them alias.

    Each amplitude is multiplied by the mean of its wave over a pixel (sinc) and
    by the phase of half a pixel; before that, the squares sum to one. A column
    of `aliases` (m, size²) belongs to one frequency of the pixel grid. It lists
    the indices of all waves that alias to this frequency, and is filled up with
    the index of the amplitude 0.
    """
    axis = torch.arange(-CUT, CUT + 1, dtype=torch.float64)
    first, second = torch.meshgrid(axis, axis, indexing="ij")
    radius = (first.square() + second.square()).sqrt()
    inside = (radius > 0) & (radius <= CUT)
    first, second, radius = first[inside], second[inside], radius[inside]
    amplitude = radius ** -(alpha + 1 if convention == "holder" else alpha)
    amplitude = amplitude / amplitude.square().sum().sqrt()
    mean = torch.sinc(first / size) * torch.sinc(second / size)
    phase = torch.exp(1j * math.pi * (first + second) / size)
    place = (first.long() % size) * size + second.long() % size
    order = place.argsort(stable=True)
    counts = place.bincount(minlength=size * size)
    rank = torch.arange(len(place)) - (counts.cumsum(0) - counts)[place[order]]
    aliases = torch.full((int(counts.max()), size * size), len(place))
    aliases[rank, place[order]] = order
    return torch.nn.functional.pad(amplitude * mean * phase, (0, 1)), aliases


def _gray(seed, start, n, contrast, device) -> tuple[Tensor, Tensor]:
    """Mean and gain of both regions (n, 2, 1, 1)."""
    if contrast == "fixed":
        centre = torch.tensor([0.3, 0.7], device=device).expand(n, 2)
        gain = torch.full((n, 2), 0.3 / REACH, device=device)
    else:
        u, v, polarity = uniform(seed, "c_alpha gray", start, n, 3, device).unbind(1)
        centre, gain = greys(u, v, polarity < 0.5)
    return centre[..., None, None], gain[..., None, None]


def _coverage(seed, start, n, size, alpha, convention, rotate, device) -> Tensor:
    """Share of each pixel above the contour: (n, size, size)."""
    columns = contour_columns(size)
    c = contour_heights(n, columns, alpha, convention=convention, seed=seed, start=start, device=device).clamp(0, 1)
    if not rotate:
        return coverage(c, size)
    angle = 2 * math.pi * uniform(seed, "c_alpha angle", start, n, 1, device)[..., None]
    at = (torch.arange(columns, device=device, dtype=c.dtype) + 0.5) / columns - 0.5
    down, right = torch.meshgrid(at, at, indexing="ij")
    along = torch.cos(angle) * right + torch.sin(angle) * down + 0.5
    across = torch.cos(angle) * down - torch.sin(angle) * right + 0.5
    place = (along * columns).floor().long() % columns  # (n, columns, columns)
    height = torch.gather(c, 1, place.flatten(1)).reshape(place.shape)
    share = ((height - across) * columns + 0.5).clamp(0, 1)
    return share.reshape(n, size, columns // size, size, columns // size).mean(dim=(2, 4))
