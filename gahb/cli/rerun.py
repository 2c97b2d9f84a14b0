"""`gahb rerun`: run one chapter with one's own parameters.

A run is named after its chapter, its profile and the parameters that were
given: `01_miyasawa`, `01_miyasawa-smoke`, `01_miyasawa-sigma=0.2`. Runs with
different parameters therefore lie side by side in one folder. A file that no
run has written, or that was edited afterwards, is replaced only with --force.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from .._files import replacing, root
from .._validate import InputError
from ..book import chapters, ranges, running
from ..book.chapters import Chapter
from ..book.page import html
from . import checks
from .claims import executed_in
from .console import complain

PACKAGES = ("ipykernel", "jupyter_client", "jupytext", "nbclient", "nbconvert", "nbformat", "papermill")


class _Pairs(click.Command):
    """A command whose `-p` also takes NAME=VALUE: no name of a parameter has an equals sign."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        pairs: list[str] = []
        for word in words:
            named = re.match(r"(\w+)=", word) if pairs[-1:] == ["-p"] else None
            pairs += [named[1], word[named.end():]] if named else [word]
        return super().parse_args(context, pairs)


@click.command("rerun", cls=_Pairs)
@click.argument("chapter", required=False)
@click.option("-p", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter; may be repeated.")
@click.option("--parameters", "listed", is_flag=True, help="Say what parameters the chapter has, and run nothing.")
@click.option("--profile", default="book", metavar="NAME", help="smoke, book (the default) or paper.")
@click.option("--out", default="runs", metavar="FOLDER", help="Where the results go (default: runs/).")
@click.option("--force", is_flag=True, help="Replace files that are not results of gahb rerun.")
@click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
def command(chapter: str | None, given: tuple, listed: bool, profile: str, out: str, force: bool, quiet: bool) -> int:
    """Run one chapter with your own parameters.

    CHAPTER is its number, its name or its file: 1, miyasawa, 01_miyasawa; without it,
    the chapters are listed. Its notebook, its page and the claims of all runs there go
    into the folder of --out. It needs a clone of the book and the packages that run
    chapters: pip install 'gahb[book]'.
    """
    if chapter is None:
        if given or listed:
            raise click.UsageError("Missing argument 'CHAPTER'", click.get_current_context())
        for found in chapters.chapters(root()):
            print(f"{found.stem:<20} {chapters.title(found)}")
    elif listed:
        _list_parameters(chapter, profile)
    else:
        run(chapter, _once_each(given), profile, Path(out), force, quiet)
    return 0


def _list_parameters(chapter: str, profile: str) -> None:
    """Name, value in the profile, what is allowed, and what it is."""
    clone = root()
    found = chapters.find(clone, chapter)
    values = chapters.profile_values(clone, profile, found)
    said, allowed = chapters.comments(found), ranges.described(found, values)
    print(f"{found.stem}, profile {profile}; change one with -p NAME VALUE")
    for name, value in values.items():
        if name == "profile":
            continue
        print(f"{name} = {value!r}")
        about = [said[name], allowed.get(name) and f"must be {allowed[name]}"]
        if any(about):
            print(f"    {'; '.join(filter(None, about))}")


def run(chapter: str, given: dict, profile: str, out: Path, force: bool = False, quiet: bool = False) -> Path:
    """Run a chapter with the parameters `given`, as texts or as values; returns its notebook, its page beside it."""
    return prepare(chapter, given, profile, out, force)(quiet)


@dataclass(frozen=True)
class Run:
    """A run of a chapter that has been checked, and its files; called, it runs and returns its notebook."""

    chapter: Chapter
    values: dict[str, Any]
    notebook: Path
    replaces: bool  # an earlier run

    @property
    def page(self) -> Path:
        return self.notebook.with_suffix(".html")

    @property
    def ledger(self) -> Path:
        return self.notebook.with_name("claims.json")

    def __call__(self, quiet: bool = False) -> Path:
        running.execute(self.chapter, self.notebook, self.values, progress=not quiet)
        with replacing(self.page) as partial:
            partial.write_text(html(self.notebook), encoding="utf-8")
        _write_claims(self.notebook.parent, self.ledger)
        for warning in running.warnings_of(self.notebook):
            complain(f"warning: {warning}")
        if not quiet:
            for claim in running.claims_of(self.notebook):
                print(claim)
            print(f"wrote {self.notebook}, {self.page}, {self.ledger}{' (in place of an earlier run)' * self.replaces}")
        return self.notebook


def prepare(chapter: str, given: dict, profile: str, out: Path, force: bool = False) -> Run:
    """A run of a chapter with the parameters `given`, as texts or as values: all that can be checked is."""
    clone = checks.clone_and_extra("gahb rerun", PACKAGES)
    found = chapters.find(clone, chapter)
    overrides = chapters.check_overrides(found, given)
    values = {**chapters.profile_values(clone, profile, found), **overrides}
    if overrides:
        changes = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        values["profile"] = f"{profile}, with {changes}"
    ranges.check(found, values)
    folder = out.expanduser()
    checks.outside(folder, ranges.folders(found, values))
    notebook = folder / f"{run_name(found, profile, overrides)}.ipynb"
    checks.folder(folder)
    run = Run(found, values, notebook, replaces=running.is_own_result(notebook, found))
    _check_neighbours(run, force)
    return run


def run_name(chapter: Chapter, profile: str, overrides: dict[str, Any]) -> str:
    """The name of a run's files: the chapter, a profile other than book, and the given parameters.

    A value that is no part of a file name, such as a path, is shortened; some digits of a hash then tell it
    from others.
    """
    said = [chapter.stem] + [profile] * (profile != "book")
    said += [f"{name}={_plainly(value)}" for name, value in overrides.items()]
    name = "-".join(said)
    short = re.sub(r"[^\w.,=+-]+", "_", name)[:100]
    return name if short == name else f"{short}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _plainly(value) -> str:
    return ",".join(map(_plainly, value)) if isinstance(value, (list, tuple)) else str(value)


def _once_each(given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in given:
        if name in values:
            raise InputError(f"parameter {name} is given twice: {values[name]!r} and {value!r}")
        values[name] = value
    return values


def _check_neighbours(run: Run, force: bool) -> None:
    """Find what would stop the run's end before it begins."""
    foreign = [path for path in (run.notebook, run.page) if path.exists() and not run.replaces]
    foreign += [run.ledger] if run.ledger.exists() and not _is_ledger(run.ledger) else []
    if foreign and not force:
        raise InputError(f"{foreign[0]} is not a result of gahb rerun, or was edited since; "
                         "choose another --out, or replace it with --force")
    for path in executed_in(run.notebook.parent):
        if path != run.notebook:
            try:
                running.claims_of(path)
            except InputError as error:
                raise InputError(f"{error}; move it away, or choose another --out") from None


def _is_ledger(path: Path) -> bool:
    """Whether the file is one that `_write_claims` writes."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(records, list) and all({"id", "chapter", "verdict"} <= set(record) for record in records)
    except (OSError, ValueError, TypeError):
        return False


def _write_claims(folder: Path, ledger: Path) -> None:
    """Write the claims of all runs in `folder`; once more if another run has ended in the meantime."""
    written = None
    while (present := [(path, path.stat().st_mtime_ns) for path in executed_in(folder)]) != written:
        records = [asdict(claim) for path, _ in present for claim in running.claims_of(path)]
        with replacing(ledger) as partial:
            partial.write_text(json.dumps(records, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written = present
