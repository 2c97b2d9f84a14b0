"""How similar samples are to training images, and to the samples of a network trained on other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .._validate import positive_int
from ..kernels.similarity import most_similar, unit


def nearest(samples: Tensor, images: Tensor, *, block: int = 1024) -> tuple[Tensor, Tensor]:
    r"""The most similar of `images` to each sample: similarity (n,) and index (n,).

    Similarity is the mean-removed cosine, in [−1, 1],

    $$\frac{\langle a - \bar a,\, b - \bar b\rangle}{\|a - \bar a\|\,\|b - \bar b\|},$$

    $\bar a$ the mean over the pixels of a: brightness and contrast do not count.
    It is 0 with a constant image. The images are read once, block by block, so
    that memory does not depend on how many they are; they may be memory-mapped.
    Of images whose similarities agree to 1e-6, any can be named. ValueError
    where a value is not finite.

    Parameters
    ----------
    samples : (n, …). images : (N, …), N ≥ 1, of the same shape of image; any
        dtype and scale, uint8 included. block : images read at a time.

    Examples
    --------
    >>> import gahb, torch
    >>> images = gahb.images.disks(50, 8)
    >>> similarity, index = gahb.nearest(0.5 * images[[7, 3]] + 0.2, images)
    >>> similarity.round(decimals=4), index
    (tensor([1., 1.], dtype=torch.float64), tensor([7, 3]))
    """
    _check_images("samples", samples)
    _check_images("images", images)
    positive_int("block", block)
    if len(images) == 0 or images.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"images must be (N, {', '.join(map(str, samples.shape[1:]))}) with N ≥ 1, got {tuple(images.shape)}"
        )
    index = most_similar(samples, images, block)
    return twin_similarity(samples, images[index.to(images.device)].to(samples.device)), index


def twin_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean-removed cosine of paired images (n,), as in :func:`gahb.nearest`, float64; `a` and `b` are (n, …).

    TypeError for what is no tensor, ValueError for shapes that differ.

    >>> import gahb, torch
    >>> a = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    >>> gahb.twin_similarity(a, torch.stack([2 * a[0] + 3, -a[0]])).round(decimals=6)
    tensor([ 1., -1.], dtype=torch.float64)
    """
    _check_images("a", a)
    _check_images("b", b)
    if a.shape != b.shape:
        raise ValueError(f"b must be shaped like a, {tuple(a.shape)}, got {tuple(b.shape)}")
    return (unit(a, torch.float64) * unit(b, torch.float64)).sum(dim=1).clamp(-1, 1)


def margins(samples: Mapping[int, Sequence[Tensor]], sets: Mapping[int, Sequence[Tensor]]) -> dict[int, Tensor]:
    r"""Similarity of the samples of twins, less that to their nearest training images: for each N, (n,).

    $$\cos(a_k, b_k) - \tfrac12\Bigl(\max_{x \in S_1} \cos(a_k, x) + \max_{x \in S_2} \cos(b_k, x)\Bigr)$$

    with the mean-removed cosine; twins overtake their training images where it
    turns positive (:func:`gahb.crossing`).

    Parameters
    ----------
    samples : N → the samples a, b of the two networks, (n, …) each, from the
        same noise. sets : N → their training sets $S_1, S_2$.

    Raises
    ------
    ValueError where samples and sets are not of the same N.

    Examples
    --------
    Samples that are copies of their own training images, which differ:

    >>> import gahb, torch
    >>> first, second = gahb.images.disks(10, 8), gahb.images.disks(10, 8, start=10)
    >>> margin = gahb.memorization.margins({10: [first, second]}, {10: [first, second]})
    >>> bool((margin[10] < 0).all())
    True
    """
    if set(samples) != set(sets):
        raise ValueError(f"samples and sets must be of the same N, got {sorted(samples)} and {sorted(sets)}")
    return {
        size: twin_similarity(*pair) - sum(nearest(a, own)[0] for a, own in zip(pair, sets[size], strict=True)) / 2
        for size, pair in samples.items()
    }


def distance_ratio(samples: Tensor, images: Tensor, *, block: int = 1024) -> Tensor:
    r"""Distance of each sample to the nearest of `images`, over that to the second nearest: (n,), in [0, 1].

    $$\frac{\|a - x_{(1)}\|}{\|a - x_{(2)}\|}$$

    A copy of one image has a ratio near 0, a sample among many images one near 1.
    A ratio below ⅓ counts as a copy in Bonnaire et al. (2025). Unlike the
    cosine of :func:`gahb.nearest` it is measured against how dense the images are.
    It is 1 where both distances are 0.

    Parameters
    ----------
    samples : (n, …). images : (N, …), N ≥ 2, of the same shape of image. block :
        images read at a time.

    Raises
    ------
    ValueError for fewer than two images, or shapes that differ.

    Examples
    --------
    >>> import gahb, torch
    >>> images = gahb.images.disks(50, 8)
    >>> copies, new = images[:5] + 0.001, gahb.images.disks(5, 8, seed=1)
    >>> bool((gahb.memorization.distance_ratio(copies, images) < 1 / 3).all())
    True
    >>> bool((gahb.memorization.distance_ratio(new, images) < 1 / 3).any())
    False
    """
    _check_images("samples", samples)
    _check_images("images", images)
    positive_int("block", block)
    if len(images) < 2 or images.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"images must be (N, {', '.join(map(str, samples.shape[1:]))}) with N ≥ 2, got {tuple(images.shape)}"
        )
    points = samples.flatten(1).double()
    closest = points.new_full((len(points), 2), torch.inf)
    for part in images.split(block):
        part = part.flatten(1).to(points)
        # matrix products name a few candidates; their own distances are exact, where the products cancel
        candidates = torch.cdist(points, part).topk(min(8, len(part)), dim=1, largest=False).indices
        distances = (points[:, None] - part[candidates]).norm(dim=2)
        closest = torch.cat([closest, distances], dim=1).topk(2, dim=1, largest=False).values
    nearest, second = closest.unbind(dim=1)
    return torch.where(second > 0, nearest / second, 1.0)


def _check_images(name: str, images) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(images).__name__}")
    if images.ndim < 2:
        raise ValueError(f"{name} must be (n, …), got shape {tuple(images.shape)}")
