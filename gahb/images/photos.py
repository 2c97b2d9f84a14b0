"""Patches of the photographs that ship inside scikit-image's wheel.

The photographs are turned grey and reduced by two (which averages sensor
noise and compression away). Six everyday scenes are held out for testing;
they were named before any network was trained.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .._validate import check_images, check_request, positive_int

TRAIN = (
    "brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png",
    "moon.png", "motorcycle_left.png", "motorcycle_right.png", "retina.jpg",
)
TEST = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "rocket.jpg")


def photograph(name: str, *, multiple: int = 8) -> Tensor:
    """One photograph, gray, reduced by two: float32 (1, H, W) in [0, 1].

    `name` is one of `TRAIN` + `TEST`; right and lower edges are cropped so
    that `multiple` divides H and W.
    """
    positive_int("multiple", multiple)
    picture = _photograph(name)
    height, width = (side // multiple * multiple for side in picture.shape[1:])
    return picture[:, :height, :width].clone()


@cache
def _photograph(name: str) -> Tensor:
    if name not in TRAIN + TEST:
        raise ValueError(f"name must be one of {', '.join(TRAIN + TEST)}, got {name!r}")
    with Image.open(str(files("skimage.data") / name)) as file:
        gray = file.convert("L").reduce(2)
    return torch.from_numpy(np.asarray(gray, dtype=np.float32) / 255)[None]


def photos(n: int, size: int, *, split: str = "train", seed: int = 0, start: int = 0) -> Tensor:
    """Patches of photographs: float32 (n, 1, size, size) in [0, 1].

    Patch i is a square cut at a random place of a random photograph (chosen
    in proportion to area), turned and mirrored at random; it depends only on
    (size, split, seed, start + i).

    Parameters
    ----------
    n, start : how many patches, and the index of the first.
    size : side in pixels, at most 250 ("train") or 150 ("test").
    split : "train", or "test" for photographs that no shipped network saw.
    seed : of the places, ≥ 0.
    """
    check_request(n, size, seed=seed, start=start)
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    pictures = [_photograph(name)[0] for name in (TRAIN if split == "train" else TEST)]
    limit = min(min(p.shape) for p in pictures)
    if size > limit:
        raise ValueError(f"size must be at most {limit} for {split} photographs, got {size}")
    return torch.stack([_patch(pictures, size, seed, split == "test", start + i) for i in range(n)])


def centre(picture: Tensor, side: int) -> Tensor:
    """The central square of a picture (…, H, W), of at most `side` pixels a side."""
    positive_int("side", side)
    height, width = picture.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return picture[..., top : top + side, left : left + side]


def crops(images: Tensor, n: int, size: int, *, seed: int = 0, start: int = 0) -> Tensor:
    """Patches cut at random places of `images` (N, 1, H, W), as `photos` cuts them: (n, 1, size, size).

    Patch i depends only on (images, size, seed, start + i).
    """
    check_images("images", images)
    check_request(n, size, seed=seed, start=start)
    if size > min(images.shape[2:]):
        raise ValueError(f"size must be at most {min(images.shape[2:])}, the side of the images, got {size}")
    return torch.stack([_patch(list(images[:, 0]), size, seed, 2, start + i) for i in range(n)])


def _patch(pictures: list[Tensor], size: int, seed: int, stream: int, index: int) -> Tensor:
    key = np.array([seed, size + (1 << 32) * stream], dtype=np.uint64)
    random = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    areas = np.array([p.numel() for p in pictures], dtype=float)
    which, row, column, turn = random.random(4)
    picture = pictures[int(np.searchsorted(np.cumsum(areas) / areas.sum(), which))]
    top = int(row * (picture.shape[0] - size + 1))
    left = int(column * (picture.shape[1] - size + 1))
    patch = picture[top : top + size, left : left + size]
    quarter, mirror = divmod(int(turn * 8), 2)
    patch = torch.rot90(patch, quarter)
    return (patch.flip(1) if mirror else patch)[None].clone()
