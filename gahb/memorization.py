"""Is a sample a copy: its nearest training image, its twin of another training set, and the N where they cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ._validate import positive_int
from .kernels.cosine import most_similar, unit


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
    """
    _check_images("samples", samples), _check_images("images", images)
    positive_int("block", block)
    if len(images) == 0 or images.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"images must be (N, {', '.join(map(str, samples.shape[1:]))}) with N ≥ 1, got {tuple(images.shape)}"
        )
    index = most_similar(samples, images, block)
    return twin_similarity(samples, images[index.to(images.device)].to(samples.device)), index


def twin_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean-removed cosine of paired images (n,), as in :func:`nearest`, float64; `a` and `b` are (n, …)."""
    _check_images("a", a), _check_images("b", b)
    if a.shape != b.shape:
        raise ValueError(f"b must be shaped like a, {tuple(a.shape)}, got {tuple(b.shape)}")
    return (unit(a, torch.float64) * unit(b, torch.float64)).sum(dim=1).clamp(-1, 1)


def margins(samples: Mapping[int, Sequence[Tensor]], sets: Mapping[int, Sequence[Tensor]]) -> dict[int, Tensor]:
    r"""How much more alike twins' samples are than each is to its nearest training image, by N: (n,) each.

    $$\cos(a_k, b_k) - \tfrac12\Bigl(\max_{x \in S_1} \cos(a_k, x) + \max_{x \in S_2} \cos(b_k, x)\Bigr)$$

    with the mean-removed cosine; twins overtake their training images where it
    turns positive (:func:`gahb.crossing`).

    Parameters
    ----------
    samples : N → the samples a, b of the two networks, (n, …) each, from the
        same noise. sets : N → their training sets $S_1, S_2$.
    """
    if set(samples) != set(sets):
        raise ValueError(f"samples and sets must be of the same N, got {sorted(samples)} and {sorted(sets)}")
    return {
        size: twin_similarity(*pair) - sum(nearest(a, own)[0] for a, own in zip(pair, sets[size], strict=True)) / 2
        for size, pair in samples.items()
    }


def _check_images(name: str, images) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(images).__name__}")
    if images.ndim < 2:
        raise ValueError(f"{name} must be (n, …), got shape {tuple(images.shape)}")


def crossing(differences: Mapping[int, Tensor], *, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    r"""N at which a mean difference rises through zero, and its 95 % bootstrap interval: (N, low, high).

    Between the two sizes where the mean turns from negative to not negative
    it is taken to be linear in log N. Samples are redrawn jointly for all N,
    as sample k has the same noise for each. NaN where nothing crosses; the
    interval is of the redrawn curves that do.

    Parameters
    ----------
    differences : N → (n,) values, n the same for all N; at least two N.
    """
    sizes = sorted(differences)
    values = torch.stack([differences[size].double() for size in sizes])  # (sizes, n)
    if len(sizes) < 2 or sizes[0] < 1:
        raise ValueError(f"differences must be of at least two N ≥ 1, got {sizes}")
    generator = torch.Generator().manual_seed(seed)
    n = values.shape[1]
    picks = torch.randint(n, (positive_int("draws", draws), n), generator=generator)
    means = torch.cat([values.mean(dim=1)[None], values[:, picks].mean(dim=2).T])  # (1 + draws, sizes)
    logs = torch.tensor(sizes, dtype=torch.float64).log()
    turns = (means[:, :-1] < 0) & (means[:, 1:] >= 0)
    place = turns.float().argmax(dim=1, keepdim=True)  # the first
    a, b = means.gather(1, place), means.gather(1, place + 1)
    here = logs[place] + (logs[place + 1] - logs[place]) * a / (a - b)
    crossed = torch.where(turns.any(dim=1), here[:, 0], torch.nan).exp()
    low, high = crossed[1:].nanquantile(crossed.new_tensor([0.025, 0.975])).tolist()
    return crossed[0].item(), low, high
