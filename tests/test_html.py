"""The pages that `make book` has left, by html-validate: all rules of the HTML standard, on the theme's output too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "tests" / "browser" / "htmlvalidate.json"
sys.path.insert(0, str(ROOT / "book" / "web"))
import vendor  # noqa: E402

pytestmark = pytest.mark.lint


def faults(folder: Path, out: Path) -> list[str]:
    """What html-validate finds in the pages below a folder; under _static lie only templates of the theme."""
    pages = [str(path) for path in folder.rglob("*.html") if "_static" not in path.relative_to(folder).parts]
    assert pages, f"no page in {folder}"
    command = [*vendor.npm(), "exec", "--offline", "--prefix", str(vendor.WEB), "--", "html-validate"]
    found = out / "faults.json"  # with the pages' text: more than a pipe holds when the checker exits
    command += ["--config", str(CONFIG), "-f", f"json={found}", *pages]
    done = subprocess.run(command, capture_output=True, text=True)
    assert found.is_file(), done.stderr
    return [
        f"{Path(page['filePath']).name}:{fault['line']} {fault['ruleId']}: {fault['message']}"
        for page in json.loads(found.read_text(encoding="utf-8"))
        for fault in page["messages"]
    ]


def test_pages_are_valid_html(tmp_path):
    site = ROOT / "_build" / "html"
    if not site.is_dir():
        pytest.skip("the book is not built: make book")
    assert faults(site, tmp_path) == []


def test_faults_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<!DOCTYPE html><html lang="en"><title>x</title><p id="a"><p id="a">')
    assert any("no-dup-id" in fault for fault in faults(tmp_path, tmp_path))
