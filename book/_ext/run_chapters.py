"""Sphinx extension: executed chapters are brought up to date before the pages are built.

At the start of a build, every chapter whose code, parameters or `gahb` sources
have changed is run with papermill into `book/_executed`, in the profile that
GAHB_PROFILE names (default: book), two at a time where there are two cores,
since one chapter gains little from a second thread. A failing cell ends the
build there: the pages of the last good build stay as they are.
"""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

from gahb._validate import InputError
from gahb.book import running


class ChapterError(SphinxError):
    category = "Chapter"


def run_chapters(app: Sphinx, config) -> None:
    """Handler of config-inited."""
    root = Path(app.srcdir)
    profile = os.environ.get("GAHB_PROFILE") or "book"
    try:
        jobs = min(2, running.cores())
        ran = running.bring_up_to_date(root, executed_folder(root), profile, tell=say, jobs=jobs)
    except (running.ChapterFailed, InputError) as error:
        raise ChapterError(str(error)) from None
    say(f"chapters: ran {', '.join(ran)}" if ran else "chapters: all up to date, none run")


def say(line: str) -> None:
    """To the terminal, under `jupyter-book build -q` too: chapters take minutes."""
    print(line, flush=True)


def executed_folder(root: Path) -> Path:
    """Where the executed notebooks of the book at `root` lie."""
    return Path(root) / "book" / "_executed"


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", run_chapters)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
