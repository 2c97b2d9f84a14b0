"""Docstrings as written in gahb, turned into what Sphinx reads.

In gahb a docstring has `$…$` and `$$…$$` formulas and sections such as

    Parameters
    ----------
    width : channels of the first block.

Here formulas become math roles and blocks, and each section becomes a rubric
over a definition list. (Napoleon would read the words after the colon as a
type and look for a class of that name.)
"""

from __future__ import annotations

import re

SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Notes", "Examples", "References")


def formulas(text: str) -> str:
    """`$$…$$` as a math block, `$…$` as a math role; literal blocks are left alone."""

    def block(match: re.Match) -> str:
        indent = match["indent"]
        lines = [line.strip() for line in match["body"].strip().splitlines()]
        body = "\n".join(f"{indent}    {line}" for line in lines)
        return f"\n\n{indent}.. math::\n\n{body}\n\n{indent}"

    text = re.sub(r"(?P<indent>(?<=\n)[ ]*|(?<=\A)[ ]*|)\$\$(?P<body>.+?)\$\$", block, text, flags=re.DOTALL)
    parts = re.split(r"(``.+?``)", text, flags=re.DOTALL)  # even places: outside literals
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(
            r"(?<![\w\\$])\$(?=\S)([^$]+?)(?<=\S)\$(?!\$)",
            lambda match: f"\\ :math:`{' '.join(match[1].split())}`\\ ",
            parts[i],
        )
    return "".join(parts)


def sections(lines: list[str]) -> list[str]:
    """Underlined section heads as rubrics; their `name : text` entries as definitions."""
    out: list[str] = []
    inside = False
    for i, line in enumerate(lines):
        underlined = i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1])
        if line in SECTIONS and underlined:
            out += [f".. rubric:: {line}", ""]
            inside = line in ("Parameters", "Attributes", "Returns", "Raises")
        elif re.fullmatch(r"-{3,}", line) and i and lines[i - 1] in SECTIONS:
            continue
        elif inside and (entry := re.match(r"(?P<names>[\w*, ]+?) : (?P<text>.*)", line)):
            names = ", ".join(f"``{name.strip()}``" for name in entry["names"].split(","))
            out += ["", names, f"    {entry['text']}"]
        else:
            out.append(line)
    return out


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """Handler of autodoc-process-docstring: rewrites `lines` in place."""
    lines[:] = sections(formulas("\n".join(lines)).split("\n"))


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "version": "1"}
