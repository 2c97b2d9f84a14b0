r"""Random numbers that depend on (seed, index, position) alone, alike on every device.

A counter-based generator: number j of image i is a hash of (seed, i, j), so
that image i does not depend on batch size, order, or how many are asked for.
The hash is SplitMix64 (Steele, Lea & Flood 2014), started for each image from
a hash of (seed, stream, i). Normals are by Box & Muller in float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def uniform(seed: int, stream: str, start: int, n: int, count: int, device=None) -> Tensor:
    """(n, count) float32 numbers in (0, 1), in steps of 2⁻²⁴; row i belongs to image start + i."""
    bits = _bits(seed, stream, start, n, (count + 1) // 2, device)
    return torch.stack(_halves(bits), dim=2).flatten(1)[:, :count]


def normal(seed: int, stream: str, start: int, n: int, count: int, device=None) -> Tensor:
    """(n, count) float32 standard normal numbers; row i belongs to image start + i."""
    a, b = _halves(_bits(seed, stream, start, n, (count + 1) // 2, device))
    radius, angle = torch.sqrt(-2 * torch.log(a)), 2 * math.pi * b
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=2).flatten(1)[:, :count]


def _bits(seed: int, stream: str, start: int, n: int, count: int, device) -> Tensor:
    key = seed
    for character in stream:
        key = _mix_int((key + ord(character)) * _GOLDEN)
    index = torch.arange(start + 1, start + n + 1, dtype=torch.int64, device=device)
    rows = _mix(index * _signed(_GOLDEN) + _signed(_mix_int(key)))
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=device) * _signed(_GOLDEN)
    return _mix(rows[:, None] + counter)


def _halves(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers in (0, 1) of 24 bits each."""
    scale, mask = 2.0**-24, (1 << 24) - 1
    return ((bits >> 40) & mask).float().add_(0.5).mul_(scale), ((bits >> 8) & mask).float().add_(0.5).mul_(scale)


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
