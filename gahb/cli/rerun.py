"""`gahb rerun`: run one chapter with one's own parameters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from .._files import replacing, root
from .._validate import InputError, require_extra
from ..book import chapters, running
from ..book.page import html
from .claims import executed_in

PACKAGES = ("ipykernel", "jupyter_client", "jupytext", "nbclient", "nbconvert", "nbformat", "papermill")


@click.command("rerun")
@click.argument("chapter")
@click.option("-p", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter; may be repeated.")
@click.option("--profile", default="book", metavar="NAME", help="smoke, book (the default) or paper.")
@click.option("--out", default="runs", metavar="FOLDER", help="Where the results go (default: runs/).")
@click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
def command(chapter: str, given: tuple[tuple[str, str], ...], profile: str, out: str, quiet: bool) -> int:
    """Run one chapter with your own parameters.

    CHAPTER is its number, its name or its file: 1, miyasawa, 01_miyasawa. Its
    notebook, its page and the claims of all runs go into the folder of --out.
    """
    clone = root()
    require_extra("book", "gahb rerun", *PACKAGES)
    found = chapters.find(clone, chapter)
    repeated = [name for name in dict(given) if [n for n, _ in given].count(name) > 1]
    if repeated:
        values = " and ".join(repr(value) for name, value in given if name == repeated[0])
        raise InputError(f"parameter {repeated[0]} is given twice: {values}")
    values = chapters.profile_values(clone, profile, found)
    overrides = chapters.check_overrides(found, dict(given))
    if overrides:
        changes = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        values |= {**overrides, "profile": f"{profile}, with {changes}"}
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out must be a folder, and {folder} is a file")
    notebook = folder / f"{found.stem}.ipynb"
    running.execute(found, notebook, values, progress=not quiet)
    page, ledger = notebook.with_suffix(".html"), folder / "claims.json"
    with replacing(page) as partial:
        partial.write_text(html(notebook), encoding="utf-8")
    records = [asdict(claim) for path in executed_in(folder) for claim in running.claims_of(path)]
    with replacing(ledger) as partial:
        partial.write_text(json.dumps(records, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not quiet:
        for claim in running.claims_of(notebook):
            print(claim)
        print(f"wrote {notebook}, {page}, {ledger}")
    return 0
