"""Checks at the public boundary: each message names the argument, the value, and what is allowed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line refuses bad input without waiting for torch
    from torch import Tensor


class InputError(ValueError):
    """Something asked for does not exist or has the wrong form; nothing has been run or written."""


class MissingExtra(ImportError):  # noqa: N818
    """A part of gahb needs packages that `pip install gahb` alone does not bring."""


def missing_modules(*modules: str) -> list[str]:
    """Those of `modules` that are not installed."""
    return [module for module in modules if find_spec(module) is None]


def require_extra(extra: str, user: str, *modules: str) -> None:
    """Raise MissingExtra, which names the extra and how to install it, if one of `modules` is not installed."""
    if missing := missing_modules(*modules):
        raise MissingExtra(f"{user} needs the extra [{extra}]: pip install 'gahb[{extra}]' "
                           f"(not installed: {', '.join(missing)})")


def nearest_names(given: str, known: Iterable[str], most: int = 3) -> list[str]:
    """At most `most` names of `known` that are like `given`, the most similar first.

    Case does not matter, nor do hyphens in place of underscores. Names that
    contain `given` count as like it, and those of which it has the initials.

    >>> nearest_names("photo", ["disks", "photos", "faces-n10-first"])
    ['photos']
    >>> nearest_names("lr", ["learning_rate", "steps"])
    ['learning_rate']
    >>> nearest_names("elephant", ["disks", "photos"])
    []
    """
    plain = {name: name.lower().replace("_", "-") for name in known}
    wanted = str(given).lower().replace("_", "-")
    initials = {name: "".join(part[:1] for part in plain[name].split("-")) for name in plain}
    abbreviated = [name for name in plain if len(wanted) > 1 and wanted == initials[name]]
    similar = get_close_matches(wanted, set(plain.values()), n=most)
    near = sorted((name for name in plain if plain[name] in similar), key=lambda name: similar.index(plain[name]))
    near += [name for name in plain if wanted and wanted in plain[name] and name not in near]
    return list(dict.fromkeys(abbreviated + near))[:most]


def suggestion(given: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest names, or all of them if none is near and they are few.

    >>> suggestion("photo", ["disks", "photos"])
    'did you mean photos?'
    >>> suggestion("elephant", ["disks", "photos"])
    'there are: disks, photos'
    """
    known = list(known)
    if near := nearest_names(given, known):
        return f"did you mean {' or '.join([', '.join(near[:-1]), near[-1]] if near[1:] else near)}?"
    few = ", ".join(known[:12]) or "none"
    return f"there are: {few}" if len(known) <= 12 else f"there are {len(known)}, for example {', '.join(known[:3])}"


def positive_int(name: str, value, at_least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < at_least:
        raise ValueError(f"{name} must be an integer of at least {at_least}, got {value!r}")
    return int(value)


def check_points(name: str, y) -> Tensor:
    """Points of any shape (B, …), floating."""
    import torch

    if not isinstance(y, torch.Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(y).__name__}")
    if y.ndim < 2:
        raise ValueError(f"{name} must have a batch axis, (B, …), got shape {tuple(y.shape)}")
    if not y.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {y.dtype}")
    return y


def check_sample(name: str, images) -> Tensor:
    """At least one point (n, …), floating."""
    check_points(name, images)
    if len(images) == 0:
        raise ValueError(f"{name} must be (n, …) with n ≥ 1, got shape {tuple(images.shape)}")
    return images


def check_images(name: str, images) -> Tensor:
    """Clean images: (n, C, H, W), floating, values in [0, 1]."""
    import torch

    if not isinstance(images, torch.Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(images).__name__}")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"{name} must be (n, C, H, W) with at least one image, got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"{name} must be floating point in [0, 1], got {images.dtype}")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise ValueError(f"{name} must have values in [0, 1], got values from {low:.4g} to {high:.4g}")
    return images


def check_sigma_range(sigma_range) -> tuple[float, float]:
    try:
        low, high = (float(s) for s in sigma_range)
    except (TypeError, ValueError):
        raise ValueError(f"sigma_range must be two numbers (low, high), got {sigma_range!r}") from None
    if not (0 < low < high < math.inf):
        raise ValueError(f"sigma_range must satisfy 0 < low < high < inf, got {sigma_range!r}")
    return low, high


def check_denoiser_input(y: Tensor, *, channels: int, divisor: int) -> None:
    if y.ndim != 4 or y.shape[1] != channels:
        raise ValueError(f"y must be (B, {channels}, H, W), got shape {tuple(y.shape)}")
    if y.shape[2] % divisor or y.shape[3] % divisor:
        raise ValueError(
            f"y has height and width {tuple(y.shape[2:])}; this network pools by {divisor}, "
            f"so that both must be divisible by {divisor}"
        )


def sigma_vector(sigma, y: Tensor) -> Tensor:
    """Noise level of each point (B,), in the dtype and on the device of `y`.

    `sigma` is a positive finite float or a (B,) tensor; None is refused.
    """
    import torch

    if sigma is None:
        raise ValueError("sigma must be a number or a tensor, got None: only a blind network does without")
    if isinstance(sigma, torch.Tensor):
        if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) != len(y)):
            raise ValueError(f"sigma must be a number or ({len(y)},), got shape {tuple(sigma.shape)}")
        vector = sigma.to(device=y.device, dtype=y.dtype).expand(len(y))
        try:
            low, high = float(vector.detach().min()), float(vector.detach().max())
        except RuntimeError:  # under vmap the values cannot be read
            return vector
    else:
        if isinstance(sigma, bool) or not isinstance(sigma, numbers.Real):
            raise TypeError(f"sigma must be a number or a tensor, got {type(sigma).__name__}")
        low = high = float(sigma)
        vector = torch.full((len(y),), float(sigma), dtype=y.dtype, device=y.device)
    if not (low > 0 and high < math.inf):
        raise ValueError(f"sigma must be positive and finite, got {(low, high) if high > low else low}")
    return vector


def check_denoises(denoiser, name: str = "denoiser") -> None:
    """Something that can be called as ``denoiser(y, sigma)``, and, if it is a network, in eval mode."""
    import torch

    if not callable(denoiser):
        raise TypeError(f"{name} must be called as {name}(y, sigma=None), got {_a(type(denoiser).__name__)}, which "
                        "cannot be called")
    module = isinstance(denoiser, torch.nn.Module)
    try:
        taken = signature(denoiser.forward if module else denoiser)
    except (TypeError, ValueError):  # of a compiled function: only a call can tell
        taken = None
    try:
        if taken is not None:
            taken.bind("y", "sigma")
    except TypeError:
        called = type(denoiser).__name__ if module else getattr(denoiser, "__name__", type(denoiser).__name__)
        raise TypeError(f"{name} must be called as {name}(y, sigma=None), with or without the noise level, got "
                        f"{called}{taken}") from None
    check_eval(denoiser, name)


def _a(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def check_eval(denoiser, name: str = "denoiser") -> None:
    """A network in training mode normalises by its batch: it is not one fixed function."""
    import torch

    if isinstance(denoiser, torch.nn.Module) and any(module.training for module in denoiser.modules()):
        raise ValueError(f"{name} is in training mode; call {name}.eval() first")


def positive_number(name: str, value) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


def check_request(n, size, *, seed, start, device=None) -> None:
    """Checks the arguments common to all image classes."""
    for name, value, least in (("n", n, 1), ("size", size, 1), ("seed", seed, 0), ("start", start, 0)):
        positive_int(name, value, at_least=least)
    if seed >= 1 << 64:
        raise ValueError(f"seed must be an integer below 2**64, got {seed}")
    if start + n >= (1 << 63) - 1:
        raise ValueError(f"start + n must be below 2**63 - 1, got start = {start} and n = {n}")
    check_device(device)


def check_device(device) -> None:
    """A device of this machine, or None for the CPU."""
    import torch

    try:
        torch.zeros(1, device=device)
    except Exception as error:  # torch has many: no such device, a build without it, none on the machine
        here = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        raise ValueError(f"device must be one of this machine ({', '.join(here)}), got {device!r}") from error


def noise_levels(sigmas) -> list[float]:
    """A sequence of positive finite noise levels, at least one."""
    try:
        levels = [float(s) for s in sigmas]
    except TypeError:
        raise TypeError(f"sigmas must be a sequence of noise levels, got {sigmas!r}") from None
    if not levels or not all(0 < s < math.inf for s in levels):
        raise ValueError(f"sigmas must be positive and finite noise levels, at least one, got {levels}")
    return levels
