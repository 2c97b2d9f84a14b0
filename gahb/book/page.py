r"""A re-run chapter as one HTML file.

The book's pages come from Sphinx; this file only has to be readable without
it. What MyST adds to Markdown is put in plain words: glued numbers, numbered
theorems, equations (by `\tag`) and figures with their captions, references by
those numbers, citations as authors and year; labels and options are left out.

Pictures, style and widgets lie inside the file. MathJax does not: it is taken
from `book/_static/vendor/` of this clone by absolute path, so that the page
needs no network where it was made; where that folder has not been filled
(`make book` does), and only there, from nbconvert's usual host.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections import Counter
from html import escape
from itertools import count
from pathlib import Path

from .._files import root

_FENCE = re.compile(r"^(`{3,}|:{3,})(?:\{([\w:-]+)\}\s*(.*))?$")
_ROLE = re.compile(r"\{([\w:-]+)\}`([^`]+)`")
_EQUATION = re.compile(r"^(.*)\$\$\s*\(([\w:-]+)\)\s*$")
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "c": "\u0327", "v": "\u030c"}
_OFFLINE = r"""{%% extends 'lab/index.html.j2' %%}
{%% block html_head_js_mermaidjs %%}{%% endblock %%}
{%% block html_head_js_mathjax %%}
<script>MathJax = {tex: {inlineMath: [["$", "$"], ["\\(", "\\)"]], processEscapes: true}};</script>
<script defer src="%s"></script>
{%% endblock %%}
{%% block html_head_js_requirejs %%}{%% endblock %%}
"""


def html(path: Path) -> str:
    """The executed notebook at `path` as HTML, pictures and widgets inside."""
    import nbformat
    from nbconvert import HTMLExporter

    from ..widgets.lazy import place, placed, script

    book, numbers = root() / "book", count(1)

    def inside(about: dict) -> str:
        name = f"widget-{next(numbers)}"
        return f"<script>{script(name, about)}</script>\n{place(name, about['alt'])}"

    notebook = plain(nbformat.read(path, as_version=4), _sources(book / "references.bib"))
    placed(notebook, inside)
    mathjax = book / "_static" / "vendor" / "mathjax" / "tex-mml-chtml.js"
    template = {"raw_template": _OFFLINE % mathjax.as_uri()} if mathjax.is_file() else {}
    with warnings.catch_warnings():  # about glued values that are not shown
        warnings.filterwarnings("ignore", message="Your element with mimetype")
        page, _ = HTMLExporter(embed_images=True, **template).from_notebook_node(
            notebook, {"metadata": {"name": path.stem}}
        )
    return page


def plain(notebook, sources: dict[str, tuple[str, str]]):
    """The notebook, changed in place to Markdown that any reader of notebooks shows.

    `sources` gives authors and year of what is cited. Labels are gathered from
    all cells first, since a reference may come before what it refers to.
    """
    from nbformat.v4 import new_markdown_cell

    labels: dict[str, str] = {}
    counts: Counter[str] = Counter()
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = _numbered(cell.source, labels, counts)
        elif cell.cell_type == "code":
            about = cell.metadata.get("mystnb", {})
            _describe(cell, about.get("image", {}).get("alt"))
            if caption := about.get("figure", {}).get("caption"):
                counts["Figure"] += 1
                number = f"Figure {counts['Figure']}"
                labels[about["figure"].get("name", "")] = number
                cells.append(new_markdown_cell(f"**{number}.** {caption}"))
    glued = _glued(notebook)
    for cell in cells:
        if cell.cell_type == "markdown":
            text = _ROLE.sub(lambda match: _said(match[1], match[2], glued, labels, sources), cell.source)
            cell.source = re.sub(r"\[\]\(#([\w:-]+)\)", lambda m: f"[{labels.get(m[1], m[1])}](#{m[1]})", text)
    notebook.cells = cells
    return notebook


def _numbered(text: str, labels: dict[str, str], counts: Counter[str]) -> str:
    """Directives as paragraphs under their names, equations with tags; `labels` learns what each label is called."""
    lines, fences, options, code, waiting, name = [], [], False, "", [], ""
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if code:  # nothing inside is ours
            code = "" if line.strip() == code else code
            lines.append(line)
        elif fence and fence[2]:
            name, title = _title(fence[2], fence[3], counts)
            fences.append(fence[1])
            lines.append(title + "\n")
            options = True
        elif fence and fences and line == fences[-1]:
            fences.pop()
            lines.append("")
        elif opened := re.match(r"`{3,}|~{3,}", line):
            code = opened[0]
            lines.append(line)
        elif options and (option := re.match(r":([\w-]+):\s*(.*)", line)):
            if option[1] == "label":
                labels[option[2]] = name
        elif label := re.fullmatch(r"\(([\w:-]+)\)=", line):
            waiting.append(label[1])
            lines.append(f'<a id="{label[1]}"></a>\n')
        else:
            options = False
            if waiting and line.strip():
                heading = re.match(r"#+\s+(.*)", line)
                labels |= {one: heading[1] for one in waiting if heading}
                waiting = []
            if equation := _EQUATION.match(line):
                counts["equation"] += 1
                labels[equation[2]] = f"({counts['equation']})"
                line = f"{equation[1]}\\tag{{{counts['equation']}}} $$"
            lines.append(line)
    return "\n".join(lines)


def _title(directive: str, title: str, counts: Counter[str]) -> tuple[str, str]:
    """What a directive is called when referred to, and the bold words that it begins with."""
    kind = directive.rpartition(":")[2].capitalize()
    if directive.startswith("prf:") and kind != "Proof":
        counts[kind] += 1
        name = f"{kind} {counts[kind]}"
        return name, f"**{name} ({title}).**" if title else f"**{name}.**"
    if kind in ("Dropdown", "Admonition", "Margin") and title:
        return title, f"**{title}.**"
    return kind, f"**{kind}.** {title}".rstrip()


def _said(role: str, text: str, glued: dict[str, object], labels: dict[str, str], sources) -> str:
    if role == "glue:text":
        name, _, form = text.rpartition("::")[2].partition(":")
        value = glued.get(name, f"({name})")
        try:
            return format(value, form)
        except ValueError:
            return str(value)
    if role in ("cite", "cite:t", "cite:p"):
        found = [sources.get(key.strip(), (key.strip(), "")) for key in text.split(",")]
        if role == "cite:t":
            return ", ".join(f"{who} ({year})" if year else who for who, year in found)
        return f"({'; '.join(f'{who} {year}'.strip() for who, year in found)})"
    if named := re.fullmatch(r"(.*\S)\s*<([^>]*)>", text):  # words of its own for the label
        return named[1].replace("%s", labels.get(named[2], named[2]).rpartition(" ")[2])
    return labels.get(text, text)


def _describe(cell, alt: str | None) -> None:
    """Give the cell's pictures their alternative text, which nbconvert has no place for."""
    for output in cell.outputs if alt else ():
        if picture := output.get("data", {}).pop("image/png", None):
            output.data["text/html"] = f'<img alt="{escape(alt)}" src="data:image/png;base64,{picture.strip()}">'


def _glued(notebook) -> dict[str, object]:
    """Values that the chapter's code handed to its prose, by name."""
    found: dict[str, object] = {}
    outputs = (out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs)
    for output in outputs:
        if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
            texts = [value for mime, value in output.data.items() if mime.endswith("text/plain")]
            try:
                found[name] = ast.literal_eval(texts[0])
            except (IndexError, ValueError, SyntaxError):
                found[name] = texts[0] if texts else ""
    return found


def _sources(path: Path) -> dict[str, tuple[str, str]]:
    """(authors, year) by key of a BibTeX file, as a citation says them; what can't be read is left out."""
    found = {}
    for entry in re.split(r"^@", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if path.is_file() else ():
        key = re.match(r"\w+\{([^,\s]+),", entry)
        author = re.search(r"\bauthor\s*=\s*[{\"](.*?)[}\"]\s*,?\s*\n\s*(?:\w+\s*=|\})", entry, re.DOTALL)
        year = re.search(r"\byear\s*=\s*[{\"]?(\d{4})", entry)
        if key and author and year:
            names = [_surname(name) for name in re.split(r"\s+and\s+", author[1])]
            who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
            found[key[1]] = (who, year[1])
    return found


def _surname(name: str) -> str:
    accent = re.compile(r"\\(['`^\"~]|[cv](?=\W))\s*\{?(\w)\}?")
    name = unicodedata.normalize("NFC", accent.sub(lambda m: m[2] + _ACCENTS[m[1]], name))
    last = name.partition(",")[0] if "," in name or name.startswith("{") else name.split()[-1]
    return re.sub(r"[{}]", "", last).strip()
