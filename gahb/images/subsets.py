"""Disjoint random subsets of images, and images with permuted pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._validate import check_points, positive_int


def shuffle_pixels(images: Tensor, *, seed: int = 0) -> Tensor:
    """One permutation of the pixels, the same for every image and channel.

    It depends only on (H, W, seed). The shuffled images have the same law up to
    the order of their coordinates, and so the same optimal error at every noise
    level, but neighbouring pixels are no longer alike.

    Parameters
    ----------
    images : floating point (n, C, H, W).
    seed : of the permutation, at least 0.

    Returns
    -------
    A new tensor, shaped like `images`.

    Raises
    ------
    TypeError : if `images` is no tensor of floating-point numbers.
    ValueError : if it has another number of axes, or `seed` is no integer of at least 0.

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.disks(3, 16)
    >>> shuffled = gahb.images.shuffle_pixels(x)
    >>> bool((shuffled.flatten(1).sort().values == x.flatten(1).sort().values).all())
    True
    """
    check_points("images", images)
    if images.ndim != 4:
        raise ValueError(f"images must be (n, C, H, W), got shape {tuple(images.shape)}")
    positive_int("seed", seed, at_least=0)
    return images.flatten(2)[..., pixel_permutation(*images.shape[2:], seed=seed)].reshape(images.shape)


def pixel_permutation(height: int, width: int, *, seed: int = 0) -> Tensor:
    """The permutation of `shuffle_pixels`: pixel j of the result is pixel ``permutation[j]`` of the image."""
    generator = torch.Generator().manual_seed(((seed * 1_000_003 + height) * 1_000_003 + width) % (1 << 63))
    return torch.randperm(height * width, generator=generator)


def split(images: Tensor, n: int, *, seed: int = 0, groups: Sequence | Tensor | None = None):
    """Two disjoint random subsets of n images each, and the rest.

    Without `groups`, the images are put in a random order: the first n are
    `first`, the next n are `second`. With `groups`, whole groups are taken in a
    random order: each goes to `first` while `first` has fewer than n images,
    then to `second` while that has fewer than n, and then to `rest`. What the
    last group of `first` or `second` has beyond n images is dropped, so that no
    group is in two of the three sets.

    Parameters
    ----------
    images : floating point (N, …); image i is ``images[i]``.
    n : size of each subset, from 1 to N / 2.
    seed : of the random order, at least 0.
    groups : one label for each image, such as the person that it shows: a
        sequence of hashable values, a NumPy array or a tensor (N,).

    Returns
    -------
    (first, second, rest), with n, n and at most N − 2n images.

    Raises
    ------
    TypeError : if `images` is no tensor of floating-point numbers.
    ValueError : if N < 2n; if `groups` has not one label for each image; or if
        whole groups, in the order of this seed, leave `second` with fewer than
        n images (where groups are few and large, another seed may do better).

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.disks(10, 8)
    >>> [len(part) for part in gahb.images.split(x, 4)]
    [4, 4, 2]
    >>> people = ["Ada", "Ada", "Bo", "Bo", "Cy", "Cy", "Di", "Di", "Ed", "Ed"]
    >>> [len(part) for part in gahb.images.split(x, 3, groups=people)]
    [3, 3, 2]
    """
    check_points("images", images)
    positive_int("n", n)
    positive_int("seed", seed, at_least=0)
    total = len(images)
    if 2 * n > total:
        raise ValueError(f"n must be at most half of the {total} images for two disjoint sets, got {n}")
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        order = torch.randperm(total, generator=generator)
        return images[order[:n]], images[order[n : 2 * n]], images[order[2 * n :]]
    members = _members(groups, total)
    first, second, rest = [], [], []
    for position in torch.randperm(len(members), generator=generator).tolist():
        part = first if len(first) < n else second if len(second) < n else rest
        part.extend(members[position])
    if len(second) < n:
        raise ValueError(f"n = {n} is too many for two sets that share no group, dealt by seed {seed}: they hold "
                         f"{len(first)} and {len(second)} images")
    return images[first[:n]], images[second[:n]], images[rest]


def _members(groups, total: int) -> list[list[int]]:
    """The images of each group, by index; groups in the order of their first image."""
    labels = groups.tolist() if hasattr(groups, "tolist") else groups  # of a tensor or an array
    try:
        labels = list(labels)
        members: dict = {label: [] for label in labels}
    except TypeError:
        raise ValueError(f"groups must have one hashable label for each of the {total} images, got "
                         f"{type(groups).__name__} {groups!r:.60}") from None
    if len(labels) != total:
        raise ValueError(f"groups must have one label for each of the {total} images, got {len(labels)}")
    for i, label in enumerate(labels):
        members[label].append(i)
    return list(members.values())
