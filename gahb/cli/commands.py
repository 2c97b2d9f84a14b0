"""Groups of commands, which answer an unknown name with the nearest ones, and errors told in one line."""

from __future__ import annotations

from functools import wraps

import click

from .._validate import InputError, suggestion


class Commands(click.Group):
    """A group of commands; an unknown one is an InputError that offers the nearest names."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{"no_args_is_help": False, **options})

    def resolve_command(self, context: click.Context, words: list[str]):
        if self.get_command(context, words[0]) is None and not words[0].startswith("-"):
            raise InputError(f"no command {words[0]!r}; {suggestion(words[0], self.list_commands(context))}")
        return super().resolve_command(context, words)


def checked(run):
    """Bad input, and a training that diverged, are told in one line."""

    @wraps(run)
    def checked(*arguments, **options) -> int:
        try:
            return run(*arguments, **options)
        except (ValueError, FloatingPointError) as error:
            raise InputError(str(error)) from error

    return checked
