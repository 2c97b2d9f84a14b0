"""Sphinx extension: a chapter's widgets, each in a file of its own that its page fetches once it is near the screen.

What an executed chapter holds of its widgets is taken out before it is read,
and put into `book/_executed/widgets`; `gahb.widgets.lazy` makes the places
that they come alive in.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from gahb._files import replacing
from gahb.widgets.lazy import LOADER, height, place, placed, script

from .cache import digest
from .run_chapters import executed_folder

TARGET = "_static/widgets"  # where the pages look for the files


def address(docname: str, key: str) -> str:
    """Of a widget's file, from a page."""
    return f"{'../' * docname.count('/')}{TARGET}/{key}.js"


def write(path: Path, about: dict) -> None:
    """A widget's file."""
    with replacing(path) as partial:
        partial.write_text(script(path.stem, about), encoding="utf-8")


def take_out(app: Sphinx, docname: str, source: list[str]) -> None:
    """Widgets of a notebook become places, and their state files."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    folder, stem = executed_folder(app.srcdir) / "widgets", docname.rpartition("/")[2]
    notebook, files = json.loads(source[0]), set()

    def keep(about: dict) -> str:
        key = f"{stem}.{digest(json.dumps(about).encode())}"
        path = folder / f"{key}.js"
        files.add(path)
        write(path, about)
        return place(address(docname, key), about["alt"], height(about))

    if placed(notebook, keep):
        set_apart(notebook["cells"])
        source[0] = json.dumps(notebook)
    for path in set(folder.glob(f"{stem}.*.js")) - files:
        path.unlink()


def set_apart(cells: list[dict]) -> None:
    """A widget's place gets a cell of its own where the rest of its cell's output is a figure, with a caption."""
    for k, cell in reversed(list(enumerate(cells))):
        if "figure" in cell["metadata"].get("mystnb", {}):
            apart = [out for out in cell["outputs"] if "gahb-lazy" in "".join(out.get("data", {}).get("text/html", ""))]
            if apart:
                cell["outputs"] = [output for output in cell["outputs"] if output not in apart]
                alone = {"id": f"{cell['id']}-widget", "metadata": {"tags": ["remove-input"]}, "outputs": apart}
                cells.insert(k, cell | alone | {"source": "# the widget"})  # myst-nb leaves empty cells out


def outdated(app: Sphinx, env, added, changed, removed) -> list[str]:
    """Chapters are read again when the script of their places has changed."""
    before, env.gahb_lazy = getattr(env, "gahb_lazy", None), LOADER.read_text(encoding="utf-8")
    return [name for name in env.found_docs if name.startswith("book/_executed/")] if env.gahb_lazy != before else []


def put(app: Sphinx, error: Exception | None) -> None:
    """The widgets' files, of chapters and of other pages, to where the pages look for them."""
    if error or app.builder.format != "html":
        return
    target = Path(app.outdir, TARGET)
    target.mkdir(parents=True, exist_ok=True)
    files = {path.name: path for path in executed_folder(app.srcdir).glob("*/*.js")}
    for name in files.keys() - {path.name for path in target.iterdir()}:
        shutil.copyfile(files[name], target / name)
    for path in target.iterdir():
        if path.name not in files:
            path.unlink()


def setup(app: Sphinx) -> dict:
    app.connect("source-read", take_out)
    app.connect("env-get-outdated", outdated)
    app.connect("build-finished", put)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
