"""Patches of the photographs that ship inside scikit-image's wheel.

The photographs are converted to grey and reduced by a factor of two, which
averages sensor noise and compression away. Six everyday scenes are held out
for testing; they were chosen before any network was trained.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .._validate import check_images, check_request, positive_int
from ..kernels.counter import philox_uniform

#: names of the photographs for training
TRAIN = (
    "brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png",
    "moon.png", "motorcycle_left.png", "motorcycle_right.png", "retina.jpg",
)
#: names of the photographs for testing
TEST = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "rocket.jpg")


def photograph(name: str, *, multiple: int = 8) -> Tensor:
    """One photograph, in grey, at half its size.

    Parameters
    ----------
    name : one of ``gahb.images.TRAIN`` and ``gahb.images.TEST``.
    multiple : height and width are cropped, at the lower and right edge, to
        multiples of it; networks that pool need this.

    Returns
    -------
    float32 (1, H, W), values in [0, 1].

    Raises
    ------
    ValueError : if there is no photograph of this name, or `multiple` is no positive integer.

    Examples
    --------
    >>> import gahb
    >>> gahb.images.photograph("camera.png").shape
    torch.Size([1, 256, 256])
    """
    positive_int("multiple", multiple)
    if name not in TRAIN + TEST:
        raise ValueError(f"name must be one of {', '.join(TRAIN + TEST)}, got {name!r}")
    picture = _photograph(name)
    height, width = (side // multiple * multiple for side in picture.shape[1:])
    return picture[:, :height, :width].clone()


@cache
def _photograph(name: str) -> Tensor:
    with Image.open(str(files("skimage.data") / name)) as file:
        grey = file.convert("L").reduce(2)
    return torch.from_numpy(np.asarray(grey, dtype=np.float32) / 255)[None]


def photos(n: int, size: int, *, split: str = "train", seed: int = 0, start: int = 0) -> Tensor:
    """Patches of photographs.

    Patch i is a square cut at a random place of a random photograph (chosen in
    proportion to its area), turned by a random multiple of 90° and mirrored
    with probability ½. It depends only on (size, split, seed, start + i).

    Parameters
    ----------
    n : number of patches, at least 1.
    size : side in pixels, from 1 to 250 ("train") or 150 ("test"); a pixel is two pixels of the original wide.
    split : "train" for the photographs in ``gahb.images.TRAIN``, or "test" for
        those in ``gahb.images.TEST``, which no shipped network was trained on.
    seed : of the random places, from 0 to 2⁶⁴ − 1.
    start : index of the first patch, at least 0.

    Returns
    -------
    float32 (n, 1, size, size), values in [0, 1].

    Raises
    ------
    ValueError : if an argument is out of its range.

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.photos(5, 32)
    >>> x.shape
    torch.Size([5, 1, 32, 32])
    >>> bool((gahb.images.photos(1, 32, start=4) == x[4:]).all())
    True
    """
    check_request(n, size, seed=seed, start=start)
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    pictures = [_photograph(name) for name in (TRAIN if split == "train" else TEST)]
    limit = min(min(picture.shape[1:]) for picture in pictures)
    if size > limit:
        raise ValueError(f"size must be at most {limit} for {split} photographs, got {size}")
    return torch.stack([_patch(pictures, size, seed, split == "test", start + i) for i in range(n)])


def centre(picture: Tensor, side: int) -> Tensor:
    """The central square of one or several pictures.

    Parameters
    ----------
    picture : tensor (…, H, W).
    side : the square's side in pixels, at least 1; along an axis that is shorter, the whole axis is kept.

    Returns
    -------
    A view of `picture`, (…, min(side, H), min(side, W)).

    Raises
    ------
    TypeError : if `picture` is no tensor.
    ValueError : if it has fewer than two axes, or `side` is no positive integer.

    Examples
    --------
    >>> import gahb
    >>> gahb.images.centre(gahb.images.photograph("rocket.jpg"), 120).shape
    torch.Size([1, 120, 120])
    """
    positive_int("side", side)
    if not isinstance(picture, Tensor):
        raise TypeError(f"picture must be a torch tensor, got {type(picture).__name__}")
    if picture.ndim < 2:
        raise ValueError(f"picture must be (…, H, W), got shape {tuple(picture.shape)}")
    height, width = picture.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return picture[..., top : top + side, left : left + side]


def crops(images: Tensor, n: int, size: int, *, seed: int = 0, start: int = 0) -> Tensor:
    """Patches cut at random places of given images, as :func:`photos` cuts them.

    Patch i depends only on (images, size, seed, start + i).

    Parameters
    ----------
    images : floating point (N, C, H, W), values in [0, 1].
    n : number of patches, at least 1.
    size : side of a patch in pixels, at most H and W.
    seed : of the random places, from 0 to 2⁶⁴ − 1.
    start : index of the first patch, at least 0.

    Returns
    -------
    (n, C, size, size), of the dtype of `images`.

    Raises
    ------
    TypeError : if `images` is no tensor of floating-point numbers.
    ValueError : if an argument is out of its range.

    Examples
    --------
    >>> import gahb
    >>> photograph = gahb.images.photograph("astronaut.png")
    >>> gahb.images.crops(photograph[None], 10, 40, seed=1).shape
    torch.Size([10, 1, 40, 40])
    """
    check_images("images", images)
    check_request(n, size, seed=seed, start=start)
    if size > min(images.shape[2:]):
        raise ValueError(f"size must be at most {min(images.shape[2:])}, the side of the images, got {size}")
    return torch.stack([_patch(list(images), size, seed, 2, start + i) for i in range(n)])


def _patch(pictures: list[Tensor], size: int, seed: int, stream: int, index: int) -> Tensor:
    which, row, column, turn = philox_uniform(seed, size + (1 << 32) * stream, index, 4)
    areas = np.array([p.shape[1] * p.shape[2] for p in pictures], dtype=float)
    picture = pictures[int(np.searchsorted(np.cumsum(areas) / areas.sum(), which))]  # (C, H, W)
    top = int(row * (picture.shape[1] - size + 1))
    left = int(column * (picture.shape[2] - size + 1))
    patch = picture[:, top : top + size, left : left + size]
    quarter, mirror = divmod(int(turn * 8), 2)
    patch = torch.rot90(patch, quarter, (1, 2))
    return (patch.flip(2) if mirror else patch).clone()
