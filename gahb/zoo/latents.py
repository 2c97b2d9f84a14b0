"""Images as the latents of a trained neural field: what a denoiser of latents is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..fields import NeuralField
from .stored import read


def check_latents(where: str, given) -> None:
    """ValueError unless `given` names a field and the checksum of its weights."""
    if not isinstance(given, dict) or set(given) != {"field", "sha256"} or not all(map(_is_text, given.values())):
        raise ValueError(f"{where} must be a mapping of field, the name of a neural field, and sha256, the first 16 "
                         f"digits of the checksum in its file, got {given!r}")


def encoded(make: Callable[..., Tensor], given: dict, folder: Path | None) -> Callable[..., Tensor]:
    """`make`, with every image exchanged for its latents."""
    field = stored_field(given, folder)

    @torch.no_grad()
    def latents(n: int, start: int) -> Tensor:
        return torch.cat([field.encode(part) for part in make(n, start=start).split(64)])

    return latents


def stored_field(given: dict, folder: Path | None) -> NeuralField:
    """The field that `given` names, whose weights lie in `folder`, where the recipe was read.

    FileNotFoundError and ValueError where it is not there, or has other weights.
    """
    if folder is None or not (path := folder / f"{given['field']}.safetensors").is_file():
        raise FileNotFoundError(f"field {given['field']} must be trained before its latents are: weights are sought "
                                f"beside the recipe{'' if folder is None else f', in {folder}'}")
    field = read(path)
    if (found := field.sha256[:16]) != given["sha256"]:
        raise ValueError(f"sha256 is {given['sha256']}, and {path} has the weights {found}: write the recipe anew")
    if not isinstance(field, NeuralField):
        raise ValueError(f"field {given['field']} must be a NeuralField, and {path} is none")
    return field


def _is_text(value) -> bool:
    return isinstance(value, str) and bool(value)
