"""Near-duplicates among many images, found without computing every correlation in full."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._progress import bar

SIGNATURE = 20  # near-duplicates are looked for at 20×20 pixels
_FEW = 4096  # of fewer images, all correlations are computed


def near_duplicates(images, *, threshold: float = 0.95, progress: bool = True) -> Tensor:
    r"""Pairs (k, 2) of images that are nearly the same: each image that goes, and the earlier one that stays.

    Two images are near-duplicates if their pixels, at 20×20 and with the mean of
    each channel removed, correlate by more than `threshold` or less than
    −`threshold`; all images of one plain colour are near-duplicates of each
    other. Images are taken in their order: one that is a near-duplicate of an
    earlier image goes, unless that one has gone itself. In a class of few
    dimensions many images are near-duplicates by this measure.

    Parameters
    ----------
    images : (n, C, H, W), a tensor of any dtype and scale, or what :func:`stored` returns.
    threshold : in (0, 1). progress : whether a progress bar may be shown.

    Raises
    ------
    ValueError : for another shape or threshold.

    Examples
    --------
    >>> import gahb, torch
    >>> images = gahb.images.dead_leaves(5, 32)
    >>> gahb.images.near_duplicates(torch.cat([images, 0.5 * images[2:3] + 0.1]))
    tensor([[5, 2]])
    """
    if len(images.shape) != 4 or 0 in images.shape:
        raise ValueError(f"images must be (n, C, H, W) with n ≥ 1, got {tuple(images.shape)}")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold!r}")
    earlier = _earlier(_signatures(images), progress, threshold, 1024)
    gone = (earlier >= 0).nonzero().flatten()
    return torch.stack([gone, earlier[gone]], dim=1)


def distinct(images: np.ndarray, progress: bool, threshold: float = 0.95, block: int = 1024) -> np.ndarray:
    """Whether each image (n, C, H, W) is kept: none correlates above the threshold with an earlier one that is."""
    return (_earlier(_signatures(torch.from_numpy(images)), progress, threshold, block) < 0).numpy()


def _earlier(signature: Tensor, progress: bool, threshold: float, block: int) -> Tensor:
    """Of each image (n,) the earlier one that is kept and that it is most like; −1 if it is kept itself."""
    upper, lower = _bounds(signature)
    n = len(signature)
    earlier = torch.full((n,), -1)
    kept: list[Tensor] = []  # the images that are kept, block by block
    steps = range(0, n, block)
    for start in bar(steps, desc="near-duplicates", unit="block", progress=progress and n >= 4 * block):
        new = torch.arange(start, min(start + block, n))
        for known in kept:  # a product of this size stays in the processor's cache
            maybe = (upper[new] @ upper[known].T).amax(dim=1) > threshold - 1e-4
            maybe |= (lower[new] @ upper[known].T).amin(dim=1) < 1e-4 - threshold
            maybe = new[maybe & (earlier[new] < 0)]
            if len(maybe):
                most, place = (signature[maybe] @ signature[known].T).abs().max(dim=1)
                earlier[maybe[most > threshold]] = known[place[most > threshold]]
        new = new[earlier[new] < 0]
        first = _first_of_each((signature[new] @ signature[new].T).abs() > threshold)
        earlier[new[first >= 0]] = new[first[first >= 0]]
        if (first < 0).any():
            kept.append(new[first < 0])
    return earlier


def _signatures(images) -> Tensor:
    """A unit vector for each image, whose products are the correlations at 20×20 pixels."""
    size = (SIGNATURE, SIGNATURE)
    parts = (images[start : start + 1024].float() for start in range(0, len(images), 1024))
    small = torch.cat([torch.nn.functional.interpolate(part, size, mode="area") for part in parts])
    centred = (small - small.mean(dim=(2, 3), keepdim=True)).flatten(1)
    norm = centred.norm(dim=1, keepdim=True)
    # plain images are like each other, and unlike all others: their constant is orthogonal to what has mean 0
    return torch.where(norm > 1e-3, centred / norm.clamp(min=1e-3), centred.shape[1] ** -0.5)


def _bounds(signature: Tensor, rank: int = 48) -> tuple[Tensor, Tensor]:
    r"""Short vectors (upper, lower) whose products bound the correlations.

    ``lower @ upper.T ≤ signature @ signature.T ≤ upper @ upper.T``. With h the
    first coordinates in the principal axes of all signatures and r the length
    of the rest, $|\langle a, b\rangle - \langle h_a, h_b\rangle| \le r_a r_b$
    (Cauchy & Schwarz). Few images of a folder come near the threshold by this
    bound, so that few correlations are computed in full.
    """
    if len(signature) < _FEW:  # the axes would cost more than they save
        return signature, signature
    covariance = signature.T @ signature
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)  # by descending variance
    turned = signature @ axes
    head, rest = turned[:, :rank], turned[:, rank:].norm(dim=1, keepdim=True)
    return torch.cat([head, rest], dim=1), torch.cat([head, -rest], dim=1)


def _first_of_each(close: Tensor) -> Tensor:
    """Of images in their order, with close (n, n): the first of those kept that each is close to, or −1 if it is kept.

    An image is kept if it is close to no earlier one that is.
    """
    first = torch.full((len(close),), -1)
    for i in (close.sum(dim=1) > 1).nonzero().flatten().tolist():
        before = (close[i, :i] & (first[:i] < 0)).nonzero().flatten()
        if len(before):
            first[i] = before[0]
    return first
