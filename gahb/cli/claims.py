"""`gahb claims`: the claims of executed chapters."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import click

from .._files import root
from .._validate import InputError
from ..book import ledger, running


@click.command("claims")
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def command(path: str | None, as_json: bool) -> int:
    """Print the claims of executed chapters.

    PATH is an executed notebook or a folder of them; without it, those of the book.
    """
    place = Path(path).expanduser() if path else root() / "book" / "_executed"
    if not place.exists():
        hint = "" if path else ": build the book first (make book)"
        raise InputError(f"{place} does not exist{hint}")
    paths = executed_in(place) if place.is_dir() else [place]
    if not paths:
        raise InputError(f"no executed chapter in {place}: build the book, or gahb rerun one")
    found = [claim for one in paths for claim in running.claims_of(one)]
    if as_json:
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
    """Executed chapters in a folder, without half-run ones: 01_miyasawa.ipynb, 01_miyasawa-sigma=0.2.ipynb."""
    paths = sorted(folder.glob("*.ipynb"))
    return [path for path in paths if re.match(r"\d+_\w", path.name) and not path.name.endswith(".failed.ipynb")]
