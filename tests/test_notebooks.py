"""The book's chapters: in step with their twins, readable, run in the smoke profile, and whole in a browser."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

from gahb import cli
from gahb.book import chapters, ledger, running

sys.path.insert(0, str(Path(__file__).parent / "browser"))
import browsing

BOOK = Path(__file__).resolve().parent.parent
CHAPTERS = chapters.chapters(BOOK)
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.stem for c in CHAPTERS])


def test_there_are_chapters():
    assert CHAPTERS


@each_chapter
def test_twins_are_in_step(chapter):
    import jupytext

    twin = chapter.path.with_suffix(".ipynb")
    assert twin.exists(), f"run: jupytext --sync {chapter.path.name}"
    stored = nbformat.read(twin, 4)
    text = jupytext.read(chapter.path)
    assert [(c.cell_type, c.source) for c in stored.cells] == [(c.cell_type, c.source) for c in text.cells], (
        f"{twin.name} differs from {chapter.path.name}; run: jupytext --sync notebooks/{chapter.path.name}"
    )
    assert [c.metadata.get("tags", []) for c in stored.cells] == [
        c.metadata.get("tags", []) for c in text.cells
    ]
    assert not any(c.get("outputs") for c in stored.cells), f"{twin.name} must be committed without outputs"
    assert stored.metadata.kernelspec.name == "python3"


@each_chapter
def test_cells_are_few_and_short_and_parameters_plain(chapter):
    cells = [c for c in chapters.source(chapter).cells if c.cell_type == "code"]
    assert len(cells) <= 20
    long = [c.source.splitlines()[0] for c in cells if len(c.source.splitlines()) > 15]
    assert not long, f"cells of more than 15 lines begin with {long}"
    assert list(chapters.parameters(chapter))[-1] == "profile"
    assert chapters.parameters(chapter)["profile"] == "book"
    for cell in cells:
        ast.parse(cell.source)


@each_chapter
@pytest.mark.parametrize("profile", ["smoke", "book", "paper"])
def test_profiles_are_valid(chapter, profile):
    assert chapters.profile_values(BOOK, profile, chapter)["profile"] == profile


@each_chapter
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_in_the_smoke_profile(chapter, tmp_path, monkeypatch):
    """As a reader reruns it; the page that this leaves is opened from the disk."""
    monkeypatch.setenv("GAHB_ROOT", str(BOOK))
    assert cli.main(["rerun", chapter.stem, "--profile", "smoke", "--out", str(tmp_path), "--quiet"]) == 0
    out = tmp_path / f"{chapter.stem}.ipynb"
    checked = running.claims_of(out)
    assert {claim.verdict for claim in checked} <= {"not judged"}
    expected = {entry.id for entry in ledger.load(BOOK) if entry.chapter == chapter.stem}
    assert {claim.id for claim in checked} == expected, "every claim of the chapter is checked, and no other"
    executed = nbformat.read(out, 4)
    json.dumps(executed)
    for cell in executed.cells:  # a figure's caption goes to every output of its cell
        if "figure" in cell.metadata.get("mystnb", {}):
            assert not any(ledger.KEY in output.metadata for output in cell.outputs), cell.source
    shown = [kind for cell in executed.cells for out in cell.get("outputs", ()) for kind in out.get("data", ())]
    if os.environ.get("GAHB_REQUIRE_BROWSER") == "1" or browsing.why_not() is None:
        page_opens(tmp_path / f"{chapter.stem}.html", sum("widget-view" in kind for kind in shown))


def page_opens(path: Path, widgets: int) -> None:
    """In a browser, from the disk: equations are set, widgets move, and no host is asked for anything."""
    with browsing.browser() as chrome:
        page, troubles = chrome.new_page(), []
        page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else troubles.append(r.url))
        page.goto(path.as_uri())
        browsing.settle(page)
        assert page.locator("mjx-container").count() > 10
        assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0
        assert [browsing.moves(page, widget) > 0 for widget in browsing.alive(page, widgets)] == [True] * widgets
        assert troubles == []


def test_what_was_known_is_an_entry_and_no_comment():
    """A comment of claims.yaml is on no page."""
    lines = (BOOK / "notebooks" / "claims.yaml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#") and "known:" in line] == []
    assert any(entry.known for entry in ledger.load(BOOK))


def test_every_claim_belongs_to_a_chapter():
    assert {entry.chapter for entry in ledger.load(BOOK)} <= {c.stem for c in CHAPTERS}
