r"""Random numbers that depend only on (seed, index, position), the same on every device.

A counter-based generator: number j of image i is a hash of (seed, i, j), so
that image i does not depend on batch size, order, or how many are asked for.
The hash is SplitMix64 (Steele, Lea & Flood 2014), started for each image from
a hash of (seed, stream, i); names of streams must differ beyond their first
letter, to which the seed is added. Normals are by Box & Muller in float32.

Two uses keep an older generator, because networks and figures of the book were
made with it, and another one would change their images. Patches of photographs
are drawn by NumPy's Philox (:func:`philox_uniform`), a counter-based generator
too. Permutations and subsets, which are one draw for a whole set of images,
come from torch's generator on the CPU. A test holds what each of them gives.
Training has one more, NumPy's SeedSequence, which mixes the seed and the step
of a batch into one: no image depends on it, and every trained network does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def in_blocks(make: Callable[[int, int], Tensor], start: int, n: int, device=None) -> Tensor:
    """``make(start, n)``, computed in blocks small enough for the processor's cache (on a GPU: for its memory)."""
    block = 32 if torch.device(device or "cpu").type == "cpu" else 1024
    parts = [make(first, min(block, start + n - first)) for first in range(start, start + n, block)]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def uniform(seed: int, stream: str, start: int, n: int, count: int, device=None) -> Tensor:
    """(n, count) float32 numbers in (0, 1), of 24 bits; row i belongs to image start + i."""
    bits = _bits(seed, stream, start, n, (count + 1) // 2, device)
    return torch.stack(_halves(bits), dim=2).flatten(1)[:, :count]


def normal(seed: int, stream: str, start: int, n: int, count: int, device=None) -> Tensor:
    """(n, count) float32 standard normal numbers; row i belongs to image start + i."""
    a, b = _halves(_bits(seed, stream, start, n, (count + 1) // 2, device))
    radius, angle = torch.sqrt(-2 * torch.log(a)), 2 * math.pi * b
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=2).flatten(1)[:, :count]


def philox_uniform(seed: int, stream: int, place: int, count: int) -> np.ndarray:
    """(count,) float64 numbers in [0, 1) of image `place`, by the Philox generator (Salmon et al. 2011).

    Only the patches of photographs are drawn so; new classes of images take :func:`uniform`.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, place])).random(count)


def _bits(seed: int, stream: str, start: int, n: int, count: int, device) -> Tensor:
    key = index(seed)
    for character in stream:
        key = _mix_int((key + ord(character)) * _GOLDEN)
    images = torch.arange(start + 1, start + n + 1, dtype=torch.int64, device=device)
    rows = _mix(images * _signed(_GOLDEN) + _signed(_mix_int(key)))
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(_GOLDEN)
    return _mix(rows[:, None] + counter)


def _halves(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers of 24 bits each, strictly inside (0, 1); without the clamp the largest would be rounded to 1."""
    halves = (((bits >> shift) & ((1 << 24) - 1)).float() for shift in (40, 8))
    first, second = (half.add_(0.5).mul_(2.0**-24).clamp_(max=1 - 2.0**-24) for half in halves)
    return first, second


def _mix(x: Tensor) -> Tensor:
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))).mul_(_signed(_FIRST))
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))).mul_(_signed(_SECOND))
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def _mix_int(x: int) -> int:
    x &= (1 << 64) - 1
    x = ((x ^ (x >> 30)) * _FIRST) & ((1 << 64) - 1)
    x = ((x ^ (x >> 27)) * _SECOND) & ((1 << 64) - 1)
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
