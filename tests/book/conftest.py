"""A root whose chapters a test writes, and a copy of the package for them to run on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gahb
from gahb.book import running


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A root with empty profiles."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    for profile in ("smoke", "book", "paper"):
        (tmp_path / "notebooks" / "profiles" / f"{profile}.yaml").write_text("")
    monkeypatch.delenv("GAHB_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def package(tree, monkeypatch) -> Path:
    """A copy of the package, without networks, that chapters of `tree` import; a test may change its files."""
    copy = tree / "gahb"
    shutil.copytree(Path(gahb.__file__).parent, copy, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(tree))
    monkeypatch.setattr(running, "PACKAGE", copy)
    return copy
