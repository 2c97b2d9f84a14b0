"""Chapters that tests write: a few cells under a root of their own."""

from __future__ import annotations

from pathlib import Path

import nbformat

from gahb.book import chapters

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""
PARAMETERS = """
sigma = 0.1  # noise level
size = 8
levels = (0.1, 0.2)
names = ["a"]
folder = ""
seed = None
flag = True
profile = "book"
"""


def cell(source: str, tags: str = "") -> str:
    return f"```{{code-cell}} ipython3\n{f':tags: [{tags}]' if tags else ''}\n\n{source.strip()}\n```\n\n"


def write(
    root: Path, stem: str, *cells: str, parameters: str = PARAMETERS, prose: str = "Prose."
) -> chapters.Chapter:
    text = f"{HEADER}\n# {stem}\n\n{prose}\n\n{cell(parameters, 'parameters')}{''.join(map(cell, cells))}"
    (root / "notebooks" / f"{stem}.md").write_text(text)
    return chapters.find(root, stem)


def texts(path: Path) -> list[str]:
    """What the code cells of an executed notebook printed."""
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    return ["".join(o.get("text", "") for o in c.outputs) for c in cells]
