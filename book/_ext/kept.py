"""What takes long to make is kept under a hash of what it is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import gahb
from gahb._files import replacing
from gahb.book.dependencies import modules_used


def code(path: str) -> list[Path]:
    """A file of code, and the modules of gahb that it leads to."""
    used = modules_used([Path(path).read_text(encoding="utf-8")], Path(gahb.__file__).parent)
    return [Path(path), *sorted(used.values())]


def kept(folder: Path, name: str, sources: Iterable[Path], make: Callable[[Path], str]) -> tuple[str, str]:
    """(key, text) that `make` returned for the present content of `sources`; it is called only if that is new.

    The text lies in `folder` as KEY.txt, with KEY = NAME.HASH. Other files that `make`
    leaves begin with the path that it is given, FOLDER/KEY; those of another hash are removed.
    """
    key = f"{name}.{digest(b''.join(path.read_bytes() for path in sources if path.is_file()))}"
    text = folder / f"{key}.txt"
    if not text.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{name}.*"):
            path.unlink()
        made = make(folder / key)
        with replacing(text) as partial:  # last: it says that the rest is there
            partial.write_text(made, encoding="utf-8")
    return key, text.read_text(encoding="utf-8")


def digest(content: bytes) -> str:
    """A few digits that stand for `content`."""
    return hashlib.sha256(content).hexdigest()[:12]
