"""The command `gahb`: run a chapter with one's own parameters, read its claims, look at the machine.

    gahb rerun miyasawa -p sigma 0.2 --out runs/
    gahb claims runs/
    gahb zoo list
    gahb doctor

Exit codes: 0 done, 1 a chapter failed or something needed is missing, 2 bad input (one line says what).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .._validate import InputError
from ..book.running import ChapterFailed
from . import claims, doctor, rerun, zoo


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except InputError as error:
        return _complain(error, 2)
    except ChapterFailed as error:
        return _complain(error, 1)
    except OSError as error:  # a full disk, a folder that may not be written
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gahb", description="Why diffusion models generalise: the book's chapters from a terminal."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (rerun, claims, doctor, zoo):
        command.add_to(commands)
    return parser


def _complain(error, code: int) -> int:
    print(f"gahb: {error}", file=sys.stderr)
    return code
