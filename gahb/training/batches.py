"""What one step of training sees: images, noise levels and noise, all from (seed, step)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._validate import check_images, check_points

ImageSource = Tensor | Callable[[int, int], Tensor]
CHECKED = 500  # steps between looks at the values of images that are made on a GPU, which would wait to be read


class Batch(NamedTuple):
    """The share of one process in the batch of one step."""

    x: Tensor  #: (b, …) clean images
    sigma: Tensor  #: (b,) noise levels
    z: Tensor  #: (b, …) unit noise


def as_source(images) -> ImageSource:
    """A tensor or a function (n, start) → images, from what :func:`gahb.fit` is given.

    Raises
    ------
    TypeError for anything else, by its type; ValueError for images outside
    [0, 1] or of another shape than (n, C, H, W), or points (n, d).
    """
    if isinstance(images, DataLoader):
        raise TypeError("images must be a tensor, an array, a Dataset or a callable (n, start), "
                        "got a DataLoader, whose order cannot be repeated: give its dataset")
    if isinstance(images, Dataset):
        return _of_dataset(images)
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    if isinstance(images, Tensor):
        return check_clean("images", images)
    if not callable(images):
        raise TypeError(f"images must be a tensor, an array, a Dataset or a callable (n, start), got "
                        f"{type(images).__name__}")
    return images


def check_clean(name: str, x) -> Tensor:
    """Images (n, C, H, W) in [0, 1], or points (n, d) of any range."""
    if isinstance(x, Tensor) and x.ndim == 2 and len(x):
        return check_points(name, x)
    return check_images(name, x)


def _of_dataset(dataset: Dataset) -> Tensor:
    """All images of a dataset, in its order: an item, or the first part of one (image, label)."""
    if not hasattr(dataset, "__len__"):
        raise TypeError("images is a Dataset without a length; give a callable (n, start) instead")
    items = (dataset[i] for i in range(len(dataset)))
    images = [torch.as_tensor(item[0] if isinstance(item, (tuple, list)) else item) for item in items]
    if not images or any(image.shape != images[0].shape for image in images):
        shapes = sorted({tuple(image.shape) for image in images})
        raise ValueError(f"images must be a Dataset of images of one shape, got {shapes or 'none'}")
    return check_clean("images", torch.stack(images))


def first_images(source: ImageSource) -> Tensor:
    """What a source is known by: the set, or the first image of a stream."""
    if isinstance(source, Tensor):
        return source
    return check_clean("images(n, start)", source(1, 0))


def fingerprint(images: Tensor) -> str:
    """Shape and hash of a set of images."""
    values = images.detach().cpu().contiguous().view(torch.uint8).numpy()
    return f"{tuple(images.shape)} {hashlib.sha256(values).hexdigest()[:16]}"


def draw(source: ImageSource, batch: int, sigma_range: tuple[float, float], seed: int, step: int, *, device="cpu",
         rank: int = 0, processes: int = 1) -> Batch:
    """The batch of one step, from (seed, step) only, or the share in it of one process of several.

    There is one noise level in each of `batch` equal shares of log σ.
    """
    mixed, mine = mix(seed, step), slice_of(batch, rank, processes)
    generator, share = torch.Generator().manual_seed(mixed), batch // processes
    if isinstance(source, Tensor):
        x = source[torch.randint(len(source), (batch,), generator=generator)[mine].to(source.device)]
    else:
        x = source(share, step * batch + mine.start)
        if not isinstance(x, Tensor) or x.device.type == "cpu" or step % CHECKED == 0:
            check_clean("images(n, start)", x)
        if len(x) != share:
            raise ValueError(f"images(n, start) must return n = {share} images, got {len(x)}")
    low, high = sigma_range
    u = torch.rand(batch, generator=generator)
    sigma = torch.exp(math.log(low) + (torch.arange(batch) + u) / batch * math.log(high / low))
    if torch.device(device).type != "cpu":
        generator = torch.Generator(device).manual_seed(mixed)
    z = torch.randn((batch, *x.shape[1:]), generator=generator, device=device)
    return Batch(x, sigma[mine], z[mine])


def picked(n: int, batch: int, seed: int, step: int) -> Tensor:
    """Which of n images the whole batch of a step holds: what `draw` takes from its generator first."""
    return torch.randint(n, (batch,), generator=torch.Generator().manual_seed(mix(seed, step)))


def slice_of(batch: int, rank: int, processes: int) -> slice:
    """The share of one process in a batch."""
    share = batch // processes
    return slice(rank * share, (rank + 1) * share)


def mix(seed: int, step: int) -> int:
    """One seed from two numbers."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]) >> 1
