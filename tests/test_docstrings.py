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

# Names of the API page whose docstring has no example yet. A name leaves the list with its example; none comes in.
WITHOUT = {
    "gahb.BFCNN",
    "gahb.PointNetwork",
    "gahb.UNet",
    "gahb.book.running.bring_up_to_date",
    "gahb.book.running.claims_of",
    "gahb.book.running.execute",
    "gahb.claims.Claim",
    "gahb.book.prose.glue",
    "gahb.claims.begin",
    "gahb.claims.check_all",
    "gahb.claims.check",
    "gahb.claims.load",
    "gahb.figures.areas",
    "gahb.figures.curve_grid",
    "gahb.figures.curve_panels",
    "gahb.figures.curves",
    "gahb.figures.distributions",
    "gahb.figures.estimates",
    "gahb.figures.image_grid",
    "gahb.figures.mixture_fields",
    "gahb.figures.table",
    "gahb.figures.use_style",
    "gahb.recipes.Recipe",
    "gahb.widgets.curves",
    "gahb.widgets.flow_lines",
    "gahb.widgets.frames",
    "gahb.widgets.live",
    "gahb.widgets.mixture",
    "gahb.zoo.export",
    "gahb.zoo.load",
    "gahb.zoo.load_published",
    "gahb.zoo.names",
    "gahb.zoo.recipe",
    "gahb.zoo.train",
}


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
    without = set()
    for parent, children in names.items():
        for child in children:
            value = reduce(getattr, [*parent.split("."), child][1:], gahb)
            if ">>> " not in (value.__doc__ or ""):
                without.add(f"{parent}.{child}")
    assert without == WITHOUT
    assert not any(name.startswith("gahb.images.") for name in WITHOUT)
