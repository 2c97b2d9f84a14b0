"""The command `gahb`: run a chapter with one's own parameters, read its claims, look at the machine.

    gahb rerun miyasawa -p sigma 0.2 --out runs/
    gahb claims runs/
    gahb zoo list
    gahb doctor

Exit codes: 0 done, 1 a chapter failed or something needed is missing, 2 bad input (one line says what).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gahb import _zoo_commands, notebooks
from gahb._files import replacing
from gahb._page import html
from gahb._root import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except InputError as error:
        return _complain(error, 2)
    except notebooks.ChapterFailed as error:
        return _complain(error, 1)
    except OSError as error:  # a full disk, a folder that may not be written
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def rerun(arguments: argparse.Namespace) -> int:
    """One chapter with its own parameters: leaves NN_name.ipynb, NN_name.html and claims.json in `--out`."""
    root = notebooks.root()
    chapter = notebooks.find(root, arguments.chapter)
    given: dict[str, str] = {}
    for name, value in arguments.p:
        if name in given:
            raise InputError(f"parameter {name} is given twice: {given[name]!r} and {value!r}")
        given[name] = value
    values = notebooks.profile_values(root, arguments.profile, chapter)
    overrides = notebooks.check_overrides(chapter, given)
    if overrides:
        changes = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        values |= {**overrides, "profile": f"{arguments.profile}, with {changes}"}
    folder = Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out must be a folder, and {folder} is a file")
    out = folder / f"{chapter.stem}.ipynb"
    notebooks.execute(chapter, out, values, progress=not arguments.quiet)
    page, ledger = out.with_suffix(".html"), folder / "claims.json"
    with replacing(page) as partial:
        partial.write_text(html(out), encoding="utf-8")
    records = [asdict(claim) for path in _executed(folder) for claim in notebooks.claims_of(path)]
    with replacing(ledger) as partial:
        partial.write_text(json.dumps(records, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not arguments.quiet:
        for claim in notebooks.claims_of(out):
            print(claim)
        print(f"wrote {out}, {page}, {ledger}")
    return 0


def claims(arguments: argparse.Namespace) -> int:
    """The ledger of executed notebooks, as text or JSON."""
    path = Path(arguments.path) if arguments.path else notebooks.root() / "book" / "_executed"
    if not path.exists():
        hint = "" if arguments.path else ": build the book first (make book)"
        raise InputError(f"{path} does not exist{hint}")
    paths = _executed(path) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"no executed chapter in {path}: build the book, or gahb rerun one")
    found = [claim for one in paths for claim in notebooks.claims_of(one)]
    if arguments.json:
        print(json.dumps([asdict(claim) for claim in found], indent=2, ensure_ascii=False))
        return 0
    for claim in found:
        print(f"{claim.verdict:<12} {claim.id}: measured {claim.found}, expected {claim.expected}")
        print(f"{'':<12} {claim.statement} ({claim.source}; {claim.chapter}, profile {claim.profile})")
    counts = {
        verdict: sum(claim.verdict == verdict for claim in found) for verdict in notebooks.claims.VERDICTS
    }
    print(
        "; ".join([f"claims {len(found)}", *(f"{name} {count}" for name, count in counts.items() if count)])
    )
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """What this machine has and what that means."""
    from gahb.doctor import examine, report

    findings = examine()
    print(report(findings))
    return 0 if all(finding.ok for finding in findings) else 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gahb", description="Why diffusion models generalise: the book's chapters from a terminal."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

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
    command.set_defaults(run=rerun)

    command = commands.add_parser("claims", help="print the claims of executed chapters")
    command.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="an executed notebook or a folder of them (default: the book's)",
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=claims)

    command = commands.add_parser("doctor", help="say what this machine has and what that means")
    command.set_defaults(run=doctor)
    _zoo_commands.add_to(commands)
    return parser


def _executed(folder: Path) -> list[Path]:
    """Executed chapters in a folder, without half-run ones."""
    return sorted(path for path in folder.glob("*.ipynb") if re.fullmatch(r"\d+_\w+", path.stem))


def _complain(error, code: int) -> int:
    print(f"gahb: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
