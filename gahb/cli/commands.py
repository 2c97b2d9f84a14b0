"""Groups of commands, which answer an unknown name with the nearest ones, and errors told in one line."""

from __future__ import annotations

import re
from functools import wraps

import click

from .._validate import InputError, nearest_names, suggestion


class Commands(click.Group):
    """A group of commands; an unknown one is an InputError that offers the nearest names."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{"no_args_is_help": False, **options})

    def resolve_command(self, context: click.Context, words: list[str]):
        if self.get_command(context, words[0]) is None and not words[0].startswith("-"):
            names = self.list_commands(context)
            near = nearest_names(words[0], names + self._below(context))
            raise InputError(f"no command {words[0]!r}; {suggestion(words[0], near or names)}")
        return super().resolve_command(context, words)

    def _below(self, context: click.Context) -> list[str]:
        """The commands of the groups in this one, as they are called from here: `zoo train`."""
        groups = {name: self.get_command(context, name) for name in self.list_commands(context)}
        return [f"{name} {each}" for name, group in groups.items() if isinstance(group, click.Group)
                for each in group.list_commands(context)]


def checked(run):
    """Bad input, and a training that diverged, are told in one line."""

    @wraps(run)
    def checked(*arguments, **options) -> int:
        try:
            return run(*arguments, **options)
        except (ValueError, FloatingPointError) as error:
            raise InputError(in_words_of_the_command(error)) from error

    return checked


def in_words_of_the_command(error: Exception) -> str:
    """What is wrong, with the argument named as on the command line: `--held-out`, and not `held_out`.

    So is the entry of a recipe that the command itself has made of an argument.
    """
    said, context = str(error), click.get_current_context(silent=True)
    name, must, rest = re.match(r"(?:recipe \S+: \w+\.)?(\w*)( must | needs |)(.*)", said, re.DOTALL).groups()
    for parameter in context.command.params if context and must else ():
        if parameter.name == name:
            option = isinstance(parameter, click.Option)
            return f"{parameter.opts[0] if option else parameter.metavar or name.upper()}{must}{rest}"
    return said
