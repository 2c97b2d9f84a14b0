"""The book's chapters and their parameters: defaults, profiles, and what a person asks for.

Nothing here runs a chapter or writes a file.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._validate import InputError, nearest_names, suggestion


@dataclass(frozen=True)
class Chapter:
    """`number` 1, `name` miyasawa, `stem` 01_miyasawa, `path` of the text (without one, of the notebook)."""

    number: int
    name: str
    stem: str
    path: Path


def chapters(root: Path) -> list[Chapter]:
    """All chapters under `root`, a clone of the book, in order.

    >>> from pathlib import Path
    >>> from gahb.book.chapters import chapters
    >>> [chapter.name for chapter in chapters(Path())][:2]
    ['miyasawa', 'kl_bound']
    """
    found = {}
    for suffix in (".ipynb", ".md"):  # the text wins over its twin
        for path in (root / "notebooks").glob(f"*{suffix}"):
            if match := re.fullmatch(r"(\d+)_(\w+)", path.stem):
                found[path.stem] = Chapter(int(match[1]), match[2], path.stem, path)
    return [found[stem] for stem in sorted(found)]


def find(root: Path, key: str | int) -> Chapter:
    """The chapter of that number (1, 01), name (miyasawa) or stem (01_miyasawa).

    InputError for another key offers the nearest ones.

    >>> from pathlib import Path
    >>> from gahb.book.chapters import find
    >>> find(Path(), 1).stem
    '01_miyasawa'
    """
    every, text = chapters(root), str(key)
    for chapter in every:
        if text in (chapter.name, chapter.stem) or (text.isdecimal() and int(text) == chapter.number):
            return chapter
    raise InputError(f"unknown chapter {text!r}; {suggestion(text, [c.stem for c in every])}")


def source(chapter: Chapter):
    """The chapter as a notebook without outputs, each cell with a stable id."""
    import jupytext

    notebook = jupytext.read(chapter.path)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def title(chapter: Chapter) -> str:
    """The chapter's first heading.

    >>> from pathlib import Path
    >>> from gahb.book.chapters import find, title
    >>> title(find(Path(), "projection"))
    'Denoising as projection'
    """
    text = Path(chapter.path).read_text(encoding="utf-8")
    found = re.search(r"^# (.+)$", text, re.MULTILINE) if Path(chapter.path).suffix == ".md" else None
    return found[1].strip() if found else chapter.name


def parameters(chapter: Chapter) -> dict[str, Any]:
    """Defaults, in order, from the cell tagged `parameters`: plain literals, `profile` among them.

    InputError unless there is one such cell, of plain literals, with `profile`.

    >>> from pathlib import Path
    >>> from gahb.book.chapters import find, parameters
    >>> parameters(find(Path(), "miyasawa"))["sigma"]
    0.1
    """
    values = {}
    for statement in _statements(chapter):
        try:
            (target,) = statement.targets
            values[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, TypeError, ValueError):
            line = ast.unparse(statement)
            raise InputError(
                f"the parameters cell of {chapter.stem} must be plain literals, got {line!r}"
            ) from None
    if not isinstance(values.get("profile"), str):
        raise InputError(f'the parameters cell of {chapter.stem} must end with profile = "book"')
    return values


def comments(chapter: Chapter) -> dict[str, str]:
    """What the cell tagged `parameters` says of each parameter in comments beside it; "" where it says nothing.

    >>> from pathlib import Path
    >>> from gahb.book.chapters import comments, find
    >>> comments(find(Path(), "transition"))["n_eval"]
    'noisy images for each point of a PSNR curve'
    """
    cell = io.StringIO(_parameters_cell(chapter)).readline
    said = {}
    for token in tokenize.generate_tokens(cell):
        if token.type == tokenize.COMMENT:
            said[token.start[0]] = token.string.lstrip("# ").rstrip()
    return {
        name: " ".join(said[line] for line in range(statement.lineno, statement.end_lineno + 1) if line in said)
        for name, statement in zip(parameters(chapter), _statements(chapter))
    }


def _statements(chapter: Chapter) -> list[ast.stmt]:
    """Those of the cell tagged `parameters`."""
    try:
        return ast.parse(_parameters_cell(chapter)).body
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise InputError(f"the parameters cell of {chapter.stem} is not Python: {error.msg}, in line {error.lineno} "
                         f"of the cell ({line!r})") from None


_TAGGED = re.compile(r"^```\{code-cell\}.*\n:tags: \[parameters\]\n\n((?:.*\n)*?)```$", re.MULTILINE)


def _parameters_cell(chapter: Chapter) -> str:
    """Source of the cell tagged `parameters`.

    As the chapters write it, it is found without jupytext, whose import takes longer than that of torch:
    each kernel asks for it.
    """
    text = Path(chapter.path).read_text(encoding="utf-8")
    found = _TAGGED.findall(text) if Path(chapter.path).suffix == ".md" else []
    if len(found) == len(re.findall(r"tags:.*\bparameters\b", text)) == 1:
        return found[0]
    cells = [cell for cell in code_cells(source(chapter)) if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise InputError(f"{chapter.stem} must have exactly one cell tagged parameters, it has {len(cells)}")
    return cells[0].source


def profile_values(root: Path, profile: str, chapter: Chapter) -> dict[str, Any]:
    """All parameters of a chapter in a profile: its defaults, changed by profiles/<profile>.yaml."""
    import yaml

    folder = root / "notebooks" / "profiles"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in known:
        raise InputError(f"unknown profile {profile!r}; {suggestion(profile, known)}")
    try:
        entries = yaml.safe_load((folder / f"{profile}.yaml").read_text(encoding="utf-8")) or {}
        values = dict(entries.get(chapter.stem) or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise InputError(f"profiles/{profile}.yaml must map chapters to mappings of parameters") from None
    stems = [c.stem for c in chapters(root)]
    if strangers := sorted(set(entries) - set(stems)):
        raise InputError(
            f"profiles/{profile}.yaml names the unknown chapter {strangers[0]!r}; {suggestion(strangers[0], stems)}"
        )
    try:
        return {**parameters(chapter), **check_overrides(chapter, values), "profile": profile}
    except InputError as error:
        raise InputError(f"profiles/{profile}.yaml: {error}") from None


def check_overrides(chapter: Chapter, given: dict[str, Any]) -> dict[str, Any]:
    """Values for some of a chapter's parameters, as text or plain values, each in the type of its default.

    A float takes an integer; nothing else changes type. A default of None
    takes any plain literal, and text that is none as a string. InputError for
    an unknown name, or a value of another type.

    >>> from pathlib import Path
    >>> from gahb.book.chapters import check_overrides, find
    >>> check_overrides(find(Path(), "miyasawa"), {"sigma": "1", "table_sigmas": "[0.1]"})
    {'sigma': 1.0, 'table_sigmas': [0.1]}
    """
    defaults = parameters(chapter)
    typed = {}
    for name, value in given.items():
        if name == "profile":
            raise InputError("profile is not a parameter to set: name a profile instead (--profile)")
        if name not in defaults:
            near = nearest_names(name, [known for known in defaults if known != "profile"])
            known = ", ".join(f"{n} = {defaults[n]!r} ({_kind(defaults[n])})" for n in near)
            raise InputError(f"{chapter.stem} has no parameter {name!r}; "
                             f"{f'did you mean {known}?' if near else describe(chapter)}")
        try:
            typed[name] = _typed(value, defaults[name])
        except (TypeError, ValueError):
            wanted = f"must be {_kind(defaults[name])}, got {value!r}"
            raise InputError(f"parameter {name} of {chapter.stem} {wanted}") from None
    return typed


def check_types(chapter: Chapter, values: dict[str, Any]) -> None:
    """InputError if a value has another type than its parameter's default.

    Unlike `check_overrides` this reads no text: papermill's `-p counts '[1, 10]'` passes a string, which
    is refused where a list is meant.
    """
    defaults = parameters(chapter)
    for name, value in values.items():
        default = defaults[name]
        if isinstance(value, str) and not isinstance(default, (str, type(None))):
            raise InputError(
                f"parameter {name} of {chapter.stem} must be {_kind(default)}, got the string {value!r}; "
                f"with papermill: -y '{name}: {value}', or use gahb rerun"
            )
    check_overrides(chapter, values)


def describe(chapter: Chapter) -> str:
    """One line that lists the chapter's parameters with types and defaults."""
    items = [(name, value) for name, value in parameters(chapter).items() if name != "profile"]
    listed = ", ".join(f"{name} = {value!r} ({_kind(value)})" for name, value in items)
    return f"its parameters are: {listed or 'none'}"


def _kind(value) -> str:
    if isinstance(value, (list, tuple)) and value:
        return f"a {type(value).__name__} like {value!r}"
    names = {
        bool: "True or False",
        int: "an integer",
        float: "a finite number",
        str: "a string",
        type(None): "a literal",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _typed(value, default):
    """`value`, or what its text says, if it has the type of `default`; else ValueError."""
    if isinstance(value, str) and not isinstance(default, str):
        text = value.strip()
        try:
            value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            if default is not None:
                raise ValueError(value) from None
    if default is None:
        json.dumps(value, allow_nan=False)
        return value
    if isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            raise ValueError(value)
        return type(default)(_typed(v, next(iter(default), None)) for v in value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(value)
    return value


def repository(folder: Path) -> tuple[str, str] | None:
    """Address and branch of the repository that _config.yml in `folder` names; None if it names none."""
    import yaml

    path = Path(folder, "_config.yml")
    about = yaml.safe_load(path.read_text(encoding="utf-8")).get("repository") if path.is_file() else None
    url = ((about or {}).get("url") or "").rstrip("/").removesuffix(".git")
    return (url, about.get("branch") or "main") if url else None


def opening(folder: Path) -> str:
    """The first code cell of every chapter in the clone `folder`: it says what to install if the book is not there."""
    address, _ = repository(folder) or ("this repository", "")
    return f'''from importlib.util import find_spec

if find_spec("gahb") is None:
    raise ModuleNotFoundError(
        "This chapter needs the book around it. Clone "
        "{address}, "
        "then run in the clone: pip install -e '.[book]'"
    )'''


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])
