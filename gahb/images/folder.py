"""Any folder of images as a tensor: cropped, resized, grey or in colour, without near-duplicates."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import warnings
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from filelock import FileLock
from PIL import UnidentifiedImageError
from torch import Tensor

from .._files import cache_dir, naming, replacing
from .._progress import bar
from .._validate import positive_int
from .duplicates import distinct
from .formats import read

SUFFIXES = {
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
}
NOTES = {".csv", ".db", ".html", ".ini", ".json", ".md", ".tsv", ".txt", ".xml", ".yaml", ".yml"}  # beside images
SKIPPED = {  # what is left out, as the warning says it: of one, of several
    "duplicates": ("near-duplicate", "near-duplicates"),
    "unreadable": ("unreadable file", "unreadable files"),
    "folders": ("unreadable folder", "unreadable folders"),
    "formats": ("file in a format that is not read", "files in formats that are not read"),
    "links": ("link that is not followed", "links that are not followed"),
}
_NAMED = 5  # of what is skipped, so many are named


def folder(path: str | os.PathLike, size: int, *, channels: int = 1, limit: int | None = None,
           progress: bool = True) -> Tensor:
    r"""All images below a folder, as square pictures of one size, in the order of their paths.

    Each image is turned as its EXIF orientation says, cropped to its central
    square, and resized by Pillow's Lanczos filter, which is anti-aliased.
    Grey is the luma $0.299 R + 0.587 G + 0.114 B$ of the stored values; colour
    profiles are ignored. Transparent pixels are laid on a **white** ground.
    Integers of 8, 12 and 16 bits are scaled so that 1 is the largest number of
    so many bits. Images that do not say which value is white (32-bit and signed
    integers, floating point) are skipped by name. Of a file with several
    pictures the first is read.

    Two images are near-duplicates if their pixels, at 20×20 and with the mean
    of each channel removed, correlate by more than 0.95 or less than −0.95; all
    images of one plain colour are near-duplicates of each other. The first in
    the order of paths is kept.

    One warning counts and names what is skipped, every time that the folder is
    read, from the cache too: near-duplicates, unreadable files and folders,
    files in other formats (apart from texts and tables, such as .txt and .csv),
    links to folders and links that lead nowhere (links to files are read).
    It also counts the images smaller than `size`, which are enlarged: enlarged
    images are smooth, and easier to denoise. And it names images of more than
    8 bits none of whose numbers is above 255: scaled by the largest number of
    so many bits, they are nearly black.

    The images are cached as 8-bit integers in the user's cache (``GAHB_CACHE``,
    else ``~/.cache/gahb``) until a file of the folder changes.

    Parameters
    ----------
    path : the folder, a string or a path; its subfolders are searched too.
    size : side of the pictures in pixels, at least 1.
    channels : 1 for grey, 3 for red, green and blue.
    limit : how many images are wanted, the first in the order of paths; all by default.
    progress : whether a progress bar may be shown.

    Returns
    -------
    float32 (n, channels, size, size), values in [0, 1].

    Raises
    ------
    FileNotFoundError : if `path` is no folder.
    ValueError : if the folder holds no readable image, or fewer than `limit`;
        if `size`, `channels` or `limit` is out of range.
    TypeError : if `path` is no path.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> import gahb
    >>> with tempfile.TemporaryDirectory() as path:
    ...     for k in range(3):
    ...         pixels = np.random.default_rng(k).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    ...         Image.fromarray(pixels).save(f"{path}/{k}.png")
    ...     grey = gahb.images.folder(path, 16)
    ...     colour = gahb.images.folder(path, 16, channels=3, limit=2)
    >>> grey.shape, colour.shape
    (torch.Size([3, 1, 16, 16]), torch.Size([2, 3, 16, 16]))
    """
    _check_sides(size, channels)
    if limit is not None:
        positive_int("limit", limit)
    root = _root(path)
    listing = _list(root)
    files, where = listing.files, _printable(str(root))
    if not files:
        raise ValueError(f"path '{where}' holds no images ({', '.join(sorted(SUFFIXES))}){_also(listing.skipped)}")
    if limit is not None and limit > len(files):
        raise ValueError(f"limit is {limit}, but '{where}' holds only {len(files)} images{_also(listing.skipped)}")
    pictures = _cached(root, listing, size, channels, progress)
    skipped = {kind: _sum(listing.skipped.get(kind), pictures.skipped.get(kind)) for kind in SKIPPED}
    images = pictures.images
    if limit is not None and limit > len(images):
        raise ValueError(f"limit is {limit}, but '{where}' holds only {len(images)} distinct, readable images"
                         f"{_also(skipped)}")
    if said := _say(skipped, pictures.enlarged, size, pictures.dim):
        _warn(f"{len(images)} images read from '{where}'; {said}")
    return torch.from_numpy(images[:limit]).float() / 255


def folder_names(path: str | os.PathLike, size: int, *, channels: int = 1, progress: bool = True) -> list[str]:
    """Which files the images of :func:`folder` are, in their order: paths below the folder, with ``/``.

    Arguments and errors as of :func:`folder`. With the names, what is known of
    the files can be said of the images: the persons that they show, say.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> import gahb
    >>> with tempfile.TemporaryDirectory() as path:
    ...     for k in range(3):
    ...         pixels = np.random.default_rng(k % 2).integers(0, 256, (30, 30), dtype=np.uint8)
    ...         Image.fromarray(pixels).save(f"{path}/{k}.png")
    ...     gahb.images.folder_names(path, 16)  # the third is the first once more
    ['0.png', '1.png']
    """
    _check_sides(size, channels)
    root = _root(path)
    listing = _list(root)
    if not listing.files:
        raise ValueError(f"path '{_printable(str(root))}' holds no images ({', '.join(sorted(SUFFIXES))})"
                         f"{_also(listing.skipped)}")
    return _cached(root, listing, size, channels, progress).names


def folder_checksum(path: str | os.PathLike) -> str:
    """What tells a folder of images from another, or from itself with other files: 16 hexadecimal digits.

    Of the names of its image files, below the folder, and their sizes in bytes:
    a copy at another place has the same. Errors as of :func:`folder`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahb
    >>> with tempfile.TemporaryDirectory() as path:
    ...     Path(path, "1.png").write_bytes(b"one")
    ...     before = gahb.images.folder_checksum(path)
    ...     Path(path, "2.png").write_bytes(b"two")
    ...     before == gahb.images.folder_checksum(path)
    3
    3
    False
    """
    root, digest = _root(path), hashlib.sha256()
    for file, status in _list(root).files:
        digest.update(os.fsencode(file.relative_to(root)) + f"\0{status.st_size}\n".encode())
    return digest.hexdigest()[:16]


def holds_images(path: str | os.PathLike) -> bool:
    """Whether that is a folder with image files in it or below, by their names."""
    return os.path.isdir(os.path.expanduser(path)) and bool(_list(_root(path)).files)


def _check_sides(size, channels) -> None:
    positive_int("size", size)
    if isinstance(channels, bool) or not isinstance(channels, Integral) or channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (red, green, blue), got {channels!r}")


# --- which files ----------------------------------------------------------------------------

Names = tuple[int, list[str]]  # how many are skipped, and the names of the first few


@dataclass
class _Listing:
    """The image files of a folder in the order of their paths, with their status, and what is not looked at."""

    files: list[tuple[Path, os.stat_result]]
    skipped: dict[str, Names]


def _root(path: str | os.PathLike) -> Path:
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path must be the path of a folder, got {type(path).__name__}") from None
    root = Path(os.path.expanduser(name))
    if not name or not os.path.isdir(root):
        raise FileNotFoundError(f"path must be a folder of images, got '{_printable(name)}', which is not a folder")
    return root


def _list(root: Path) -> _Listing:
    files, skipped = [], {kind: [] for kind in SKIPPED}

    def unreadable_folder(error: OSError) -> None:
        skipped["folders"].append(f"{_name(Path(error.filename), root)}: {_reason(error)}")

    for parent, folders, names in os.walk(root, onerror=unreadable_folder):  # links to folders are not followed
        folders.sort()
        skipped["links"] += [_name(Path(parent, name), root) for name in folders if os.path.islink(Path(parent, name))]
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES:
                if path.suffix.lower() not in NOTES and not name.startswith("."):
                    skipped["formats"].append(_name(path, root))
                continue
            try:
                status = path.stat()
            except OSError as error:
                kind = "links" if path.is_symlink() else "unreadable"
                skipped[kind].append(f"{_name(path, root)}: {_reason(error)}")
                continue
            if stat.S_ISREG(status.st_mode):
                files.append((path, status))
            else:
                skipped["unreadable"].append(f"{_name(path, root)}: not a regular file")
    files.sort(key=lambda file: file[0])
    return _Listing(files, {kind: _first(names) for kind, names in skipped.items()})


# --- what is said of those that are left out ---------------------------------------------------


def _first(names: list[str]) -> Names:
    return len(names), names[:_NAMED]


def _sum(first: Names | None, second: Names | None) -> Names:
    parts = [part for part in (first, second) if part]
    return sum(count for count, _ in parts), [name for _, names in parts for name in names][:_NAMED]


def _say(skipped: dict[str, Names], enlarged: int = 0, size: int = 0, dim: Names = (0, [])) -> str:
    """One sentence, or nothing if every image is there as it was."""
    parts = []
    for kind, (one, several) in SKIPPED.items():
        count, names = skipped.get(kind, (0, []))
        if count:
            parts.append(f"{count} {one if count == 1 else several} ({_listed(count, names)})")
    sentences = [f"skipped {', '.join(parts)}"] if parts else []
    if enlarged:
        sentences.append(f"{enlarged} smaller than size = {size} and enlarged")
    if dim[0]:
        sentences.append(f"{dim[0]} of more than 8 bits without a number above 255, so nearly black ({_listed(*dim)})")
    return "; ".join(sentences)


def _listed(count: int, names: list[str]) -> str:
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")


def _also(skipped: dict[str, Names]) -> str:
    said = _say(skipped)
    return f"; {said}" if said else ""


def _warn(message: str) -> None:
    """A warning at the caller's line, each time: Python shows one of `warnings.warn` once a line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        frame = frame.f_back
    warnings.warn_explicit(message, UserWarning, frame.f_code.co_filename, frame.f_lineno, registry={})


def _name(path: Path, root: Path) -> str:
    return _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    """The name with escapes for line breaks and for bytes that are no UTF-8: any console can show it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows"
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return _printable(reason)[:100]


# --- reading them, once -----------------------------------------------------------------------


@dataclass
class _Pictures:
    images: np.ndarray  # uint8 (n, channels, size, size)
    names: list[str]  # of their files
    enlarged: int
    skipped: dict[str, Names] = field(default_factory=dict)
    dim: Names = (0, [])  # of those among `names`


def _cached(root: Path, listing: _Listing, size: int, channels: int, progress: bool) -> _Pictures:
    digest = hashlib.sha256(f"folder 4\n{size} {channels}\n".encode())
    digest.update(os.fsencode(root.resolve()))
    for path, status in listing.files:  # with its mode: a file may become readable, and else not change
        digest.update(os.fsencode(path.relative_to(root)))
        digest.update(f"\0{status.st_size} {status.st_mtime_ns} {status.st_mode}\n".encode())
    target = cache_dir() / f"folder-{digest.hexdigest()[:24]}.npz"
    if (pictures := _load(target)) is not None:
        return pictures
    lock = FileLock(target.with_suffix(".lock"))
    with naming(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        if (pictures := _load(target)) is None:  # nobody made it meanwhile
            pictures = _read_all(root, [path for path, _ in listing.files], size, channels, progress)
            with replacing(target) as partial, open(partial, "wb") as file:
                about = {name: value for name, value in vars(pictures).items() if name != "images"}
                np.savez(file, images=pictures.images, about=np.array(json.dumps(about)))
    finally:
        lock.release()
    return pictures


def _load(target: Path) -> _Pictures | None:
    try:
        with open(target, "rb") as opened, np.load(opened) as file:
            return _Pictures(file["images"], **json.loads(str(file["about"])))
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, BadZipFile):  # not there, or damaged
        return None


def _read_all(root: Path, files: list[Path], size: int, channels: int, progress: bool) -> _Pictures:
    images = np.empty((len(files), channels, size, size), dtype=np.uint8)
    names, sides, dim, unreadable = [], [], set(), []
    for path in bar(files, desc=f"reading {root.name}", unit="image", progress=progress):
        try:
            picture = read(path, size, channels)
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            unreadable.append(f"{_name(path, root)}: {_reason(error)}")
            continue
        images[len(names)] = picture.pixels
        names.append(_name(path, root))
        sides.append(picture.side)
        if picture.is_dim:
            dim.add(names[-1])
    if not names:
        raise ValueError(f"path '{_printable(str(root))}': none of its {len(unreadable)} images could be read "
                         f"({_listed(*_first(unreadable))})")
    images = images[: len(names)]
    keep = distinct(images, progress)
    duplicates = [name for name, kept in zip(names, keep) if not kept]
    enlarged = sum(side < size for side, kept in zip(sides, keep) if kept)
    kept = [name for name, stays in zip(names, keep) if stays]
    skipped = {"duplicates": _first(duplicates), "unreadable": _first(unreadable)}
    return _Pictures(images[keep], kept, enlarged, skipped, _first([name for name in kept if name in dim]))
