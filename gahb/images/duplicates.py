"""Near-duplicates among many images: which are kept, without computing every correlation in full."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .._progress import bar

SIGNATURE = 20  # near-duplicates are looked for at 20×20 pixels
_FEW = 4096  # of fewer images, all correlations are computed


def distinct(images: np.ndarray, progress: bool, threshold: float = 0.95, block: int = 1024) -> np.ndarray:
    """Whether each image (n, C, H, W) is kept: none correlates above the threshold with an earlier one that is."""
    signature = _signatures(torch.from_numpy(images))
    upper, lower = _bounds(signature)
    keep = torch.zeros(len(images), dtype=torch.bool)
    kept: list[Tensor] = []  # the images that are kept, block by block
    steps = range(0, len(images), block)
    for start in bar(steps, desc="near-duplicates", unit="block", progress=progress and len(images) >= 4 * block):
        new = torch.arange(start, min(start + block, len(images)))
        near = torch.zeros(len(new), dtype=torch.bool)
        for earlier in kept:  # a product of this size stays in the processor's cache
            maybe = (upper[new] @ upper[earlier].T).amax(dim=1) > threshold - 1e-4
            maybe |= (lower[new] @ upper[earlier].T).amin(dim=1) < 1e-4 - threshold
            maybe = (maybe & ~near).nonzero().flatten()
            if len(maybe):
                near[maybe] = _close(signature[new[maybe]], signature[earlier], threshold).any(dim=1)
        new = new[~near]
        new = new[_first_of_each(_close(signature[new], signature[new], threshold))]
        keep[new] = True
        if len(new):
            kept.append(new)
    return keep.numpy()


def _signatures(images: Tensor) -> Tensor:
    """A unit vector for each image, whose products are the correlations at 20×20 pixels."""
    size = (SIGNATURE, SIGNATURE)
    small = torch.cat([torch.nn.functional.interpolate(part.float(), size, mode="area") for part in images.split(1024)])
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


def _close(a: Tensor, b: Tensor, threshold: float) -> Tensor:
    return (a @ b.T).abs() > threshold


def _first_of_each(close: Tensor) -> Tensor:
    """Of images in their order, with close (n, n): whether each is close to no earlier one that is kept."""
    keep = torch.ones(len(close), dtype=torch.bool)
    for i in (close.sum(dim=1) > 1).nonzero().flatten().tolist():
        keep[i] = not bool((close[i, :i] & keep[:i]).any())
    return keep
