"""Files that are whole or not there, what tells that they are, and where data and the clone lie."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ._validate import InputError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` to write to: it takes its place when the block ends well, and is removed otherwise.

    What a writer on this host left there when it was killed is removed; other
    hosts may share the folder, and theirs stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    before, after = f".{path.name}.", f"@{socket.gethostname()}.partial"
    partial = path.with_name(f"{before}{os.getpid()}{after}")
    for left in path.parent.glob(f"{escape(before)}*{escape(after)}"):
        if (writer := left.name[len(before) : -len(after)]).isdigit() and not _alive(int(writer)):
            left.unlink(missing_ok=True)
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # on the disk before the old file goes
        os.replace(partial, path)  # atomic: a reader sees the old file or the new one
    finally:
        partial.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name == "nt":  # where os.kill is no question
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


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

    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{name} is truncated or not a safetensors file: {error}") from error


def cache_dir() -> Path:
    """Where prepared data is kept: ``GAHB_CACHE``, else ``~/.cache/gahb``."""
    return Path(os.environ.get("GAHB_CACHE") or Path.home() / ".cache" / "gahb")


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
