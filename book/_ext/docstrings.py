"""Sphinx extension: formulas in gahb's docstrings, which sphinx.ext.napoleon reads afterwards.

In gahb a docstring has `$…$` and `$$…$$` formulas, and its sections list

    width : channels of the first block.

where the numpydoc format has the description on the line below the name, and
after the colon a type, which gahb's docstrings say in words. Formulas become
math roles and blocks here, and descriptions go to the line below, those of errors
also where no colon stands before them, and what is returned becomes one
description; sections, parameters, errors and examples
are napoleon's.
"""

from __future__ import annotations

import re

LISTS = ("Parameters", "Other Parameters", "Attributes", "Raises")
READ = (*LISTS, "Returns")
ENTRY = re.compile(r"(?P<names>[\w*, ]+?) : (?P<text>.*)")
ERROR = re.compile(r"(?P<names>\w*(?:Error|Exception|Interrupt))(?: :)? (?P<text>.*)")
CODE = re.compile(r"(``.+?``|^[ ]*(?:>>>|\.\.\.) [^\n]*$)", flags=re.DOTALL | re.MULTILINE)  # in a line, in an example
BLOCK = re.compile(r"(?P<indent>(?<=\n)[ ]*|(?<=\A)[ ]*|)\$\$(?P<body>.+?)\$\$", flags=re.DOTALL)
INLINE = re.compile(r"(?<![\w\\$])\$(?=\S)([^$]+?)(?<=\S)\$(?!\$)")


def formulas(text: str) -> str:
    """`$$…$$` as a math block, `$…$` as a math role; code is left alone."""
    parts = CODE.split(text)
    for i in range(0, len(parts), 2):  # even places: outside code
        parts[i] = INLINE.sub(_role, BLOCK.sub(_block, parts[i]))
    return "".join(parts)


def _block(match: re.Match) -> str:
    indent = match["indent"]
    lines = [line.strip() for line in match["body"].strip().splitlines()]
    body = "\n".join(f"{indent}    {line}" for line in lines)
    return f"\n\n{indent}.. math::\n\n{body}\n\n{indent}"


def _role(match: re.Match) -> str:
    return f"\\ :math:`{' '.join(match[1].split())}`\\ "


def descriptions_below(lines: list[str]) -> list[str]:
    """In the sections that list names, `name : text` as the name and, on the next line, the text.

    What is returned comes to stand on one line.
    """
    out: list[str] = []
    section = ""
    for line, following in zip(lines, [*lines[1:], ""]):
        heads = bool(re.fullmatch(r"-{3,}", following))
        if heads:
            section = line if line in READ else ""
        entry = (ERROR if section == "Raises" else ENTRY).fullmatch(line) if section in LISTS else None
        if entry:
            out += [entry["names"], f"    {entry['text']}"]
        elif section == "Returns" and line and out[-1] and not (heads or {line[:3], out[-1][:3]} & {"---"}):
            out[-1] += f" {line.strip()}"  # one description, not one item a line
        elif section == "Raises" and re.match(r"[^\s-]", line) and not heads and " " in line:
            out.append(f"    {line}")  # a sentence about an error goes on
        else:
            out.append(line)
    return out


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """Handler of autodoc-process-docstring, before napoleon's: rewrites `lines` in place."""
    lines[:] = formulas("\n".join(descriptions_below(lines))).split("\n")


def setup(app):
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("autodoc-process-docstring", process, priority=400)  # napoleon's has 500
    return {"parallel_read_safe": True, "version": "1"}
