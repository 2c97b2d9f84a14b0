"""Where images come from: a folder, a tar archive, an array file; each in its order, from any place on."""

from __future__ import annotations

import math
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .folder import SUFFIXES, _also, _list, _name, _printable, _reason
from .formats import Picture, read, square

ARRAYS = (".npy", ".npz", ".pt", ".pth")
ARCHIVES = (".tar", ".tar.gz", ".tgz")
_CHUNK = 256  # images of an array that are read at a time

Item = tuple[str, Callable[[int, int], Picture]]  # name, and what reads it at (size, channels)


@dataclass
class Source:
    """Images in their order, from any place on."""

    name: str
    identity: str  # changes when a file does
    items: Callable[[int], Iterator[Item]]
    total: int
    skipped: dict = field(default_factory=dict)
    range: str = ""  # how numbers were read, where that is worth saying


def source_of(path: str | os.PathLike) -> Source:
    try:
        place = Path(os.path.expanduser(os.fsdecode(path)))
    except TypeError:
        raise TypeError(f"path must be a folder or a file of images, got {type(path).__name__}") from None
    shown = _printable(str(path))
    if place.is_dir():
        return _of_folder(place, shown)
    if not place.exists():
        raise FileNotFoundError(f"path must be a folder or a file of images, and there is nothing at '{shown}'")
    if place.name.lower().endswith(ARCHIVES):
        return _of_archives([place], shown)
    if place.suffix.lower() in ARRAYS:
        return _of_array(place, shown)
    raise ValueError(f"path must be a folder, or a file {', '.join((*ARRAYS, *ARCHIVES))}, got '{shown}'")


def _of_folder(root: Path, shown: str) -> Source:
    listing = _list(root)
    if not listing.files:
        archives = sorted(path for path in root.rglob("*") if path.name.lower().endswith(ARCHIVES) and path.is_file())
        if archives:
            return _of_archives(archives, shown)
        raise ValueError(f"path '{shown}' holds no images ({', '.join(sorted(SUFFIXES))}){_also(listing.skipped)}")

    def items(start: int) -> Iterator[Item]:
        for path, _ in listing.files[start:]:
            yield _name(path, root), lambda size, channels, path=path: read(path, size, channels)

    marks = [f"{_name(path, root)} {s.st_size} {s.st_mtime_ns} {s.st_mode}" for path, s in listing.files]
    return Source(shown, "\n".join([str(root.resolve()), *marks]), items, len(listing.files), listing.skipped)


def _of_archives(paths: list[Path], shown: str) -> Source:
    members = [(path, _members(path)) for path in paths]
    total = sum(len(inside) for _, inside in members)
    if total == 0:
        raise ValueError(f"path '{shown}' holds no images ({', '.join(sorted(SUFFIXES))})")

    def items(start: int) -> Iterator[Item]:
        for path, inside in members:
            wanted, start = inside[start:], max(start - len(inside), 0)
            with tarfile.open(path) as archive:
                for member in wanted:
                    content = archive.extractfile(member).read()
                    name = member.name if len(members) == 1 else f"{path.name}/{member.name}"
                    yield _printable(name), lambda size, channels, file=content: read(BytesIO(file), size, channels)

    return Source(shown, "\n".join(_mark(path) for path in paths), items, total)


def _members(path: Path) -> list[tarfile.TarInfo]:
    try:
        with tarfile.open(path) as archive:
            return [m for m in archive if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES]
    except (tarfile.TarError, EOFError, OSError) as error:
        shown = _printable(str(path))
        raise ValueError(f"path '{shown}' is no tar archive that can be read: {_reason(error)}") from error


def _mark(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


# ------------------------------------------------------------------ arrays


@dataclass
class _Array:
    """An array of images (n, …) that is read from any image on, some at a time."""

    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Callable[[int], Iterator[np.ndarray]]


def _of_array(path: Path, shown: str) -> Source:
    opened = {".npy": _npy, ".npz": _npz}.get(path.suffix.lower(), _pt)
    try:
        array = opened(path, shown)
        channels_last = _layout(array.shape, shown)
        scale, said = _scale(array, shown)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        if str(error).startswith("path "):
            raise
        raise ValueError(f"path '{shown}' is damaged, or no {path.suffix} file: {_reason(error)}") from error

    def items(start: int) -> Iterator[Item]:
        for part in array.parts(start):
            for image in part:
                yield f"{path.name}[{start}]", lambda size, channels, x=image: _picture(x, size, channels)
                start += 1

    def _picture(x: np.ndarray, size: int, channels: int) -> Picture:
        if x.ndim == 3 and not channels_last:
            x = x.transpose(1, 2, 0)
        return square(Image.fromarray(scale(x).squeeze() if x.shape[-1] == 1 else scale(x)), size, channels)

    return Source(shown, _mark(path), items, array.shape[0], range=said)


def _npy(path: Path, shown: str) -> _Array:
    return _sliced(np.load(path, mmap_mode="r", allow_pickle=False))


def _npz(path: Path, shown: str) -> _Array:
    """The only array of images among those of an archive, which is read from its beginning on."""
    with ZipFile(path) as archive:
        headers = {name: _header(archive, name) for name in archive.namelist() if name.endswith(".npy")}
    name = _only({name.removesuffix(".npy"): shape for name, (shape, *_) in headers.items()}, shown) + ".npy"
    shape, fortran, dtype = headers[name]
    if fortran or dtype.hasobject:
        raise ValueError(f"path '{shown}': array {name} must be of numbers in C order")

    def parts(start: int) -> Iterator[np.ndarray]:
        each = math.prod(shape[1:]) * dtype.itemsize
        with ZipFile(path) as archive, archive.open(name) as file:
            _read_header(file)
            file.seek(start * each, os.SEEK_CUR)
            for first in range(start, shape[0], _CHUNK):
                count = min(_CHUNK, shape[0] - first)
                yield np.frombuffer(file.read(count * each), dtype).reshape(count, *shape[1:])

    return _Array(shape, dtype, parts)


def _header(archive: ZipFile, name: str) -> tuple:
    with archive.open(name) as file:
        return _read_header(file)


def _read_header(file) -> tuple:
    version = np.lib.format.read_magic(file)
    one = version == (1, 0)
    return (np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0)(file)


def _pt(path: Path, shown: str) -> _Array:
    try:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # a file of the old format cannot be mapped
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"path '{shown}' holds more than tensors, and loading it would run code that it brings: save "
                         "the tensor alone, torch.save(images, path)") from error
    except RuntimeError as error:
        raise ValueError(f"path '{shown}' is damaged, or no {path.suffix} file: {_reason(error)}") from error
    if isinstance(found, Tensor):
        found = {"tensor": found}
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, dict) else {}
    tensor = tensors[_only({name: tuple(x.shape) for name, x in tensors.items()}, shown)].detach()
    return _sliced(tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy())


def _only(shapes: dict[str, tuple], shown: str) -> str:
    """The name of the only array that may hold images."""
    images = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    if len(images) != 1:
        have = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
        raise ValueError(f"path '{shown}' must hold one array of images, (n, H, W), (n, C, H, W) or (n, H, W, C), got "
                         f"{have}")
    return images[0]


def _sliced(array: np.ndarray) -> _Array:
    def parts(start: int) -> Iterator[np.ndarray]:
        for first in range(start, len(array), _CHUNK):
            yield array[first : first + _CHUNK]

    return _Array(array.shape, array.dtype, parts)


def _layout(shape: tuple[int, ...], shown: str) -> bool:
    """Whether the channels come last; ValueError for what are no images."""
    if len(shape) == 3 and min(shape) > 0:
        return False
    if len(shape) == 4 and min(shape) > 0:
        if shape[1] in (1, 3):
            return False
        if shape[3] in (1, 3):
            return True
    raise ValueError(f"path '{shown}' must hold images (n, H, W), (n, C, H, W) or (n, H, W, C) with n ≥ 1 and C = 1 or "
                     f"3, got {shape}")


def _scale(array: _Array, shown: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What turns numbers of the array into bytes, and what is to be said of it."""
    kind, dtype = array.dtype.kind, array.dtype
    if dtype == np.uint8:
        return np.asarray, ""
    if kind == "b":
        low, high = 0.0, 1.0
    elif kind == "u":
        low, high = 0.0, float(np.iinfo(dtype).max)
    elif kind == "f":
        low, high = _range(array, shown)
    else:
        raise ValueError(f"path '{shown}' must hold bytes, other unsigned integers or floating-point numbers, got "
                         f"{dtype}")
    said = "" if (low, high) == (0, 1) or kind != "f" else f"its numbers were taken to lie in [{low:g}, {high:g}]"

    def bytes_of(x: np.ndarray) -> np.ndarray:
        share = (x.astype(np.float32) - low) / max(high - low, 1e-30)
        return (255 * share).round().clip(0, 255).astype(np.uint8)

    return bytes_of, said


def _range(array: _Array, shown: str) -> tuple[float, float]:
    """The usual range that floating-point numbers lie in, or their own."""
    ends = [(float(part.min()), float(part.max())) for part in array.parts(0)]
    low, high = min(end for end, _ in ends), max(end for _, end in ends)
    if not all(math.isfinite(end) for pair in ends for end in pair):
        raise ValueError(f"path '{shown}' must hold finite numbers, got NaN or infinity")
    for least, most in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        slack = (most - least) / 4
        if least - slack <= low and high <= most + slack:
            return least, most
    return low, high
