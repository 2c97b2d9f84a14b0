"""What the run of a chapter depends on: recorded while it runs, compared before it would run again.

In the chapter's kernel this module is an IPython extension. It is loaded before
the first cell and hears, through Python's audit events, which files of the
package are opened and which trained networks are read. After the last cell
`show` puts the record into the notebook: the SHA-256 of every file of the
package that was imported or read and of every network and recipe; and which
trained networks there were, as far as the chapter asked.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
KEY = "gahb_record"  # in the metadata of the output of `show`
NOT_DATA = (".py", ".pyc", ".pyi", ".so")  # these are known by the modules that are imported

# since: when the kernel started; folders: where files are data of the book; files: paths that were read;
# names: of all trained networks, if the chapter asked for them; available: answers about single networks
_heard: dict[str, Any] = {}


def load_ipython_extension(shell) -> None:
    """Record from now on, as IPython calls it in a kernel that starts."""
    folders = (f"{PACKAGE}{os.sep}", str(Path(os.environ["GAHB_ROOT"], "notebooks", "weights")) + os.sep)
    _heard.update(since=time.time(), folders=folders, files=set(), names=None, available={})
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = os.fspath(arguments[0])
        if isinstance(path, str) and path.startswith(_heard["folders"]) and not path.endswith(NOT_DATA):
            _heard["files"].add(path)
    elif event == "gahb.read_tensors":  # safetensors opens files in Rust, which Python does not hear
        _heard["files"].add(str(arguments[0]))
    elif event == "gahb.zoo.names":
        _heard["names"] = sorted(arguments[0])
    elif event == "gahb.zoo.available":
        _heard["available"][arguments[0]] = arguments[1]


def show() -> None:
    """Put the record into the metadata of an output of the cell that runs."""
    from IPython.display import display

    modules = {module.__file__ for name, module in list(sys.modules.items())
               if name.startswith("gahb.") and getattr(module, "__file__", None)}  # fmt: skip
    files = {Path(path) for path in modules | _heard["files"]} - {Path(__file__)}
    root = Path(os.environ["GAHB_ROOT"])
    record = {
        "files": {name_of(path, root): _digest(path, _heard["since"]) for path in sorted(files) if path.is_file()},
        "names": _heard["names"],
        "available": _heard["available"],
    }
    display({"text/plain": ""}, raw=True, metadata={KEY: record})


def name_of(path: Path, root: Path, package: Path = PACKAGE) -> str:
    """How a record names a file: relative to the folder of the package (`gahb/…`) or to the clone at `root`."""
    for folder in (package.parent, root):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return str(path)


def has_changed(record: dict[str, Any], root: Path, package: Path = PACKAGE) -> bool:
    """Whether a file of the record, or which networks are trained, is no longer as it was in the run."""
    for name, digest in record["files"].items():
        path = (package.parent if name.startswith("gahb/") else root) / name
        if not path.is_file() or _digest(path) != digest:
            return True
    if record["names"] is None and not record["available"]:
        return False
    from .. import zoo  # brings torch along

    names = zoo.names()
    if record["names"] not in (None, names):
        return True
    return any((name in names) != found for name, found in record["available"].items())


def _digest(path: Path, since: float | None = None) -> str:
    """SHA-256 of a file; what equals none, if it was written after `since`: the run may have read it before that."""
    if since is not None and path.stat().st_mtime > since:
        return "changed during the run"
    return hashlib.sha256(path.read_bytes()).hexdigest()
