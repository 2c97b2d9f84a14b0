"""Examples in docstrings run as they stand, and every name of the API page has one."""

from __future__ import annotations

import ast
import doctest
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest
from test_architecture import shown

import gahb

PACKAGE = Path(gahb.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def clone(root, monkeypatch):
    """The working directory is the clone, and no chapter has begun; afterwards all is as before."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(gahb.claims, "_running", {})


def docstrings(path: Path) -> list[tuple[str, int, str]]:
    """Qualified name, first line and text of every docstring of a module with an example.

    They are read from the source: `doctest` looks at the functions of a module,
    and does not see those that a decorator has replaced.
    """
    found = []

    def visit(node: ast.AST, name: str) -> None:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            if ">>>" in (text := ast.get_docstring(node) or ""):
                found.append((name, node.body[0].lineno, text))
            for child in node.body:
                visit(child, f"{name}.{getattr(child, 'name', '')}")

    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    visit(ast.parse(path.read_text(encoding="utf-8")), ".".join(parts))
    return found


def namespace(path: Path) -> dict:
    """Names that an example may use without an import: none, as a reader pastes it; in a private module, its own."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    private = any(part.startswith("_") and part != "__init__" for part in parts)
    return dict(vars(import_module(".".join(parts)))) if private else {"__name__": "__main__"}


def failures(name: str, line: int, text: str, names: dict | None = None) -> str:
    """What goes wrong when the example runs."""
    example = doctest.DocTestParser().get_doctest(text, names or {"__name__": "__main__"}, name, name, line)
    out: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(example, out=out.append)
    return "".join(out)


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
@pytest.mark.usefixtures("clone")
def test_examples_run(path):
    found = docstrings(path)
    assert found
    assert "".join(failures(*entry, namespace(path)) for entry in found) == ""


def test_an_example_that_is_wrong_is_seen():
    assert failures("right", 1, "Adds.\n\n>>> 1 + 1\n2\n") == ""
    assert "Expected:\n    3\nGot:\n    2\n" in failures("wrong", 1, "Adds.\n\n>>> 1 + 1\n3\n")
    assert "NameError" in failures("not whole", 1, "Adds.\n\n>>> gahb.images.disks(1, 8).shape\n")


def test_every_name_of_the_api_page_has_an_example(root):
    names = shown((root / "book" / "api.md").read_text(encoding="utf-8"))
    without = []
    for parent, children in names.items():
        for child in children:
            value = reduce(getattr, [*parent.split("."), child][1:], gahb)
            if ">>> " not in (value.__doc__ or ""):
                without.append(f"{parent}.{child}")
    assert without == []
