"""Chapters and their twins, brought in step without losing an edit: `make sync`.

A chapter is the text `notebooks/NN_name.md`, which people edit, and its twin
`NN_name.ipynb`, the same cells without outputs. `jupytext --sync` takes the
file that was written last and overwrites the other, whatever is in it. Here
the side that was edited is found first:

- When a pair is brought in step, a fingerprint of its cells is stored in the
  twin's metadata. A side that still has this fingerprint was not edited since.
- Where the fingerprint tells nothing (jupytext or JupyterLab wrote the twin),
  a side that is as in the last commit was not edited.

If both sides were edited, or it cannot be told, nothing is written.

The first code cell, alike in all chapters, names the repository of `_config.yml`.
A cell that names another is written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from .._files import replacing, root
from .._validate import InputError
from .chapters import Chapter, chapters, code_cells, opening, source

KEY = "gahb_in_step"  # in the metadata of a twin


def main() -> int:
    """`python -m gahb.book.twins`: bring all chapters in step; 1 if one was left alone because both sides changed."""
    left_alone = 0
    for chapter in chapters(root()):
        try:
            done = sync(chapter.path.with_suffix(".md"))
            if renew_opening(chapter, root()):
                done = f"{chapter.stem}: the first cell says where the book is from\n{sync(chapter.path)}"
        except InputError as error:
            print(error, file=sys.stderr)
            left_alone += 1
        else:
            if done:
                print(done)
    return 1 if left_alone else 0


def sync(text: Path) -> str:
    """Bring a chapter's text and its twin in step; return what was written, or "" if nothing had to be.

    InputError if both differ from what they were when they were last in step, or last committed.
    """
    twin = text.with_suffix(".ipynb")
    if not twin.exists() or not text.exists():
        edited = text if text.exists() else twin
    elif _in_step(text, twin):
        return _finish(twin)
    else:
        edited = _edited(text, twin)
    target = twin if edited == text else text
    if target.exists():
        written = edited.stat().st_mtime - 1  # jupytext takes the file that was written last
        os.utime(target, (written, written))
    _jupytext("--sync", edited)
    if not (target.exists() and _in_step(text, twin)):
        raise InputError(f"jupytext could not bring {target} in step with {edited.name}")
    _finish(twin)
    return f"{target.name} is now as {edited.name}"


def renew_opening(chapter: Chapter, folder: Path) -> bool:
    """Write the cell of a chapter's text that says what to install as it is to be now; whether it was another one."""
    wanted = opening(folder)
    first_line = wanted.partition("\n")[0]
    old = [cell.source for cell in code_cells(source(chapter)) if cell.source.startswith(first_line)]
    if old in ([], [wanted]):
        return False
    text = chapter.path.read_text(encoding="utf-8")
    with replacing(chapter.path) as partial:
        partial.write_text(text.replace(old[0], wanted, 1), encoding="utf-8")
    return True


def _edited(text: Path, twin: Path) -> Path:
    """The one of two files that was edited; InputError if both were, or if it cannot be told."""
    stored = _notebook(twin).metadata.get(KEY)
    for evidence in (lambda path: _fingerprint(_notebook(path)) == stored, _as_committed):
        untouched = [path for path in (text, twin) if evidence(path)]
        if len(untouched) == 1:
            return text if untouched == [twin] else twin
    raise InputError(
        f"{text} and {twin.name} were both edited, and differ: nothing was written. Bring into {text.name} what you "
        f"want of both, then delete {twin.name} and run make sync again (or delete {text.name}, to keep the other)"
    )


def _as_committed(path: Path) -> bool:
    """Whether the cells are those of the last commit; False without git, or for a file that is not committed."""
    import jupytext

    command = ["git", "show", f"HEAD:./{path.name}"]
    try:
        shown = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    committed = jupytext.reads(shown.stdout, fmt="md:myst" if path.suffix == ".md" else "ipynb")
    return _fingerprint(committed) == _fingerprint(_notebook(path))


def _in_step(text: Path, twin: Path) -> bool:
    return _fingerprint(_notebook(text)) == _fingerprint(_notebook(twin))


def _finish(twin: Path) -> str:
    """Store the fingerprint, and take out outputs; what was taken out."""
    import nbformat

    notebook = _notebook(twin)
    outputs = [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    for cell in outputs:
        cell.outputs, cell.execution_count = [], None
    fingerprint = _fingerprint(notebook)
    if outputs or notebook.metadata.get(KEY) != fingerprint:
        notebook.metadata[KEY] = fingerprint
        with replacing(twin) as partial:
            partial.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return f"{twin.name}: outputs taken out" if outputs else ""


def _fingerprint(notebook) -> str:
    """SHA-256 of the cells: kind, text and metadata. Empty lines around a cell do not survive in the text."""
    cells = [(cell.cell_type, cell.source.strip(), cell.metadata) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def _notebook(path: Path):
    import jupytext

    return jupytext.read(path)


def _jupytext(*words) -> None:
    from jupytext.cli import jupytext as command

    command([*map(str, words), "--quiet"])


if __name__ == "__main__":
    sys.exit(main())
