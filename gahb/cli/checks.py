"""What is checked before a command begins: what it needs, where it writes, and where it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .._files import nearest_present, root
from .._validate import InputError, MissingExtra, require_extra


def clone_and_extra(user: str, packages: Sequence[str]) -> Path:
    """The clone of the book whose chapters `user` runs; what is missing, of it and of the extra [book], in one line."""
    missing: MissingExtra | None = None
    try:
        require_extra("book", user, *packages)
    except MissingExtra as error:
        missing = error
    try:
        clone = root()
    except InputError as error:
        raise InputError(f"{error}; {missing}" if missing else str(error)) from None
    if missing:
        raise missing
    return clone


def outside(out: Path, sets: Mapping[str, str | Path]) -> None:
    """What is written must not lie among the images that are read: the next run would count it as one of them.

    `sets` are the places of the images by the names of their arguments.
    """
    where = out.expanduser().resolve()
    for name, place in sets.items():
        if where.is_relative_to(Path(place).expanduser().resolve()):
            raise InputError(f"--out must lie outside {name}, whose images would count what is written there, "
                             f"got {out} and {place}")


def folder(out: Path) -> None:
    """--out is a folder, or can become one."""
    there = nearest_present(out)
    if not there.is_dir():
        raise InputError(f"--out must be a folder, and {there} is a file")
