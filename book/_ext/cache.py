"""Results that take long to compute, stored under a hash of what they are made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import gahb
from gahb._files import replacing

PLACE = "book/_executed/cache"


def code_of(path: str | Path) -> list[Path]:
    """A file of Python code, and all of gahb's: which of them it runs is not known beforehand."""
    return [Path(path), *sorted(Path(gahb.__file__).parent.rglob("*.py"))]


def cached(folder: Path, name: str, sources: Iterable[Path], make: Callable[[Path], str]) -> tuple[str, str]:
    """(key, text): the text that `make` returned for the present content of `sources`; it is called only if needed.

    The key is NAME.HASH, and the text lies in `folder` as KEY.txt. `make` gets the path FOLDER/KEY
    and may leave files whose names begin with it. What is stored of an earlier hash is removed.
    """
    key = f"{name}.{digest(b''.join(path.read_bytes() for path in sources if path.is_file()))}"
    text = folder / f"{key}.txt"
    if not text.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)
        made = make(folder / key)
        with replacing(text) as partial:  # the last file to be written, so that the others are there if it is
            partial.write_text(made, encoding="utf-8")
    return key, text.read_text(encoding="utf-8")


def digest(content: bytes) -> str:
    """Twelve hexadecimal digits of the SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()[:12]
