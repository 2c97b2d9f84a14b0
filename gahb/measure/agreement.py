r"""How far one denoiser's answers are those of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._validate import check_sample, sigma_vector
from ..contract import Denoiser, denoise
from .statistics import ratio_of_means


def explained(f: Tensor, g: Tensor, constant: Tensor) -> tuple[float, float]:
    r"""Share of the answers f (n, …) that g explains, and its standard error over points.

    $$1 - \frac{\sum_i \|f_i - g_i\|^2}{\sum_i \|f_i - m\|^2}$$

    with the `constant` m, an image. 1 where g is f, 0 where it is no better
    than m.

    Raises
    ------
    ValueError where f and g are not shaped alike, or have fewer than two points.

    Examples
    --------
    >>> import torch
    >>> from gahb.measure.agreement import explained
    >>> f = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> explained(f, f / 2, torch.zeros(2))
    (0.75, 0.0)
    """
    _check_alike(f, g)
    ratio, error = ratio_of_means(_squares(f - g), _squares(f - constant))
    return 1 - ratio, error


def explained_more(f: Tensor, better: Tensor, worse: Tensor, constant: Tensor) -> tuple[float, float]:
    """By how much the share of f that `better` explains is larger than that of `worse`, and its standard error.

    Paired over points; arguments and errors as for :func:`explained`.

    >>> import torch
    >>> from gahb.measure.agreement import explained_more
    >>> f = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> explained_more(f, f, f / 2, torch.zeros(2))
    (0.25, 0.0)
    """
    _check_alike(f, better)
    _check_alike(f, worse)
    return ratio_of_means(_squares(f - worse) - _squares(f - better), _squares(f - constant))


def error_cosine(a: Tensor, b: Tensor) -> tuple[float, float]:
    r"""Cosine of the angle between two sets of errors (n, …), and its standard error over points.

    $$\frac{\sum_i \langle a_i, b_i\rangle}{\bigl(\sum_i \|a_i\|^2 \sum_i \|b_i\|^2\bigr)^{1/2}}$$

    The error is that of the delta method. 1 for errors that are the same up
    to a factor; near 0 for unrelated ones. ValueError as for :func:`explained`.

    >>> import torch
    >>> from gahb.measure.agreement import error_cosine
    >>> a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> error_cosine(a, 3 * a)
    (1.0, 0.0)
    """
    _check_alike(a, b)
    a, b = a.double().flatten(1), b.double().flatten(1)
    product, first, second = (a * b).sum(1), a.square().sum(1), b.square().sum(1)
    length = (first.mean() * second.mean()).sqrt()
    value = product.mean() / length
    parts = product / length - value / 2 * (first / first.mean() + second / second.mean())
    return value.item(), (parts.std() / len(a) ** 0.5).item()


def energy_square(filters: Tensor, pixels: Sequence[Sequence[int]], share: float = 0.9) -> Tensor:
    r"""Side of the smallest square about each pixel that holds `share` of the energy of its filter.

    Parameters
    ----------
    filters : (B, P, C, H, W), as of :func:`gahb.adaptive_filters`.
    pixels : (P, 2) rows and columns.
    share : in (0, 1].

    Returns
    -------
    (B, P) odd numbers of pixels, float64.

    Raises
    ------
    ValueError : for a share out of range, or another number of pixels.

    Examples
    --------
    >>> import torch
    >>> from gahb.measure.agreement import energy_square
    >>> filters = torch.zeros(1, 1, 1, 5, 5)
    >>> filters[..., 1:4, 1:4] = 1.0
    >>> energy_square(filters, [(2, 2)])
    tensor([[3.]], dtype=torch.float64)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be a number above 0 and at most 1, got {share!r}")
    if filters.ndim != 5 or filters.shape[1] != len(pixels):
        raise ValueError(f"filters must be (B, {len(pixels)}, C, H, W), one for each pixel, got {tuple(filters.shape)}")
    energy = filters.double().square().sum(2)  # (B, P, H, W)
    rows, columns = (torch.arange(n, device=filters.device) for n in energy.shape[2:])
    sides = []
    for k, (i, j) in enumerate(pixels):
        ring = torch.maximum((rows - i).abs()[:, None], (columns - j).abs())  # (H, W)
        within = torch.stack([(energy[:, k] * (ring <= r)).sum((1, 2)) for r in range(int(ring.max()) + 1)])
        enough = within >= share * (1 - 1e-12) * within[-1]
        sides.append(2 * enough.double().argmax(0) + 1)
    return torch.stack(sides, dim=1).double()


def affine_distance(
    denoiser: Denoiser, images: Tensor, sigma: float, *, seed: int = 0, batch: int = 256
) -> tuple[float, float]:
    r"""Share of a denoiser's answers that the best affine map does not explain, and its standard error.

    $$\min_{A, b}\ \frac{\mathbb E\|f(y) - Ay - b\|^2}{\mathbb E\|f(y) - \mathbb E f(y)\|^2}$$

    A and b are fitted by least squares to nine tenths of the images under
    noise, and tried on the rest. A fit to n points of d values has an excess
    of about d / n of the minimum. Where n ≤ d the fit is the shortest one.

    Parameters
    ----------
    images : (n, …), n ≥ 20. sigma : noise level. seed : of the noise.

    Raises
    ------
    ValueError for fewer images, or a sigma that is not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> from gahb.measure.agreement import affine_distance
    >>> x = gahb.images.disks(400, 4)
    >>> affine_distance(gahb.Gaussian.of(x), x, 0.3)[0] < 1e-6
    True
    """
    check_sample("images", images)
    if len(images) < 20:
        raise ValueError(f"images must be (n, …) with n ≥ 20, got n = {len(images)}")
    sigma_vector(sigma, images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
    y = images + sigma * noise
    with torch.no_grad():
        f = torch.cat([denoise(denoiser, part, sigma) for part in y.split(batch)])
    y, f = y.flatten(1).double(), f.flatten(1).double()
    fitted = len(images) - len(images) // 10
    inputs = torch.cat([y, torch.ones_like(y[:, :1])], dim=1)
    solution = torch.linalg.lstsq(inputs[:fitted].cpu(), f[:fitted].cpu()).solution.to(f)
    rest = f[fitted:]
    return ratio_of_means(_squares(rest - inputs[fitted:] @ solution), _squares(rest - f[:fitted].mean(0)))


def _squares(v: Tensor) -> Tensor:
    return v.double().flatten(1).square().sum(1)


def _check_alike(f: Tensor, g: Tensor) -> None:
    if f.shape != g.shape or f.ndim < 2 or len(f) < 2:
        shapes = f"{tuple(f.shape)} and {tuple(g.shape)}"
        raise ValueError(f"answers must be two (n, …) of one shape with n ≥ 2, got {shapes}")
