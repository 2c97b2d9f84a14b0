"""The house: who may import whom, what `gahb` shows, how large it is, how fast it opens."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import gahb

PACKAGE = Path(gahb.__file__).parent

# A room is a module or a subpackage. It imports from the floors below and from the rooms
# to its left on its own floor.
FLOORS = (
    ("_root", "_files", "_validate", "_progress", "_team", "kernels"),
    ("images", "denoisers"),
    ("jacobian", "basis", "risk", "kl", "sampling", "memorization", "harmonics", "rates"),
    ("training", "recipes", "zoo"),
    ("figures", "widgets", "claims"),
    ("_chapters", "_dependencies", "_page", "notebooks", "doctor", "_zoo_commands", "cli"),
)
ORDER = {room: place for place, room in enumerate(room for floor in FLOORS for room in floor)}


def modules() -> dict[str, Path]:
    """Dotted name -> file, `gahb/__init__.py` left out: it imports nothing until it is asked."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del names["gahb"]
    return names


def imports(name: str, source: str, *, package: bool, known: set[str]) -> set[str]:
    """The modules of gahb that `source` imports, at its top or inside a function.

    A name taken from the face (`from gahb import UNet`) counts as the module that defines it.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + package]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                if base == "gahb" and alias.name in gahb._EXPORTS:
                    found.add(gahb._EXPORTS[alias.name])
                elif f"{base}.{alias.name}" in known:
                    found.add(f"{base}.{alias.name}")
                elif not (base == "gahb" and alias.name.startswith("__")):
                    found.add(base)
    return {module for module in found if module.split(".")[0] == "gahb"} - {name}


def graph() -> dict[str, set[str]]:
    files = modules()
    return {
        name: imports(name, path.read_text(), package=path.name == "__init__.py", known=set(files))
        for name, path in files.items()
    }


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def trespasses(edges: dict[str, set[str]]) -> list[str]:
    wrong = []
    for name, targets in edges.items():
        for target in sorted(targets):
            if target == "gahb":
                wrong.append(f"{name} imports gahb itself: name the module that is meant")
            elif room(name) != room(target) and ORDER[room(target)] > ORDER[room(name)]:
                wrong.append(f"{name} imports {target}, which stands above it or to its right")
    return wrong


def test_every_module_has_its_room():
    assert {room(name) for name in modules()} <= set(ORDER)


def test_rooms_import_only_from_below_and_from_their_left():
    assert trespasses(graph()) == []


def test_no_circles():
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("importer", "source", "target"),
    [
        ("gahb.images.photos", "from ..risk import sure", "gahb.risk"),
        ("gahb.images.photos", "def late():\n    from gahb import claims", "gahb.claims"),
        ("gahb.denoisers.networks", "from gahb import fit", "gahb.training"),
        ("gahb.jacobian", "from . import risk", "gahb.risk"),
        ("gahb.images", "from ..denoisers import networks", "gahb.denoisers.networks"),
        ("gahb.risk", "import gahb.zoo as zoo", "gahb.zoo"),
    ],
)
def test_an_import_from_above_is_seen(importer, source, target):
    found = imports(importer, source, package=importer == "gahb.images", known=set(modules()))
    assert found == {target}
    assert trespasses({importer: found}) == [
        f"{importer} imports {target}, which stands above it or to its right"
    ]


@pytest.mark.parametrize("name", sorted(gahb._EXPORTS))
def test_public_names_are_there_and_documented(name):
    value = getattr(gahb, name)
    assert value is getattr(import_module(gahb._EXPORTS[name]), name)
    assert name in dir(gahb)
    assert name in gahb.__all__
    text = value.__doc__
    assert text, f"gahb.{name} has no docstring"
    assert inspect.getdoc(value).splitlines()[0].strip().endswith((".", ":"))
    if inspect.isclass(value):  # not the one that it inherits
        assert "__doc__" in vars(value)


@pytest.mark.parametrize("name", gahb._MODULES)
def test_public_modules_are_there_and_documented(name):
    assert import_module(f"gahb.{name}").__doc__
    assert getattr(gahb, name) is import_module(f"gahb.{name}")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        gahb.Unet  # noqa: B018


def code_lines(text: str) -> int:
    """Lines that do something: no blank ones, comments or docstrings."""
    quiet = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                quiet |= set(range(value.lineno, value.end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") and n not in quiet for n, line in lines)


def test_modules_stay_small():
    texts = {name: path.read_text() for name, path in modules().items()}
    assert {name: n for name, text in texts.items() if (n := len(text.splitlines())) >= 400} == {}
    assert code_lines('"""Title."""\n\n# why\nx = 1\ndef f():\n    """What."""\n    return x\n') == 3
    assert sum(map(code_lines, texts.values())) < 5500


def test_gahb_opens_quickly():
    """At most 0.3 s beyond torch, the best of eight: the machine may be busy."""
    script = (
        "import time, torch; began = time.perf_counter(); import gahb; gahb.UNet; "
        "print(time.perf_counter() - began)"
    )
    run = [sys.executable, "-c", script]
    seconds = [float(subprocess.run(run, check=True, capture_output=True).stdout)]
    while seconds[-1] > 0.3 and len(seconds) < 8:
        seconds.append(float(subprocess.run(run, check=True, capture_output=True).stdout))
    assert min(seconds) <= 0.3, seconds


def test_importing_gahb_imports_no_torch():
    script = "import sys, gahb; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert out.stdout.split() == ["False", "False"]
