"""`gahb rerun`: run one chapter with one's own parameters."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

from .._files import replacing, root
from .._validate import InputError
from ..book import chapters, running
from ..book.page import html
from .claims import executed_in


def add_to(commands) -> None:
    """The subcommand `rerun`."""
    command = commands.add_parser("rerun", help="run one chapter with your own parameters")
    command.add_argument(
        "chapter", metavar="CHAPTER", help="number, name or file stem: 1, miyasawa, 01_miyasawa"
    )
    command.add_argument(
        "-p",
        nargs=2,
        metavar=("NAME", "VALUE"),
        action="append",
        default=[],
        help="a parameter; may be repeated",
    )
    command.add_argument("--profile", default="book", metavar="NAME", help="smoke, book (default) or paper")
    command.add_argument(
        "--out", default="runs", metavar="FOLDER", help="where the results go (default runs/)"
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    command._negative_number_matcher = re.compile(
        r"-\.?\d"
    )  # so that -p mean -1e-3 is a value, not an option
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """One chapter with its own parameters: leaves NN_name.ipynb, NN_name.html and claims.json in `--out`."""
    clone = root()
    chapter = chapters.find(clone, arguments.chapter)
    given: dict[str, str] = {}
    for name, value in arguments.p:
        if name in given:
            raise InputError(f"parameter {name} is given twice: {given[name]!r} and {value!r}")
        given[name] = value
    values = chapters.profile_values(clone, arguments.profile, chapter)
    overrides = chapters.check_overrides(chapter, given)
    if overrides:
        changes = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        values |= {**overrides, "profile": f"{arguments.profile}, with {changes}"}
    folder = Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out must be a folder, and {folder} is a file")
    out = folder / f"{chapter.stem}.ipynb"
    running.execute(chapter, out, values, progress=not arguments.quiet)
    page, ledger = out.with_suffix(".html"), folder / "claims.json"
    with replacing(page) as partial:
        partial.write_text(html(out), encoding="utf-8")
    records = [asdict(claim) for path in executed_in(folder) for claim in running.claims_of(path)]
    with replacing(ledger) as partial:
        partial.write_text(json.dumps(records, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not arguments.quiet:
        for claim in running.claims_of(out):
            print(claim)
        print(f"wrote {out}, {page}, {ledger}")
    return 0
