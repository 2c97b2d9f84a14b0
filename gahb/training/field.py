r"""Fitting a neural field: an autoencoder that is shown one size and asked for another at every step.

The images are functions, so that each exists at every size, and the truth of a
render is known. One step takes images of a class at the size of the encoder,
and the same images at a size drawn from a list; it renders a crop of the
latter and compares by the mean absolute error.

Everything random about step `s` is drawn from a generator seeded by (seed, s),
as in :func:`gahb.fit`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .._validate import positive_int, positive_number
from ..fields import NeuralField
from .batches import check_clean, fingerprint, mix
from .course import EVERY, follow, records
from .method import Method
from .optimiser import Optimiser

SizedSource = Callable[[int, int, int], Tensor]  # (n, start, size) → images start … start + n − 1 at that size


def fit_field(
    field: NeuralField,
    images: SizedSource,
    *,
    size: int,
    sizes: Sequence[int],
    steps: int,
    batch: int = 16,
    crop: int = 20,
    seed: int = 0,
    latent_noise: float = 0.02,
    optimiser: str = "muon",
    learning_rate: float | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    every: int | Sequence[int] = EVERY,
    monitor: Callable[[NeuralField], dict] | None = None,
    log: list | None = None,
    until: Callable[[], bool] | None = None,
) -> NeuralField:
    r"""Train `field` in place as an autoencoder of images at several sizes, and return it in eval mode.

    $$\ell = \frac1m \sum_{p} \bigl|R_p(E(x) + \tau z) - x^{S}_p\bigr|$$

    over the m pixels p of a crop of the image at a size S, where x is the image
    at the size of the encoder. The noise τz on the latents keeps them apart: an
    error of that size in the latents, which a sampler makes, changes little in
    the picture. Optimiser and schedule are those of :func:`gahb.fit`.

    Parameters
    ----------
    images : ``images(n, start, size)`` returns images start … start + n − 1 of
        an endless class at `size`, (n, 1, size, size) in [0, 1].
    size : of the encoder's images, divisible by 2.
    sizes : S is drawn from these.
    steps, batch : optimizer steps, and images in each.
    crop : side of the crop, in pixels of S; at most the smallest of `sizes`.
    seed : ≥ 0, of sizes, crops and noise.
    latent_noise : τ, in the units of the latents, which lie in (0, 1).
    optimiser, learning_rate : as of :class:`gahb.training.Method`.
    checkpoint, progress, every, monitor, log, until : as of :func:`gahb.fit`.

    Raises
    ------
    ValueError : for an argument out of range, and images of another shape or range.
    TypeError : for images that cannot be called.

    Examples
    --------
    >>> import gahb
    >>> def disks(n, start, size):
    ...     return gahb.images.disks(n, size, start=start)
    >>> field = gahb.fit_field(
    ...     gahb.NeuralField(2, 8), disks, size=8, sizes=[8, 16], steps=5, crop=8, progress=False
    ... )
    >>> field(disks(3, 0, 8), 16).shape
    torch.Size([3, 1, 16, 16])
    """
    sizes = _check_sizes(sizes, crop)
    settings = dict(
        steps=positive_int("steps", steps), batch=positive_int("batch", batch), crop=crop, sizes=sizes,
        seed=positive_int("seed", seed, at_least=0), size=positive_int("size", size),
        latent_noise=positive_number("latent_noise", latent_noise),
    )
    how = Method(optimiser=optimiser, learning_rate=learning_rate)
    settings |= dict(optimiser=optimiser, learning_rate=how.learning_rate)
    if size % field.divisor:
        raise ValueError(f"size must be divisible by {field.divisor}, got {size}")
    if not callable(images):
        raise TypeError(f"images must be a function (n, start, size) → images, got {type(images).__name__}")
    recorded = records(every, steps)
    settings["images"] = fingerprint(_at(images, 1, 0, size))
    field.sizes.copy_(torch.tensor([min(sizes), max(sizes)]))
    run = _Run(field, images, settings, how)
    follow(run, recorded, name="fit_field", checkpoint=checkpoint, progress=progress, monitor=monitor, log=log,
           until=until)
    return field.eval()


class _Run:
    """A field that is being trained."""

    def __init__(self, field: NeuralField, images: SizedSource, settings: dict, how: Method):
        self.network, self.images, self.settings, self.how = field.train(), images, settings, how
        self.optimiser = Optimiser(field, how, channels=1)

    def train(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Take the steps that are left after `first`; yields the number of steps taken and the last one's loss."""
        steps = self.settings["steps"]
        for step in range(first, steps):
            loss = _loss(self.network, self.images, self.settings, step)
            loss.backward()
            self.optimiser.step(self.how.rate(step, steps))
            yield step + 1, loss.detach()

    def identity(self) -> dict:
        """What a checkpoint must have been made for."""
        return self.settings


def _loss(field: NeuralField, images: SizedSource, settings: dict, step: int) -> Tensor:
    """Mean absolute error of crops at one size."""
    generator = torch.Generator().manual_seed(mix(settings["seed"], step))
    n, crop = settings["batch"], settings["crop"]
    size = settings["sizes"][int(torch.randint(len(settings["sizes"]), (), generator=generator))]
    corners = torch.randint(size - crop + 1, (2, n), generator=generator)
    x, truth = (_at(images, n, step * n, side) for side in (settings["size"], size))
    rows, columns = (corner[:, None] + torch.arange(crop) for corner in corners)  # (n, crop)
    truth = truth[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    z = field.encode(x)
    z = z + settings["latent_noise"] * torch.randn(z.shape, generator=generator)
    shown = field.pixels(z, (rows + 0.5) / size, (columns + 0.5) / size, 1 / size)
    return (shown[:, 0] - truth).abs().mean()


def _at(images: SizedSource, n: int, start: int, size: int) -> Tensor:
    """Images of the class at a size, checked."""
    x = check_clean("images(n, start, size)", images(n, start, size))
    if tuple(x.shape) != (n, 1, size, size):
        raise ValueError(f"images(n, start, size) must return {(n, 1, size, size)}, got {tuple(x.shape)}")
    return x


def _check_sizes(sizes: Sequence[int], crop: int) -> list[int]:
    """The sizes as a list, each at least as large as the crop."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence) or not sizes:
        raise ValueError(f"sizes must be a sequence of sizes in pixels, at least one, got {sizes!r}")
    sizes = [positive_int("sizes", size) for size in sizes]
    if positive_int("crop", crop) > min(sizes):
        raise ValueError(f"crop must be at most the smallest of sizes, {min(sizes)}, got {crop}")
    return sizes
