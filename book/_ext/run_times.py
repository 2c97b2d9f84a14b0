"""Sphinx extension: what a build measured of itself.

- `{run-times}`: how long each chapter took, in how much memory, on what machine, with how many threads.
- `{training-times}`: how long the networks that ship took to train, by class.
- `{versions}`: the versions that the pages were built with.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gahb import zoo
from gahb.book import chapters, running

from .chapter_head import duration
from .run_chapters import executed_folder
from .zoo_page import stored

CLASSES = {"c_alpha": "Cᵅ images", "disks": "disks", "dead_leaves": "dead leaves", "photos": "photographs",
           "folder": "images of a folder", "darcy": "Darcy flow"}  # fmt: skip
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "PyWavelets", "jupyter-book", "papermill", "anywidget")


class RunTimes(SphinxDirective):
    """One row a chapter, from what its executed notebook says about the run, and their sum."""

    def run(self) -> list[nodes.Node]:
        root, rows, total, peak = Path(self.env.srcdir), [], 0.0, 0
        for chapter in chapters.chapters(root):
            path = executed_folder(root) / f"{chapter.stem}.ipynb"
            self.env.note_dependency(str(path))
            if about := running.record_of(path):
                memory = about.get("peak_mib", 0)
                total, peak = total + about["seconds"], max(peak, memory)
                made = [about["profile"], duration(about["seconds"]), size(memory), where(about)]
                rows.append([self.link(chapter), *made])
        if not rows:
            return [nodes.paragraph("", "No chapter has been run yet.")]
        rows.append(["all chapters", "", duration(total), size(peak), ""])
        return [table(["chapter", "profile", "time", "memory at its peak", "machine"], rows)]

    def link(self, chapter: chapters.Chapter) -> nodes.Node | str:
        page, said = f"book/_executed/{chapter.stem}", f"{chapter.number} {chapter.name.replace('_', ' ')}"
        if page not in self.env.found_docs:
            return said
        uri = self.env.app.builder.get_relative_uri(self.env.docname, page)
        return nodes.reference("", said, refuri=uri, internal=True)


class TrainingTimes(SphinxDirective):
    """Stored networks, images seen and hours of training, by class of images, from their logs."""

    def run(self) -> list[nodes.Node]:
        for folder in zoo.folders():
            self.env.note_dependency(str(folder))
        by_class: dict[str, list[dict]] = defaultdict(list)
        for path in zoo.weight_files().values():
            self.env.note_dependency(str(path))
        for network in stored().values():
            by_class[CLASSES[network.recipe["images"]["kind"]]].append(network.log[-1])
        rows = [summed(kind, logs) for kind, logs in sorted(by_class.items())]
        rows.append(summed("all", [log for logs in by_class.values() for log in logs]))
        return [table(["class", "networks", "images seen, in millions", "hours of training"], rows)]


class Versions(SphinxDirective):
    """Python, the packages that results depend on, and the machine, as they are now."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(Path(self.env.srcdir) / "requirements.lock"))
        rows = [["Python", platform.python_version()], *([name, version(name)] for name in PACKAGES)]
        return [table(["package", "version"], [*rows, ["built on", running.machine()]])]


def summed(name: str, logs: list[dict]) -> list[str]:
    seen, seconds = (sum(log[key] for log in logs) for key in ("images", "seconds"))
    return [name, str(len(logs)), f"{seen / 1e6:.1f}", f"{seconds / 3600:.1f}"]


def where(about: dict) -> str:
    """The machine of a run, and with how many of its cores it computed."""
    threads = about.get("threads")
    return about.get("machine", "–") + (f", {threads} thread{'s' * (threads > 1)}" if threads else "")


def size(mebibytes: int) -> str:
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes else "–"


def table(head: list[str], rows: list[list[str | nodes.Node]]) -> nodes.table:
    """Rows of texts or inline nodes; the first column names what the row is about."""

    def row(cells: list[str | nodes.Node]) -> nodes.row:
        content = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in content))

    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += [nodes.thead("", row(head)), nodes.tbody("", *map(row, rows))]
    return nodes.table("", group)


def setup(app: Sphinx) -> dict:
    for name, directive in (("run-times", RunTimes), ("training-times", TrainingTimes), ("versions", Versions)):
        app.add_directive(name, directive)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
