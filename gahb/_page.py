"""A re-run chapter as one HTML file.

The book's pages come from Sphinx; this file only has to be readable on its own.
What MyST adds to Markdown is therefore put in plain words: glued numbers as
numbers, theorems as paragraphs under their names, labels and options left out.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

_FENCE = re.compile(r"^(`{3,}|:{3,})(?:\{([\w:-]+)\}\s*(.*))?$")
_ROLE = re.compile(r"\{([\w:-]+)\}`([^`]+)`")


def html(path: Path) -> str:
    """The executed notebook at `path` as HTML, pictures inside."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    numbers = _glued(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, numbers)
    with warnings.catch_warnings():  # about glued values that are not shown
        warnings.filterwarnings("ignore", message="Your element with mimetype")
        page, _ = HTMLExporter(embed_images=True).from_notebook_node(
            notebook, {"metadata": {"name": path.stem}}
        )
    return page


def plain(text: str, numbers: dict[str, object]) -> str:
    """MyST as Markdown that any reader of notebooks shows."""
    lines, fences, options = [], [], False
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if fence and fence[2]:
            kind = fence[2].split(":")[-1].capitalize()
            fences.append(fence[1])
            lines.append(f"**{kind}.** {fence[3]}".rstrip() + "\n")
            options = True
        elif fence and fences and line == fences[-1]:
            fences.pop()
            lines.append("")
        elif options and re.match(r":[\w-]+:", line):
            continue
        elif not re.fullmatch(r"\([\w-]+\)=", line):
            options = False
            lines.append(re.sub(r"^\$\$ \([\w-]+\)$", "$$", line))
    return _ROLE.sub(lambda match: _said(match[1], match[2], numbers), "\n".join(lines))


def _said(role: str, text: str, numbers: dict[str, object]) -> str:
    if role != "glue:text":
        return re.sub(r"\s*<[^>]*>$", "", text)
    name, _, form = text.rpartition("::")[2].partition(":")
    value = numbers.get(name, f"({name})")
    try:
        return format(value, form)
    except ValueError:
        return str(value)


def _glued(notebook) -> dict[str, object]:
    """Values that the chapter's code handed to its prose, by name."""
    found: dict[str, object] = {}
    outputs = (out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs)
    for output in outputs:
        if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
            texts = [value for mime, value in output.data.items() if mime.endswith("text/plain")]
            try:
                found[name] = ast.literal_eval(texts[0])
            except (IndexError, ValueError, SyntaxError):
                found[name] = texts[0] if texts else ""
    return found
