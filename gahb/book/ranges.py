"""Allowed values of a chapter's parameters: `notebooks/ranges.yaml`, and how it is held.

The rules are written down once, there. `check` is called before a chapter
runs; a chapter's first cell calls `check_parameters`, so that plain papermill
and JupyterLab refuse the same values.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._files import root
from .._validate import InputError
from .chapters import Chapter, check_types, find, parameters

_BOUNDS = {
    "at_least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "at_most": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}
_OTHERS = ("multiple_of", "items", "least_items", "rising")
_TEXTS = ("folder", "file", "recipe")


def check_parameters(chapter: str, namespace: Mapping[str, Any]) -> None:
    """Refuse a chapter's parameters, in the first cell, if one has the wrong type or a value that is not allowed.

    `namespace` is the `globals()` of the chapter, after its cell of parameters. InputError names the
    parameter, its value, and what is allowed.

    >>> from pathlib import Path
    >>> from gahb.book import chapters, check_parameters
    >>> values = chapters.parameters(chapters.find(Path(), "samplers"))
    >>> check_parameters("09_samplers", values)
    >>> check_parameters("09_samplers", {**values, "c": -1.0})
    Traceback (most recent call last):
        ...
    gahb._validate.InputError: parameter c of 09_samplers must be above 0, got -1.0
    """
    found = find(root(), chapter)
    values = {name: namespace[name] for name in parameters(found)}
    check_types(found, {name: value for name, value in values.items() if name != "profile"})
    check(found, values)


def check(chapter: Chapter, values: Mapping[str, Any]) -> None:
    """InputError if one of the chapter's parameters, all of which are in `values`, is not allowed."""
    profiles = sorted(path.stem for path in (Path(chapter.path).parent / "profiles").glob("*.yaml"))
    if profiles and str(values["profile"]).partition(",")[0] not in profiles:
        raise InputError(f"parameter profile of {chapter.stem} must be one of {', '.join(profiles)}, "
                         f"got {values['profile']!r}")
    for name, rules in load(chapter).items():
        if not _holds(rules, values[name], values):
            raise InputError(f"parameter {name} of {chapter.stem} must be {_said(rules, values)}, got {values[name]!r}")


def described(chapter: Chapter, values: Mapping[str, Any]) -> dict[str, str]:
    """What is allowed of the parameters of a chapter, in words, where anything is forbidden.

    >>> from pathlib import Path
    >>> from gahb.book import chapters, ranges
    >>> found = chapters.find(Path(), "miyasawa")
    >>> ranges.described(found, chapters.parameters(found))["patch"]
    'at least 16 and at most 148 and a multiple of 4'
    """
    return {name: _said(rules, values) for name, rules in load(chapter).items()}


def folders(chapter: Chapter, values: Mapping[str, Any]) -> dict[str, str]:
    """The folders that a chapter reads, by the names of their parameters: those that are not left empty."""
    return {name: values[name] for name, rules in load(chapter).items() if "folder" in rules and values[name]}


def load(chapter: Chapter) -> dict[str, dict[str, Any]]:
    """The rules for the parameters of a chapter, by name; {} where there are none. InputError for a wrong file."""
    import yaml

    path = Path(chapter.path).parent / "ranges.yaml"
    if not path.exists():
        return {}
    try:
        ranges = dict((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(chapter.stem) or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise InputError("ranges.yaml must map chapters to mappings of parameters") from None
    known = parameters(chapter)
    for name, rules in ranges.items():
        if name not in known:
            raise InputError(f"ranges.yaml: {chapter.stem} has no parameter {name!r}")
        for rule, bound in rules.items():
            if rule not in (*_BOUNDS, *_OTHERS, *_TEXTS):
                allowed = ", ".join([*_BOUNDS, *_OTHERS, *_TEXTS])
                raise InputError(f"ranges.yaml: {rule!r} of {name} in {chapter.stem} must be one of {allowed}")
            if isinstance(bound, str) and rule not in _TEXTS and bound not in known:
                raise InputError(f"ranges.yaml: {name} of {chapter.stem} names the unknown parameter {bound!r}")
    return ranges


def _holds(rules: dict[str, Any], value, values: Mapping[str, Any]) -> bool:
    if isinstance(value, (list, tuple)):
        if len(value) < rules.get("least_items", 0) or len(value) != rules.get("items", len(value)):
            return False
        if rules.get("rising") and any(a >= b for a, b in zip(value, value[1:])):
            return False
        return all(_holds(rules, element, values) for element in value)
    if isinstance(value, str):
        return _text_holds(rules, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    inside = all(_BOUNDS[rule][0](value, _number(bound, values)) for rule, bound in rules.items() if rule in _BOUNDS)
    return inside and value % rules.get("multiple_of", value or 1) == 0


def _text_holds(rules: dict[str, Any], value: str) -> bool:
    if "recipe" in rules:
        return value in _families(rules["recipe"])
    if value == "" or not {"folder", "file"} & set(rules):
        return True  # "" asks for what the chapter has itself
    if "file" in rules:
        return Path(value).expanduser().is_file()
    from ..images.folder import holds_images  # brings torch along

    return holds_images(value)


def _families(pattern: str) -> list[str]:
    """What the star stands for in the names of the stored recipes that are like `pattern`; PyTorch is not needed."""
    before, _, after = pattern.partition("*")
    expression = re.compile(f"{re.escape(before)}(.+){re.escape(after).replace(re.escape('*'), '.*')}")
    folders = (root() / "gahb" / "weights", root() / "notebooks" / "weights")
    found = [expression.fullmatch(path.stem) for folder in folders for path in folder.glob("*.yaml")]
    return sorted({match[1] for match in found if match})


def _number(bound, values: Mapping[str, Any]):
    return values[bound] if isinstance(bound, str) else bound


def _said(rules: dict[str, Any], values: Mapping[str, Any]) -> str:
    """The rules in words: `at least 16 and a multiple of 4`, `a rising list of at least 2 values above 0`."""
    bounds = []
    for rule, bound in rules.items():
        if rule in _BOUNDS:
            bounds.append(f"{_BOUNDS[rule][1]} {f'{bound} = {values[bound]!r}' if isinstance(bound, str) else bound}")
        elif rule == "multiple_of":
            bounds.append(f"a multiple of {bound}")
        elif rule == "recipe":
            bounds.append(f"among {', '.join(_families(bound))}, which have recipes {bound.replace('*', 'NAME', 1)}")
        elif rule in _TEXTS:
            bounds.append(f"a {'folder with images in it' if rule == 'folder' else 'file that is there'}, or ''")
    said = " and ".join(bounds)
    if not {"items", "least_items", "rising"} & set(rules):
        return said
    count = f"{rules['items']}" if "items" in rules else f"at least {rules.get('least_items', 0)}"
    return f"a {'rising ' * bool(rules.get('rising'))}list of {count} values {said}".rstrip()
