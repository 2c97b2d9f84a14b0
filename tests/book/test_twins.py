"""A chapter's text and its twin are brought in step, and no edit is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import jupytext
import nbformat
import pytest
from tiny_chapters import write

from gahb._validate import InputError
from gahb.book import twins
from gahb.book.chapters import opening


@pytest.fixture
def pair(tree, root):
    """Text and twin of a chapter that are in step."""
    shutil.copy(root / "notebooks" / "jupytext.toml", tree / "notebooks")
    text = write(tree, "01_tiny", "print(1)").path
    assert twins.sync(text) == "01_tiny.ipynb is now as 01_tiny.md"
    return text, text.with_suffix(".ipynb")


def edit(path, words: str) -> None:
    if path.suffix == ".md":
        path.write_text(path.read_text() + f"\n{words}\n")
    else:
        notebook = nbformat.read(path, 4)
        notebook.cells.append(nbformat.v4.new_markdown_cell(words))
        nbformat.write(notebook, path)


def cells(path) -> list[str]:
    return [cell.source.strip() for cell in jupytext.read(path).cells]


def touch(path, seconds: float = 60) -> None:
    """As if `path` had been written after everything else."""
    later = time.time() + seconds
    os.utime(path, (later, later))


def git(folder, *words) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def test_a_pair_in_step_is_left_alone(pair):
    before = [path.read_bytes() for path in pair]
    assert twins.sync(pair[0]) == ""
    assert [path.read_bytes() for path in pair] == before


@pytest.mark.parametrize("times", [1, 2])
def test_an_edited_text_is_kept_though_its_twin_was_written_last(pair, times):
    text, twin = pair
    for k in range(times):  # the second time neither side is as committed
        edit(text, f"Words {k}.")
        touch(twin)
        assert twins.sync(text) == "01_tiny.ipynb is now as 01_tiny.md"
        assert cells(twin) == cells(text) and f"Words {k}." in cells(text)[-1]
    assert twins.sync(text) == ""


def test_an_edited_twin_is_kept_though_the_text_was_written_last(pair):
    text, twin = pair
    edit(twin, "Words.")
    touch(text)
    assert twins.sync(text) == "01_tiny.md is now as 01_tiny.ipynb"
    assert "Words." in text.read_text() and cells(twin) == cells(text)


def test_where_both_were_edited_nothing_is_written(pair):
    text, twin = pair
    edit(text, "Of the text.")
    edit(twin, "Of the twin.")
    before = [path.read_bytes() for path in pair]
    with pytest.raises(InputError, match=r"01_tiny\.md and 01_tiny\.ipynb were both edited, and differ"):
        twins.sync(text)
    assert [path.read_bytes() for path in pair] == before
    twin.unlink()  # as the message says
    assert twins.sync(text) == "01_tiny.ipynb is now as 01_tiny.md"


def test_without_a_fingerprint_the_last_commit_tells(pair, tree):
    """As after `jupytext --sync`, or for twins that were made before there were fingerprints."""
    text, twin = pair
    notebook = nbformat.read(twin, 4)
    del notebook.metadata[twins.KEY]
    nbformat.write(notebook, twin)
    edit(text, "First words.")
    with pytest.raises(InputError, match="both edited"):  # no git here
        twins.sync(text)
    text.write_text(text.read_text().replace("\nFirst words.\n", ""))
    git(tree, "init", "-q")
    git(tree, "add", "notebooks")
    git(tree, "commit", "-qm", "a pair")
    edit(text, "Words.")
    touch(twin)
    assert twins.sync(text) == "01_tiny.ipynb is now as 01_tiny.md"
    assert "Words." in cells(twin)[-1]


def test_outputs_are_taken_out_of_the_twin(pair):
    text, twin = pair
    notebook = nbformat.read(twin, 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="1")]
    notebook.cells[-1].execution_count = 3
    nbformat.write(notebook, twin)
    assert twins.sync(text) == "01_tiny.ipynb: outputs taken out"
    assert nbformat.read(twin, 4).cells[-1].outputs == []


def test_all_chapters(pair, tree, monkeypatch, capsys):
    """One that was edited on both sides is named, and does not stop the others."""
    monkeypatch.setenv("GAHB_ROOT", str(tree))
    write(tree, "02_other")
    for path in pair:
        edit(path, f"Of {path.suffix}.")
    assert twins.main() == 1
    said = capsys.readouterr()
    assert said.out == "02_other.ipynb is now as 02_other.md\n"
    assert said.err.count("\n") == 1 and "01_tiny.md and 01_tiny.ipynb were both edited" in said.err
    pair[1].unlink()
    assert twins.main() == 0


def test_the_first_cell_names_the_repository_of_the_configuration(pair, tree, monkeypatch, capsys):
    text, twin = pair
    monkeypatch.setenv("GAHB_ROOT", str(tree))
    text.write_text(text.read_text().replace("print(1)", f"{opening(tree)}\n```\n\n```{{code-cell}}\nprint(1)", 1))
    assert twins.main() == 0 and "this repository" in twin.read_text()
    (tree / "_config.yml").write_text("repository: {url: https://example.org/book.git}\n")
    assert twins.main() == 0
    assert "first cell says where" in capsys.readouterr().out
    for path in pair:
        assert "this repository" not in path.read_text() and "https://example.org/book" in path.read_text()
    assert twins.main() == 0 and capsys.readouterr().out == ""
