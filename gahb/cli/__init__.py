"""The command `gahb`: a chapter with one's own parameters, its claims, copies among samples, this machine.

    gahb rerun miyasawa -p sigma 0.2 --out runs/
    gahb transition photographs/ --minutes 60
    gahb claims runs/
    gahb copies samples/ train/ --out report/
    gahb zoo list
    gahb doctor

Exit codes: 0 done; 1 a chapter failed, or something needed is missing; 2 bad
input, which one line explains; 3 time was up, and the same command goes on; 130
interrupted; 141 nobody reads the output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from .. import __version__
from .._threads import let_waiting_threads_sleep
from .._validate import InputError
from ..book.running import ChapterFailed
from . import claims, copies, doctor, rerun, transition, zoo
from .commands import Commands
from .console import complain, show_everything


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the words of `argv` name (default: the command line); return its exit code."""
    let_waiting_threads_sleep()
    show_everything()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _run(words)
        sys.stdout.flush()  # here, where an error can still be explained
    except BrokenPipeError:  # `gahb zoo list | head -1`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  what is left to write goes nowhere
        return 141
    except click.ClickException as error:
        context = getattr(error, "ctx", None)  # of a command that was called wrongly
        hint = f" (see {context.command_path} --help)" if context else ""
        complain(f"{error.format_message().rstrip('.')}{hint}")
        return error.exit_code
    except InputError as error:
        complain(error)
        return 2
    except (ChapterFailed, ImportError, OSError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    return code


def _run(words: list[str]) -> int:
    try:
        with gahb.make_context("gahb", words) as context:
            return gahb.invoke(context) or 0
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="gahb %(version)s")
def gahb() -> None:
    """Why diffusion models generalise: the book's chapters from a terminal."""


for module in (rerun, transition, copies, claims, zoo, doctor):
    gahb.add_command(module.command)
