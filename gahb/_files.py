"""Writing files whole or not at all, checksums, and the places of data and of the clone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ._validate import InputError

if TYPE_CHECKING:
    from torch import Tensor


_SCRATCH = ".scratch"  # how the names of folders end that writers work in
_YOUNG = 60  # seconds; far longer than it takes from making such a folder to locking it


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write to; what was written there takes the place of `path` when the block ends well.

    A reader of `path` sees the old file or the whole new one. If the block
    fails, `path` stays as it was. An error of writing names `path`.
    """
    path = Path(path)
    try:
        with scratch_folder(path) as folder:
            partial = folder / "partial"
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())  # on the disk before the old file goes
            os.replace(partial, path)  # atomic
    except OSError as error:
        if error.errno and error.filename is None:
            raise _system_error(error.errno, path) from error
        raise
    except Exception as error:  # safetensors wraps the system's error in one of its own
        if found := re.search(r"os error (\d+)|Os \{ code: (\d+)", str(error)):
            raise _system_error(int(found[1] or found[2]), path) from error
        raise


@contextmanager
def scratch_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder beside `path` in which to prepare what will lie at `path`; removed at the end of the block.

    Errors of the system in it name `path`, since nobody has asked for the folder.
    Its writer holds a lock in it. A folder whose lock is free was left by a
    writer that was killed; the next writer beside it removes it, once it is
    a minute old: the lock of a younger one may be about to be taken.
    """
    path = Path(path)
    with naming(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".*{_SCRATCH}"):
        with suppress(OSError):  # its writer lives, or another writer removed it
            if time.time() - left.stat().st_mtime > _YOUNG:
                with FileLock(left / "lock", timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
    with naming(path):
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SCRATCH))
    try:
        with FileLock(folder / "lock"):
            yield folder
    except OSError as error:
        if error.errno and error.filename and Path(os.fsdecode(error.filename)).is_relative_to(folder):
            raise _system_error(error.errno, path) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_writable(folder: str | os.PathLike) -> None:
    """OSError that names the folder, now and not after hours of work, if nothing can be written there.

    The folder need not be there yet; nothing is left in it.
    """
    with naming(Path(folder)), scratch_folder(nearest_present(Path(folder)) / "check"):
        pass


def nearest_present(path: Path) -> Path:
    """The path, or the nearest one above it that is there."""
    return next(place for place in (path, *path.parents, *path.absolute().parents) if place.exists())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the system in the block names `path`, and the variable GAHB_CACHE where that decides the place."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise _system_error(error.errno, path) from error


def _system_error(number: int, path: Path) -> OSError:
    return OSError(number, f"{os.strerror(number)}{_way_round(path)}", str(path))


def explained(error: OSError) -> str:
    """What could not be read or written, why, and where there is one the way round, on one line."""
    if error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    hint = _way_round(Path(os.fsdecode(error.filename)))
    return f"{error.filename}: {error.strerror.removesuffix(hint)}{hint}"


def _way_round(path: Path) -> str:
    if not path.absolute().is_relative_to(cache_dir().absolute()):
        return ""
    return "; the environment variable GAHB_CACHE may name another folder for prepared images and weights"


def checksum(tensors: Mapping[str, Tensor], *texts: str) -> str:
    """SHA-256 of texts and tensors on the CPU: names, shapes, dtypes and bytes, in the order of the names."""
    import torch

    digest = hashlib.sha256("\n".join(texts).encode())
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_tensors(path: str | os.PathLike, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file; ValueError for one that is truncated or foreign, by its `name`."""
    from safetensors import SafetensorError, safe_open

    sys.audit("gahb.read_tensors", str(path))  # heard by the record of a chapter's run, gahb.book.recording
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{name} is truncated or not a safetensors file: {error}") from error


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by its name."""
    return {key: tuple(value.shape) for key, value in tensors.items()}


def cache_dir() -> Path:
    """Where prepared images and trained weights are kept: ``GAHB_CACHE``, else ``~/.cache/gahb``."""
    return Path(os.environ.get("GAHB_CACHE") or "~/.cache/gahb").expanduser()


def root() -> Path:
    """The repository's root: the folder that holds `notebooks/`.

    The environment variable GAHB_ROOT if set; else the folder above the
    package; else the nearest such folder upward from the working directory.
    """
    if given := os.environ.get("GAHB_ROOT"):
        folder = Path(given).expanduser().resolve()
        if not (folder / "notebooks").is_dir():
            raise InputError(f"GAHB_ROOT is {given!r}, which has no folder notebooks/")
        return folder
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parent.parent, here, *here.parents):
        if (folder / "notebooks" / "profiles").is_dir():
            return folder
    raise InputError(
        f"no chapters found above {here}: run inside a clone of the book, or set GAHB_ROOT to one"
    )
