"""Any folder of images as a tensor: cropped, gray, resized, without near-duplicates."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from torch import Tensor

from .._files import cache_dir, replacing
from .._progress import bar
from .._validate import positive_int

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
_SIGNATURE = 20  # duplicates are looked for at 20×20 pixels


def folder(path: str | os.PathLike, size: int, *, limit: int | None = None, progress: bool = True) -> Tensor:
    """Images below a folder: float32 (n, 1, size, size) in [0, 1], in order of their paths.

    Each image is cropped to its central square, turned grey and resized with
    anti-aliasing; smaller images are enlarged, with a warning that counts them
    (enlarged images are smooth, and easier to denoise). Of images that
    correlate by more than 0.95 (or less than −0.95) at 20×20 pixels only the
    first is kept, and of flat ones too. The result is cached as uint8 in the user's cache (``GAHB_CACHE``, else
    ``~/.cache/gahb``) until a file of the folder changes.

    Parameters
    ----------
    path : folder, searched recursively.
    size : side in pixels.
    limit : number of images wanted; ValueError if the folder holds fewer.

    Unreadable images are skipped with one warning that counts and names them;
    ValueError if none is left, FileNotFoundError if there is no such folder.
    """
    positive_int("size", size)
    if limit is not None:
        positive_int("limit", limit)
    root = Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"path must be a folder of images, got {str(root)!r}, which is not a folder")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise ValueError(f"path {str(root)!r} holds no images ({', '.join(sorted(SUFFIXES))})")
    if limit is not None and limit > len(files):
        raise ValueError(f"limit is {limit}, but {str(root)!r} holds only {len(files)} images")
    images = _cached(root, files, size, progress)
    if limit is not None and limit > len(images):
        raise ValueError(f"limit is {limit}, but {str(root)!r} holds only {len(images)} distinct, readable images")
    return torch.from_numpy(images[:limit]).float()[:, None] / 255


def _cached(root: Path, files: list[Path], size: int, progress: bool) -> np.ndarray:
    listing = "\n".join(f"{p.relative_to(root)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files)
    key = hashlib.sha256(f"folder 1\n{root.resolve()}\n{size}\n{listing}".encode()).hexdigest()[:24]
    target = cache_dir() / f"folder-{key}.npy"
    if (images := _kept(target)) is not None:
        return images
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if (images := _kept(target)) is None:  # nobody made it meanwhile
            images = _distinct(_read_all(root, files, size, progress), progress)
            with replacing(target) as partial, open(partial, "wb") as file:
                np.save(file, images)
    return images


def _kept(target: Path) -> np.ndarray | None:
    try:
        return np.load(target)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        return None


def _read_all(root: Path, files: list[Path], size: int, progress: bool) -> np.ndarray:
    images, broken, small = [], [], 0
    for path in bar(files, desc=f"reading {root.name}", unit="image", progress=progress):
        try:
            image, side = _read(path, size)
            images.append(image)
            small += side < size
        except Exception:  # Pillow's decoders raise nearly anything on damaged files
            broken.append(str(path.relative_to(root)))
    if not images:
        raise ValueError(f"path {str(root)!r}: none of its {len(files)} images could be read ({_some(broken)})")
    if broken:
        warnings.warn(f"{len(broken)} of {len(files)} images could not be read and were skipped: {_some(broken)}",
                      stacklevel=4)
    if small:
        warnings.warn(f"{small} of {len(images)} images are smaller than size = {size} and were enlarged", stacklevel=4)
    return np.stack(images)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read(path: Path, size: int) -> tuple[np.ndarray, int]:
    """The picture at `size`, and the side of its central square as it was."""
    with Image.open(path) as file:
        gray = ImageOps.exif_transpose(_gray(file))  # as a viewer shows it
    side = min(gray.size)
    left, top = (gray.width - side) // 2, (gray.height - side) // 2
    square = (left, top, left + side, top + side)
    if side == size:
        return np.asarray(gray.crop(square)), side
    return np.asarray(gray.resize((size, size), Image.Resampling.LANCZOS, box=square)), side


def _gray(file: Image.Image) -> Image.Image:
    """One channel of 8 bits. Pillow's own conversion would clip more bits than 8 to white."""
    if file.mode == "F":
        raise ValueError("a floating-point image does not say what is white")
    if file.mode.startswith("I"):
        return Image.fromarray((np.asarray(file) / 257).round().clip(0, 255).astype(np.uint8))
    return file.convert("L")


def _distinct(images: np.ndarray, progress: bool, threshold: float = 0.95, block: int = 1024) -> np.ndarray:
    """Drop every image that correlates above the threshold with an earlier one that is kept."""
    x = torch.from_numpy(images).float()[:, None]
    small = torch.nn.functional.interpolate(x, (_SIGNATURE, _SIGNATURE), mode="area").flatten(1)
    small = small - small.mean(dim=1, keepdim=True)
    norm = small.norm(dim=1, keepdim=True)
    # flat images are alike, and unlike all others
    small = torch.where(norm > 1e-3, small / norm.clamp(min=1e-3), 1 / _SIGNATURE)
    keep = torch.ones(len(x), dtype=torch.bool)
    steps = range(0, len(x), block)
    for start in bar(steps, desc="near-duplicates", unit="block", progress=progress and len(x) >= 4 * block):
        stop = min(start + block, len(x))
        close = (small[start:stop] @ small[:stop].T).abs() > threshold  # (block, stop)
        for row in (close.sum(dim=1) > 1).nonzero().flatten().tolist():
            i = start + row
            if bool((close[row, :i] & keep[:i]).any()):
                keep[i] = False
    return images[keep.numpy()]
