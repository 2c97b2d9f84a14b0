"""Disjoint subsets of images, and images with their pixels shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._validate import check_points, positive_int


def shuffle_pixels(images: Tensor, *, seed: int = 0) -> Tensor:
    """The same permutation of pixels applied to every image and channel (n, C, H, W).

    It depends on (H, W, seed) only. Nothing that a denoiser of independent
    pixel noise could know is lost; what is lost is that neighbours are alike.
    """
    check_points("images", images)
    if images.ndim != 4:
        raise ValueError(f"images must be (n, C, H, W), got shape {tuple(images.shape)}")
    return images.flatten(2)[..., pixel_permutation(*images.shape[2:], seed=seed)].reshape(images.shape)


def pixel_permutation(height: int, width: int, *, seed: int = 0) -> Tensor:
    """The permutation of :func:`shuffle_pixels`: pixel j of the result is pixel permutation[j] of the image."""
    generator = torch.Generator().manual_seed(((seed * 1_000_003 + height) * 1_000_003 + width) % (1 << 63))
    return torch.randperm(height * width, generator=generator)


def split(images: Tensor, n: int, *, seed: int = 0, groups: Sequence | Tensor | None = None):
    """Two disjoint random subsets of n images each, and the rest: (first, second, rest).

    With `groups` (one label an image, such as a person's identity) no label
    is shared between `first`, `second` and `rest`: whole groups are dealt out,
    to `first` and `second` as long as they hold fewer than n images, and what a
    group brings beyond n is dropped.

    Raises ValueError if there are not enough images, or if whole groups, in the
    order of this seed, leave the second set short (of few large groups another
    seed may deal better).
    """
    check_points("images", images)
    positive_int("n", n)
    total = len(images)
    if 2 * n > total:
        raise ValueError(f"n must be at most half of the {total} images for two disjoint sets, got {n}")
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        order = torch.randperm(total, generator=generator)
        return images[order[:n]], images[order[n : 2 * n]], images[order[2 * n :]]
    if len(groups) != total:
        raise ValueError(f"groups must have one label for each of the {total} images, got {len(groups)}")
    members: dict = {}
    for i, label in enumerate(groups.tolist() if isinstance(groups, Tensor) else groups):
        members.setdefault(label, []).append(i)
    labels = list(members)
    parts: tuple[list, list, list] = ([], [], [])
    for position in torch.randperm(len(labels), generator=generator).tolist():
        part = next((p for p in parts[:2] if len(p) < n), parts[2])
        part.extend(members[labels[position]])
    if len(parts[1]) < n:
        raise ValueError(f"n = {n} is too many for two sets that share no group, dealt by seed {seed}: they hold "
                         f"{len(parts[0])} and {len(parts[1])} images")
    return images[parts[0][:n]], images[parts[1][:n]], images[parts[2]]
