"""Any number of images on the disk, read in slices: from a folder, an array file, or a tar archive."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from .._files import cache_dir, naming, replacing
from .._progress import bar
from .folder import _check_sides, _printable, _reason, _say, _warn
from .formats import Picture
from .sources import Source, source_of

EVERY = 20  # seconds from one note of what has been read to the next


@dataclass(frozen=True)
class StoredImages:
    """Images on the disk, uint8 (n, C, size, size); an index or a slice reads what it asks for.

    From :func:`gahb.images.stored`.

    >>> import gahb, numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     np.save(f"{path}/disks.npy", gahb.images.disks(5, 16).numpy())
    ...     images = gahb.images.stored(f"{path}/disks.npy", 16)
    >>> len(images), images.shape, images[1:3].shape, images[4].dtype, images.names[4]
    (5, (5, 1, 16, 16), torch.Size([2, 1, 16, 16]), torch.uint8, 'disks.npy[4]')
    """

    pixels: Path  #: file of bytes
    shape: tuple[int, int, int, int]  #: (n, C, size, size)
    names: list[str]  #: of each image, its path below the folder or its place in the array
    said: str  #: what was skipped, enlarged, or how the numbers were read; "" if nothing is to be said

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice) -> Tensor:
        if not isinstance(key, slice):
            at = range(len(self))[key]
            return self[at : at + 1][0]
        start, stop, step = key.indices(len(self))
        count, each = max(stop - start, 0), math.prod(self.shape[1:])
        flat = np.fromfile(self.pixels, np.uint8, count * each, offset=start * each)
        return torch.from_numpy(flat.reshape(count, *self.shape[1:])[::step])


def stored(path: str | os.PathLike, size: int, *, channels: int = 1, progress: bool = True) -> StoredImages:
    r"""Any number of images as squares of one size that stay on the disk: memory does not depend on how many they are.

    Near-duplicates are not removed, as :func:`gahb.images.folder` does;
    otherwise an image file is read as it reads it. `path` is one of

    - a folder of images; or of tar archives, if it holds no image;
    - ``.npy``, ``.npz``, or ``.pt`` with one tensor (in a dictionary, or an archive,
      the only one of three or four axes): (n, H, W), (n, C, H, W) or (n, H, W, C) with
      C = 1 or 3. Bytes are taken as they are, other unsigned integers as shares of
      their largest number. Floating-point numbers are taken to lie in [0, 1], else in
      [−1, 1], else in [0, 255], whichever range is the first that holds them, but for a
      quarter of its length that samples may exceed it by and that is cut off; else
      between their own least and largest number, and `said` says which. A ``.pt``
      file is read by ``torch.load(weights_only=True)``: it cannot run code.
    - ``.tar``, ``.tar.gz`` or ``.tgz`` with image files in it, as WebDataset writes it.

    The images are stored as bytes in the user's cache (``GAHB_CACHE``, else
    ``~/.cache/gahb``) until a file changes. A reading that was interrupted goes
    on where it was.

    Parameters
    ----------
    path : a folder or a file. size : side of the pictures in pixels, at least 1.
    channels : 1 for grey, 3 for red, green and blue.
    progress : whether a progress bar may be shown.

    Raises
    ------
    FileNotFoundError : if there is nothing at `path`.
    ValueError : for another kind of file, one that is damaged, one that holds
        no image or more than one array of images, numbers that are not finite, and a
        ``.pt`` file with anything but tensors; for `size` or `channels` out of range.

    Examples
    --------
    >>> import gahb, numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     np.savez(f"{path}/new.npz", images=gahb.images.disks(3, 20, seed=1).numpy(), labels=np.arange(3))
    ...     new = gahb.images.stored(f"{path}/new.npz", 16)
    ...     gahb.copies(new, gahb.images.disks(200, 16), progress=False).similarity.shape
    torch.Size([3])
    """
    _check_sides(size, channels)
    source = source_of(path)
    digest = hashlib.sha256(f"stored 1\n{size} {channels}\n{source.identity}".encode()).hexdigest()[:24]
    folder = cache_dir() / f"stored-{digest}"
    with naming(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            reading = _Reading.at(folder, channels * size * size)
            if not reading.complete:
                reading.read(source, folder, size, channels, progress)
    about = _say({**source.skipped, "unreadable": reading.unreadable}, reading.enlarged, size)
    said = "; ".join(part for part in (about, source.range) if part)
    images = StoredImages(folder / "pixels", (len(reading.names), channels, size, size), reading.names, said)
    if said:
        _warn(f"{len(images)} images read from '{_printable(str(path))}'; {said}")
    return images


def natural_side(path: str | os.PathLike) -> int:
    """Side of the central square of the first image that can be read; errors as of :func:`stored`."""
    source = source_of(path)
    for _, open_one in source.items(0):
        try:
            return open_one(1, 3).side
        except Exception:  # Pillow's decoders raise nearly anything on damaged files
            continue
    raise ValueError(f"path '{_printable(str(path))}': none of its images could be read")


# ------------------------------------------------------------------ reading, and going on


@dataclass
class _Reading:
    """What has been read into a folder of the cache so far; noted there as about.json."""

    taken: int = 0  # items of the source
    names: list[str] = field(default_factory=list)  # of the images that are stored
    unreadable: tuple[int, list[str]] = (0, [])
    enlarged: int = 0
    complete: bool = False

    @classmethod
    def at(cls, folder: Path, each: int) -> _Reading:
        """As noted, where the file has `each` bytes for every image; else nothing has been read."""
        try:
            reading = cls(**json.loads((folder / "about.json").read_text(encoding="utf-8")))
            whole = (folder / "pixels").stat().st_size >= len(reading.names) * each
        except (OSError, ValueError, TypeError):  # not there, or damaged
            return cls()
        return reading if whole else cls()

    def note(self, folder: Path) -> None:
        with replacing(folder / "about.json") as partial:
            partial.write_text(json.dumps(vars(self)), encoding="utf-8")

    def read(self, source: Source, folder: Path, size: int, channels: int, progress: bool) -> None:
        folder.mkdir(exist_ok=True)
        noted = time.monotonic()
        pixels = folder / "pixels"
        pixels.touch()
        with open(pixels, "r+b") as file:
            file.truncate(len(self.names) * channels * size * size)
            file.seek(0, os.SEEK_END)
            items = bar(source.items(self.taken), desc=f"reading {source.name}", unit="image", progress=progress,
                        total=source.total, initial=self.taken)
            try:
                for name, open_one in items:
                    self._add(name, open_one, file, size, channels)
                    self.taken += 1
                    if time.monotonic() - noted > EVERY:
                        file.flush()
                        self.note(folder)
                        noted = time.monotonic()
                self.complete = True
            finally:  # also when interrupted
                file.flush()
                self.note(folder)
        if not self.names:
            shutil.rmtree(folder)
            count, first = self.unreadable
            raise ValueError(f"path '{source.name}': none of its {count} images could be read ({', '.join(first)})")

    def _add(self, name: str, open_one: Callable[[int, int], Picture], file, size: int, channels: int) -> None:
        try:
            picture = open_one(size, channels)
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            count, first = self.unreadable
            self.unreadable = count + 1, [*first, f"{name}: {_reason(error)}"][:5]
            return
        file.write(np.ascontiguousarray(picture.pixels).tobytes())
        self.names.append(name)
        self.enlarged += picture.side < size
