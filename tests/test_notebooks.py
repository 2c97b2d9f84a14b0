"""The book's chapters: in step with their twins, readable, and run in the smoke profile."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from gahb.book import chapters, ledger, ranges, running

BOOK = Path(__file__).resolve().parent.parent
CHAPTERS = chapters.chapters(BOOK)
# of claims that were fixed before their networks were trained, or before the optimum was computed for their images
AWAITED: set[str] = set()
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
def test_parameters_are_plain_and_name_the_profile_last(chapter):
    assert list(chapters.parameters(chapter))[-1] == "profile"
    assert chapters.parameters(chapter)["profile"] == "book"


def dense(source: str) -> list[str]:
    """Statements of a cell that ruff has no rule against, and that a reader would have to decode."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, (ast.ListComp, ast.SetComp, ast.DictComp, ast.Tuple)):
            found.append(f"line {node.lineno}: a {type(node.value).__name__} as a statement")
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_" for t in node.targets):
            found.append(f"line {node.lineno}: _ =")
        if isinstance(node, ast.NamedExpr):
            found.append(f"line {node.lineno}: :=")
    return found


@pytest.mark.parametrize(
    "source",
    ["[print(k) for k in x]", "print(1), print(2)", "_ = print(1)", "{k: print(k) for k in x}", "f((a := 1))"],
)
def test_a_dense_statement_is_seen(source):
    assert len(dense(f"x = [k for k in range(3)], 2\n{source}")) == 1


@each_chapter
def test_cells_are_plain(chapter):
    """One thought a cell: no comprehension or tuple of calls as a statement, no `_ =`, no `:=`; ruff sees the rest."""
    cells = [c for c in chapters.source(chapter).cells if c.cell_type == "code"]
    assert [found for cell in cells for found in dense(cell.source)] == []


SPLIT_NUMBER = re.compile(r"\b\d{1,3}[ \u00a0\u2009\u202f]\d{3}\b")  # of the text: thousands have a comma, 1,000


@each_chapter
def test_thousands_have_a_comma(chapter):
    texts = [cell.source for cell in chapters.source(chapter).cells if cell.cell_type == "markdown"]
    assert [found for text in texts for found in SPLIT_NUMBER.findall(text)] == []
    assert SPLIT_NUMBER.search("of 1 000 images") and not SPLIT_NUMBER.search("of 1,000 images in 2021 and 10 more")


@each_chapter
def test_profiles_are_valid(chapter):
    for profile in ("smoke", "book", "paper"):
        values = chapters.profile_values(BOOK, profile, chapter)
        assert values["profile"] == profile
        ranges.check(chapter, values)


@each_chapter
def test_the_first_cells_say_what_to_install_and_check_the_parameters(chapter):
    cells = [cell.source for cell in chapters.code_cells(chapters.source(chapter))]
    assert cells[0] == chapters.opening(BOOK)
    assert f'gahb.book.check_parameters("{chapter.stem}", globals())' in cells[2].splitlines()


@each_chapter
def test_every_number_has_a_range(chapter):
    numbers = {name for name, value in chapters.parameters(chapter).items() if _is_number(value)}
    assert numbers <= set(ranges.load(chapter)), "notebooks/ranges.yaml says what else is allowed"


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, list) and _is_number(value[0]))


@each_chapter
@pytest.mark.slow
def test_runs_in_the_smoke_profile(chapter, smoke_run):
    out = smoke_run(chapter.stem)
    checked = running.claims_of(out)
    assert {claim.verdict for claim in checked} <= {"not judged"}
    expected = {entry.id for entry in ledger.load(BOOK) if entry.chapter == chapter.stem and not entry.replaced_by}
    assert {claim.id for claim in checked} == expected - AWAITED, "every claim of the chapter is checked, and no other"
    executed = nbformat.read(out, 4)
    for cell in executed.cells:  # a figure's caption goes to every output of its cell
        if "figure" in cell.metadata.get("mystnb", {}):
            assert not any(ledger.KEY in output.get("metadata", {}) for output in cell.outputs), cell.source
    for cell in executed.cells:
        outputs = [out for out in cell.get("outputs", ()) if "data" in out and "scrapbook" not in out.metadata]
        kinds = [set(output.data) for output in outputs]
        assert {"text/plain"} not in kinds, f"a bare repr is shown by: {cell.source}"
        if any("image/png" in kind for kind in kinds):
            assert {"name", "caption"} <= set(cell.metadata.mystnb.figure) and cell.metadata.mystnb.image.alt


def test_what_was_known_is_an_entry_and_no_comment():
    """A comment of claims.yaml is on no page."""
    lines = (BOOK / "notebooks" / "claims.yaml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#") and "known:" in line] == []
    assert any(entry.known for entry in ledger.load(BOOK))


def test_every_claim_belongs_to_a_chapter():
    assert {entry.chapter for entry in ledger.load(BOOK)} <= {c.stem for c in CHAPTERS}
