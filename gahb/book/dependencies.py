"""Which modules of the package a piece of code depends on, read from its text.

Nothing is imported: a chapter's dependencies must be known before it runs, and
without paying for torch. The answer errs on the side of too many modules: a
chapter run once too often costs minutes, one not run shows stale numbers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_DOTTED = re.compile(r"gahb(\.\w+)+")
_MAGIC = re.compile(r"^(\s*)[%!].*$", flags=re.MULTILINE)


def modules_used(sources: Iterable[str], package: Path) -> dict[str, Path]:
    """Modules of `package` that `sources` reach, transitively: dotted name -> file.

    The package's own `__init__.py` is left out: its stub only says where names
    come from, and that is followed, so that a new public name does not re-run
    every chapter.
    """
    face = public_names(package)
    found: dict[str, Path] = {}
    todo = [name for source in sources for name in _names(source, "", False)]
    while todo:
        name = todo.pop()
        if name == "gahb.*":
            todo.extend(face.values())
            continue
        for module, path in _modules_on_the_way(_where(name, face), package):
            if module not in found:
                found[module] = path
                source = path.read_text(encoding="utf-8")
                todo.extend(_names(source, module, path.name == "__init__.py"))
    return dict(sorted(found.items()))


def public_names(package: Path) -> dict[str, str]:
    """Where the names of the package's face are defined, from its stub: UNet -> gahb.denoisers.networks.UNet."""
    tree = ast.parse((package / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    return {
        alias.asname or alias.name: ".".join(["gahb", *([node.module] if node.module else []), alias.name])
        for node in imports
        for alias in node.names
    }


def _parsed(source: str) -> ast.Module:
    """A cell of a chapter; nothing if it does not parse: running it will say."""
    try:
        return ast.parse(_MAGIC.sub(r"\1pass", source))
    except SyntaxError:
        return ast.Module([], [])


def _where(name: str, face: dict[str, str]) -> str:
    """`gahb.risk.score`, a name as it is called -> `gahb.measure.risk.score`, where it is."""
    _, _, rest = name.partition(".")
    first, dot, more = rest.partition(".")
    return face[first] + dot + more if first in face else name


def _modules_on_the_way(name: str, package: Path) -> Iterator[tuple[str, Path]]:
    """`gahb.a.b.f` -> the packages and the module among gahb.a, gahb.a.b, gahb.a.b.f."""
    parts = name.split(".")
    for end in range(2, len(parts) + 1):
        base = package.joinpath(*parts[1:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield ".".join(parts[:end]), path
                break
        else:
            return


def _names(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Dotted names under `gahb` that a cell (no `module`) or a module mentions."""
    tree = ast.parse(source) if module else _parsed(source)
    aliases = {"gahb"}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "gahb" and alias.asname:
                    aliases.add(alias.asname)
                yield from [alias.name] if alias.name.split(".")[0] == "gahb" else []
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            if base.split(".")[0] == "gahb":
                yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value  # a module imported lazily, by name
    for node in nodes:
        chain = []
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name) and node.id in aliases:
            yield ".".join(["gahb", *reversed(chain)])


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)
