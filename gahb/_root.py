"""Where the book lies, and the error for input that a person can mend."""

from __future__ import annotations

import os
from pathlib import Path


class InputError(ValueError):
    """Something asked for does not exist or has the wrong form; nothing has been run or written."""


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
