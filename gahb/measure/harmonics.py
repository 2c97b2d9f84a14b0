r"""Measures of a basis of images: how fast its vectors oscillate, and how they follow the contours of an image.

The smallest error mixes eigenvectors whose eigenvalues are close, so that a
single one says little. The projector on a band of them is stable,

$$P_b = \sum_{k \in b} e_k e_k^\top ,$$

for bands whose ends lie in gaps wider than the residuals (Davis & Kahan
1970). Every measure here is a ratio of traces $\operatorname{tr}(P_b A)$ with
a quadratic form A, which rotations within a band leave as it is. Vectors are
(B, k, C, H, W), and :func:`cuts` says where bands begin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, pad

from .._validate import check_points, positive_number
from ..jacobian.basis import AdaptiveBasis
from ..transforms import analyse, dct, dct_matrix


def cuts(basis: AdaptiveBasis, edges: Sequence[int]) -> Tensor:
    """Where bands begin and end, (B, n + 1): for every edge, the clearest gap within a fifth of it.

    `edges` are n + 1 increasing counts of eigenvectors, 0 first; of the gaps
    $\\lambda_j - \\lambda_{j+1}$ near an edge that with the largest ratio to
    the residuals on both sides is taken. The end of the basis may be an edge
    only if all d vectors are there. ArithmeticError if no gap is wider than
    its residuals.

    Parameters
    ----------
    basis : of :func:`gahb.adaptive_basis`, k vectors at each of B points.
    edges : n + 1 integers.

    Raises
    ------
    ValueError for edges that do not increase from 0 to at most k − 1, or d;
    ArithmeticError where the residuals hide every gap near an edge.

    Examples
    --------
    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(8), torch.diag(torch.tensor([9.0, 9, 9, 9, 1, 1, 1, 1])))
    >>> basis = gahb.adaptive_basis(f, torch.zeros(1, 8), sigma=1.0)
    >>> gahb.harmonics.cuts(basis, [0, 4, 8])
    tensor([[0, 4, 8]])
    """
    values, residuals = basis.eigenvalues, basis.residuals
    k, d = values.shape[1], basis.eigenvectors[0, 0].numel()
    edges = [int(edge) for edge in edges]
    if len(edges) < 2 or edges[0] != 0 or sorted(set(edges)) != edges or edges[-1] > (k if k == d else k - 1):
        raise ValueError(f"edges must increase from 0 to less than k = {k} (to d = {d}, if all are there), got {edges}")
    noise = (residuals[:, :-1] + residuals[:, 1:]).clamp(min=torch.finfo(values.dtype).eps)
    clear = (values[:, :-1] - values[:, 1:]) / noise  # (B, k - 1): after vector j + 1
    places = [torch.zeros(len(values), dtype=torch.long, device=values.device)]
    for before, edge, after in zip(edges, edges[1:], [*edges[2:], k - 1]):
        if edge == d:
            places.append(torch.full_like(places[0], d))
            continue
        low, high = max(edge - edge // 5, (before + edge) // 2 + 1), min(edge + edge // 5, (edge + after) // 2)
        ratio, where = clear[:, low - 1 : high].max(dim=1)
        if float(ratio.min()) <= 1:
            raise ArithmeticError(f"no gap near edge {edge} is wider than its residuals: lower tol, or move the edge")
        places.append(low + where)
    return torch.stack(places, dim=1)


def band_means(values: Tensor, cuts: Tensor) -> Tensor:
    r"""$\operatorname{tr}(P_b A)/\operatorname{rank} P_b$ (B, n) from $e_k^\top A e_k$ of single vectors, (B, k).

    `values` (B, k) are numbers of single vectors, `cuts` (B, n + 1) the ends of bands.

    >>> import gahb, torch
    >>> gahb.harmonics.band_means(torch.tensor([[4.0, 2.0, 1.0]]), torch.tensor([[0, 2, 3]]))
    tensor([[3., 1.]])
    """
    sums = pad(values.cumsum(dim=1), (1, 0)).gather(1, cuts.expand(len(values), -1))
    return sums.diff(dim=1) / cuts.diff(dim=1)


def frequency(vectors: Tensor, cuts: Tensor, *, periodic: bool = False) -> Tensor:
    r"""Root mean squared frequency of bands (B, n), in cycles a pixel.

    $$\nu_b^2 = \operatorname{tr}(P_b\,|\xi|^2) / \operatorname{rank} P_b$$

    with $|\xi|^2$ the squared frequency in the cosine basis, or in Fourier's
    for periodic images. By Rice's formula a random vector of the band crosses
    zero $2\nu$ times a pixel or, if it goes in all directions alike,
    $\sqrt2\,\nu$ times along a line. White noise has $\nu$ near 0.41.

    Parameters
    ----------
    vectors : (B, k, C, H, W), of unit norm. cuts : (B, n + 1), of :func:`cuts`.
    periodic : whether the images go on periodically.

    Examples
    --------
    The cosines of a picture of 16×16, one by one; the first is constant:

    >>> import gahb, torch
    >>> vectors = gahb.transforms.dct_vectors(4, 16, 16)
    >>> gahb.harmonics.frequency(vectors, torch.arange(5)[None]).round(decimals=4)
    tensor([[0.0000, 0.0312, 0.0312, 0.0442]])
    """
    height, width = vectors.shape[-2:]
    if periodic:
        power = torch.fft.fft2(vectors, norm="ortho").abs().square()
        rows, columns = (torch.fft.fftfreq(n, device=vectors.device) for n in (height, width))
    else:
        power = dct(vectors).square()
        rows, columns = (torch.arange(n, device=vectors.device) / (2 * n) for n in (height, width))
    squared = (rows[:, None] ** 2 + columns**2).to(vectors)
    return band_means((power * squared).sum(dim=(2, 3, 4)), cuts).sqrt()


def alignment(vectors: Tensor, images: Tensor, cuts: Tensor, *, scale: float = 1.0) -> Tensor:
    r"""How far the level lines of bands follow the contours of `images` (B, C, H, W): (B, n), from −1 to 1.

    $$a_b = \frac{\sum_p w(p) \sum_{k\in b} |\nabla e_k(p)|^2 \cos 2\bigl(\theta_k(p) - \theta(p)\bigr)}
                 {\sum_p w(p) \sum_{k\in b} |\nabla e_k(p)|^2}$$

    with $\theta_k$ the direction of $\nabla e_k$, and $\theta$ and w the
    direction across the contour and the difference of the eigenvalues of the
    image's structure tensor, smoothed at `scale` pixels (Bigün & Granlund
    1987). 1: along the contours everywhere; 0: no preference; −1: across.

    Parameters
    ----------
    vectors : (B, k, C, H, W). images : (B, C, H, W). cuts : (B, n + 1).
    scale : of the window of the structure tensor, in pixels, positive.

    Examples
    --------
    A picture of stripes; the first vector has its level lines, the second those across:

    >>> import gahb, torch
    >>> stripes = torch.cos(torch.arange(16) * 0.6).expand(1, 1, 16, 16)
    >>> vectors = torch.stack([stripes, stripes.mT], dim=1)
    >>> gahb.harmonics.alignment(vectors, stripes, torch.tensor([[0, 1, 2]])).round(decimals=3)
    tensor([[ 1., -1.]])
    """
    across, along, _ = _by_direction(vectors, images, scale)
    return band_means(across - along, cuts) / band_means(across + along, cuts).clamp(min=_tiny(across))


def frequency_along(vectors: Tensor, images: Tensor, cuts: Tensor, *, scale: float = 1.0) -> Tensor:
    r"""Root mean squared frequency of bands along the contours of `images`, (B, n), in cycles a pixel.

    $$\nu_b^2 = \frac{1}{4\pi^2}\,\frac{\sum_p w(p) \sum_{k\in b} \langle\nabla e_k(p), t(p)\rangle^2}
                    {\sum_p w(p) \sum_{k\in b} e_k(p)^2}$$

    with t the direction of the contour, and w as in :func:`alignment`. Taken from
    differences between neighbours, which see less of what is near the highest frequency.

    Arguments as for :func:`alignment`.

    >>> import gahb, torch
    >>> stripes = torch.cos(torch.arange(16) * 0.6).expand(1, 1, 16, 16)
    >>> vectors = torch.stack([stripes, stripes.mT], dim=1)
    >>> gahb.harmonics.frequency_along(vectors, stripes, torch.tensor([[0, 1, 2]])).round(decimals=3)
    tensor([[0.0000, 0.0980]])
    """
    _, along, energy = _by_direction(vectors, images, scale)
    return (band_means(along, cuts) / band_means(energy, cuts).clamp(min=_tiny(along))).sqrt() / (2 * math.pi)


def principal_cosines(a: Tensor, b: Tensor) -> Tensor:
    r"""Cosines of the principal angles between the spans of a (B, k, …) and b (B, l, …), descending: (B, min(k, l)).

    The mean of their squares is $\|P_a P_b\|_F^2 / \min(k, l)$: 1 if one span
    holds the other, and near max(k, l)/d for spans at random. Vectors need not
    be orthonormal.

    ValueError or TypeError for what is no batch of points.

    >>> import gahb, torch
    >>> e = torch.eye(3)
    >>> gahb.harmonics.principal_cosines(e[None, :2], e[None, 1:]).abs()
    tensor([[1., 0.]])
    """
    check_points("a", a)
    check_points("b", b)
    Q = [torch.linalg.qr(v.flatten(2).mT).Q for v in (a, b)]
    return torch.linalg.svdvals(Q[0].mT @ Q[1]).clamp(max=1)


def deform(images: Tensor, amplitude: float, *, seed: int = 0, waves: int = 3) -> Tensor:
    """Move the pixels of `images` (…, H, W) by one smooth random displacement of root mean square `amplitude` pixels.

    The displacement is a sum of cosines of at most `waves` half-periods a side;
    pixels from outside the image are taken from its border.

    Parameters
    ----------
    images : (…, H, W). amplitude : in pixels, positive. seed : of the displacement.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(2, 16)
    >>> moved = gahb.harmonics.deform(x, 0.5)
    >>> moved.shape, bool(0 < (moved - x).abs().mean() < 0.1)
    (torch.Size([2, 1, 16, 16]), True)
    """
    positive_number("amplitude", amplitude)
    height, width = images.shape[-2:]
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.zeros(2, height, width)
    spectrum[:, : waves + 1, : waves + 1] = torch.randn(2, waves + 1, waves + 1, generator=generator)
    move = dct_matrix(height).float().T @ spectrum @ dct_matrix(width).float()
    move = amplitude * move / move.square().sum(dim=0).mean().sqrt()
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([(2 * (columns + move[0]) + 1) / width - 1, (2 * (rows + move[1]) + 1) / height - 1], dim=-1)
    flat = images.reshape(-1, 1, height, width)
    out = grid_sample(flat, grid.to(images).expand(len(flat), -1, -1, -1), "bicubic", "border", align_corners=False)
    return out.reshape(images.shape)


def terms_left(coefficients: Tensor, energy: Tensor | None = None, *, best: bool = True) -> Tensor:
    r"""Relative error of an approximation by 0, 1, …, K terms of an orthonormal basis, (B, K + 1).

    $$\epsilon(m) = \|x - \textstyle\sum_{k \in I_m} c_k e_k\|^2 / \|x\|^2$$

    with $I_m$ the m largest of the `coefficients` (B, K), or with `best=False`
    the first m. `energy` is $\|x\|^2$ (B,), where the basis is not complete.

    >>> import gahb, torch
    >>> gahb.harmonics.terms_left(torch.tensor([[1.0, 3.0, 0.0]])).round(decimals=4)
    tensor([[1.0000, 0.1000, 0.0000, 0.0000]], dtype=torch.float64)
    """
    squares = coefficients.double().square()
    energy = squares.sum(dim=1) if energy is None else energy.double()
    squares = squares.sort(dim=1, descending=True).values if best else squares
    return 1 - pad(squares.cumsum(dim=1), (1, 0)) / energy[:, None]


def coefficients(images: Tensor, vectors: Tensor) -> Tensor:
    r"""$\langle x, e_k\rangle$ (B, k).

    `images` (B, C, H, W) and `vectors` (B, k, C, H, W).

    >>> import gahb, torch
    >>> vectors = gahb.transforms.dct_vectors(3, 4, 4)
    >>> gahb.harmonics.coefficients(torch.ones(1, 1, 4, 4), vectors).abs().round(decimals=4)
    tensor([[4., 0., 0.]])
    """
    return (images[:, None] * vectors).flatten(2).sum(dim=2)


def wavelet_coefficients(images: Tensor, wavelet: str = "sym4", levels: int = 4) -> Tensor:
    """Coefficients (B, d) in the periodised orthonormal basis of :class:`gahb.Wavelet`.

    >>> import gahb, torch
    >>> x = gahb.images.disks(1, 16)
    >>> c = gahb.harmonics.wavelet_coefficients(x, "haar", levels=2)
    >>> c.shape, torch.allclose(c.norm(), x.norm())
    (torch.Size([1, 256]), True)
    """
    coarse, details = analyse(images, wavelet, levels)
    return torch.cat([part.flatten(1) for part in (coarse, *(d for level in details for d in level))], dim=1)


def _by_direction(vectors: Tensor, images: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over p of w ⟨∇e, n⟩², w ⟨∇e, t⟩² and w e² for every vector, (B, k): n across the contour, t along it."""
    xx, xy, yy = _structure_tensor(images, positive_number("scale", scale))
    even, odd = (xx - yy)[:, None], 2 * xy[:, None]  # w cos 2θ and w sin 2θ, (B, 1, H - 1, W - 1)
    weight = (even**2 + odd**2).sqrt()
    e_xx, e_xy, e_yy = _gradient_products(vectors)
    total, turned = weight * (e_xx + e_yy), even * (e_xx - e_yy) + odd * 2 * e_xy
    corners = avg_pool2d(vectors.square().sum(dim=2), 2, stride=1)
    return tuple(part.sum(dim=(2, 3)) for part in ((total + turned) / 2, (total - turned) / 2, weight * corners))


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny


def _gradient_products(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over channels of gx², gx gy, gy², at the corners between pixels: (…, C, H, W) → (…, H - 1, W - 1)."""
    down, across = images.diff(dim=-2), images.diff(dim=-1)
    gy, gx = (down[..., 1:] + down[..., :-1]) / 2, (across[..., 1:, :] + across[..., :-1, :]) / 2
    return (gx * gx).sum(dim=-3), (gx * gy).sum(dim=-3), (gy * gy).sum(dim=-3)


def _structure_tensor(images: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient products under a Gaussian window: three (B, H - 1, W - 1)."""
    reach = max(1, round(3 * scale))
    window = torch.exp(-torch.arange(-reach, reach + 1).to(images).square() / (2 * scale**2))
    window = window / window.sum()
    products = torch.cat([part[:, None] for part in _gradient_products(images)], dim=0)
    wide = pad(products, (reach, reach, reach, reach), mode="replicate")
    return conv2d(conv2d(wide, window[None, None, None]), window[None, None, :, None])[:, 0].chunk(3)
