"""`gahb claims`: the claims of executed chapters."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

from .._files import root
from .._validate import InputError
from ..book import ledger, running


def add_to(commands) -> None:
    """The subcommand `claims`."""
    command = commands.add_parser("claims", help="print the claims of executed chapters")
    command.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="an executed notebook or a folder of them (default: the book's)",
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The ledger of executed notebooks, as text or JSON."""
    path = Path(arguments.path) if arguments.path else root() / "book" / "_executed"
    if not path.exists():
        hint = "" if arguments.path else ": build the book first (make book)"
        raise InputError(f"{path} does not exist{hint}")
    paths = executed_in(path) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"no executed chapter in {path}: build the book, or gahb rerun one")
    found = [claim for one in paths for claim in running.claims_of(one)]
    if arguments.json:
        print(json.dumps([asdict(claim) for claim in found], indent=2, ensure_ascii=False))
        return 0
    for claim in found:
        print(f"{claim.verdict:<12} {claim.id}{' (check)' * (claim.kind == 'check')}: {claim.numbers}")
        print(f"{'':<12} {claim.statement} ({claim.source}; {claim.chapter}, profile {claim.profile})")
        if claim.known:
            print(f"{'':<12} known before: {claim.known}")
    print(ledger.summary(found))
    return 0


def executed_in(folder: Path) -> list[Path]:
    """Executed chapters in a folder, without half-run ones."""
    return sorted(path for path in folder.glob("*.ipynb") if re.fullmatch(r"\d+_\w+", path.stem))
