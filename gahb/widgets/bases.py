"""What a denoiser does at a picture, over sliders: vectors of its adaptive basis, and filters of its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..contract import denoise
from ..jacobian import adaptive_basis, adaptive_filters
from .frames import FramesWidget, frames

_NUMBERS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 90, 128, 256, 512, 1024)


def basis_frames(
    pictures: Mapping[str, tuple], sigmas: Sequence[float], *, numbers: Sequence[int] = _NUMBERS, seed: int = 0
) -> FramesWidget:
    r"""Noisy picture, vector $e_k$, partial sum and answer, over pictures, σ and k.

    The partial sum is $\sum_{j\le k}\lambda_j\langle y, e_j\rangle e_j$ in the adaptive
    basis at $y = x + \sigma z$; at the last k it is $f(y)$ but for the
    antisymmetric part of the Jacobian.

    Parameters
    ----------
    pictures : name → (blind denoiser, clean image (1, H, W)), of one size.
    sigmas : noise levels.
    numbers : the k that are shown; those above H · W are left out.
    seed : of the unit noise z, the same at every σ.
    """
    _check_pictures(pictures, "(denoiser, clean image)", 2)
    shown, captions = [], []
    for denoiser, x in pictures.values():
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        kept = [k for k in numbers if k <= x.numel()]
        for sigma in sigmas:
            y = x + sigma * z
            basis = adaptive_basis(denoiser, y[None])
            values, vectors = basis.eigenvalues[0], basis.eigenvectors[0]  # (d,), (d, 1, H, W)
            sums = (values[:, None, None, None] * (vectors * y).sum((1, 2, 3), keepdim=True) * vectors).cumsum(0)
            with torch.no_grad():
                answer = denoise(denoiser, y[None])[0]
            shown += [torch.cat([y, _visible(vectors[k - 1]), sums[k - 1], answer]) for k in kept]
            captions += [["", f"λ = {values[k - 1]:.2f}", "", ""] for k in kept]
    lengths = (len(pictures), len(sigmas), len(kept))
    return frames(
        torch.stack(shown).unflatten(0, lengths), {"picture": list(pictures), "σ": list(sigmas), "k": kept},
        captions=_nested(captions, lengths), titles=["noisy", "vector k", "sum up to k", "answer"], signed=[1],
        alt="Vectors of the adaptive basis of a noisy picture, and the sum of the first of them",
    )


def filter_frames(pictures: Mapping[str, tuple], *, step: int = 3, margin: int = 1) -> FramesWidget:
    r"""Row $\partial f_i/\partial y$ of the Jacobian for the pixel i that the reader points at.

    Parameters
    ----------
    pictures : name → (denoiser, noisy image (1, H, W), image to point at (1, H, W)), of one size.
    step, margin : between the pixels that can be chosen, and around them.
    """
    _check_pictures(pictures, "(denoiser, noisy image, image to point at)", 3)
    shown = []
    for denoiser, y, seen in pictures.values():
        rows, columns = (range(margin, n - margin, step) for n in y.shape[1:])
        places = [(i, j) for i in rows for j in columns]
        for place, row in zip(places, adaptive_filters(denoiser, y[None], pixels=places)[0]):
            shown.append(torch.cat([marked(seen, place), row / row.abs().max()]))
    return frames(
        torch.stack(shown).unflatten(0, (len(pictures), len(rows), len(columns))),
        {"picture": list(pictures), "row": list(rows), "column": list(columns)}, place=("row", "column"), signed=[1],
        titles=["point at a pixel", "its filter"], alt="A pixel of a picture, and its adaptive filter",
    )


def marked(image: Tensor, place: tuple[int, int]) -> Tensor:
    """`image` (1, H, W) with a white pixel in a black frame at `place`."""
    image, (row, column) = image.clone(), place
    image[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 0
    image[:, row, column] = 1
    return image


def _check_pictures(pictures, what: str, parts: int) -> None:
    wanted = f"pictures must be a mapping from names to {what}, at least one"
    if not isinstance(pictures, Mapping) or not pictures:
        raise TypeError(f"{wanted}, got {type(pictures).__name__}{' without any' * isinstance(pictures, Mapping)}")
    for name, entry in pictures.items():
        if not isinstance(entry, (tuple, list)) or len(entry) != parts:
            raise TypeError(f"{wanted}, got {type(entry).__name__} for {name!r}")


def _visible(vector: Tensor) -> Tensor:
    """On a scale of its own: one extreme pixel must not hide the rest."""
    return vector / vector.abs().quantile(0.99)


def _nested(values: list, lengths: tuple[int, ...]) -> list:
    """A flat list, cut as an array of that shape is."""
    for length in reversed(lengths[1:]):
        values = [values[i : i + length] for i in range(0, len(values), length)]
    return values
