"""Files that are whole or not there, and where prepared data is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` to write to: it takes its place when the block ends well, and is removed otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for left in path.parent.glob(f".{escape(path.name)}.*.partial"):  # by a writer that was killed
        if (writer := left.name.split(".")[-2]).isdigit() and not _alive(int(writer)):
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


def cache_dir() -> Path:
    """Where prepared data is kept: ``GAHB_CACHE``, else ``~/.cache/gahb``."""
    return Path(os.environ.get("GAHB_CACHE") or Path.home() / ".cache" / "gahb")
