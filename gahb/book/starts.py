"""Gaussians from which networks of images that may not be shown start to draw.

A sampler that starts from grey lacks the coarse contrast of its class
(chapter 3); one that starts from the class's mean and covariance does not.
For classes that are made at will the chapters compute both. Those of faces
are kept here, in `notebooks/starts/`: the mean of many images and their
leading principal components, in which no single image can be seen.
`tools/start.py` computes them from the images that neither twin was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from .._files import read_tensors, replacing, root
from .._validate import InputError, positive_int
from ..denoisers.closed_form import Gaussian

COMPONENTS = 100  # of faces of 40×40 pixels, the next has a variance of 0.06 where the noise has 1
LEAST = 1000  # images, so that none of them can be made out


def write(images: torch.Tensor, path: Path, about: dict, *, components: int = COMPONENTS) -> Path:
    """Keep the mean and the leading principal components of `images` (n, C, H, W), n ≥ 1,000.

    `about` says what the images are, and goes into the file's header. There must be
    ten images for each component: as many components as images would span every image.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahb
    >>> from gahb.book import starts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path, images = Path(folder, "disks.safetensors"), gahb.images.disks(1000, 8)
    ...     starts.read(starts.write(images, path, {"kind": "disks"}, components=20))
    Gaussian(shape=(1, 8, 8))
    """
    positive_int("components", components)
    if images.ndim != 4 or len(images) < LEAST:
        raise InputError(f"images must be (n, C, H, W) with n of at least {LEAST:,}, got {tuple(images.shape)}")
    d = images[0].numel()
    if components > (most := min(len(images) // 10, d)):
        raise InputError(f"components must be at most {most:,}, a tenth of the images and no more than an image has "
                         f"values, got {components:,}")
    whole = Gaussian.of(images)
    values, vectors = torch.linalg.eigh(whole.covariance)
    kept = slice(-components, None)
    factors = (vectors[:, kept] * values[kept].clamp(min=0).sqrt()).T
    tensors = {"mean": whole.mean, "factors": factors}
    header = {"about": json.dumps({**about, "images": len(images)}, sort_keys=True)}
    with replacing(path) as scratch:
        save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, scratch, header)
    return path


def read(path: Path) -> Gaussian:
    """The Gaussian of a file, $\\mathcal N(m, F^\\top F)$ with the components F (k, d) as rows."""
    tensors, _ = read_tensors(path, str(path))
    mean, factors = tensors["mean"].double(), tensors["factors"].double()
    return Gaussian(mean, factors.T @ factors)


def of_faces(size: int) -> Gaussian | None:
    """The start of faces of `size`×`size` pixels; None where none is kept.

    >>> from gahb.book import starts
    >>> starts.of_faces(40)
    Gaussian(shape=(1, 40, 40))
    """
    path = root() / "notebooks" / "starts" / f"faces-{size}px.safetensors"
    return read(path) if path.exists() else None
