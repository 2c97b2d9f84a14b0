"""Values that a chapter does not allow are refused before it runs, by `gahb rerun` and by its first cell."""

from __future__ import annotations

import papermill
import pytest
from tiny_chapters import write

from gahb._validate import InputError
from gahb.book import chapters, ranges, running

RANGES = """
01_tiny:
  sigma: {above: 0, at_most: 2}
  size: {at_least: 4, multiple_of: 4}
  levels: {above: sigma, least_items: 2, rising: true}
  names: {items: 1}
"""
CHECKED = """
import gahb
gahb.book.check_parameters("01_tiny", globals())
print("first cell done")
"""


@pytest.fixture
def chapter(tree):
    (tree / "notebooks" / "ranges.yaml").write_text(RANGES)
    return write(tree, "01_tiny", CHECKED, parameters="""
sigma = 0.1
size = 8
levels = [0.2, 0.3]
names = ["a"]
profile = "book"
""")  # fmt: skip


ALLOWED = [
    {}, {"sigma": 2, "levels": [3.0, 4.0]}, {"sigma": 1e-9}, {"size": 4}, {"size": 400},
    {"levels": [0.11, 0.2, 7.0]}, {"names": ["b"]},
]  # fmt: skip


@pytest.mark.parametrize("changes", ALLOWED)
def test_allowed(chapter, changes):
    ranges.check(chapter, {**chapters.parameters(chapter), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.0}, "sigma of 01_tiny must be above 0 and at most 2, got 0.0"),
        ({"sigma": 2.1}, "sigma of 01_tiny must be above 0 and at most 2, got 2.1"),
        ({"size": 10}, "size of 01_tiny must be at least 4 and a multiple of 4, got 10"),
        ({"size": 0}, "size of 01_tiny must be at least 4 and a multiple of 4, got 0"),
        ({"levels": [0.2]}, "must be a rising list of at least 2 values above sigma = 0.1, got [0.2]"),
        ({"levels": [0.3, 0.2]}, "must be a rising list of at least 2 values above sigma = 0.1, got [0.3, 0.2]"),
        ({"levels": [0.1, 0.2]}, "must be a rising list of at least 2 values above sigma = 0.1, got [0.1, 0.2]"),
        ({"names": []}, "names of 01_tiny must be a list of 1 values, got []"),
    ],
)  # fmt: skip
def test_refused(chapter, changes, message):
    with pytest.raises(InputError) as refused:
        ranges.check(chapter, {**chapters.parameters(chapter), **changes})
    assert message in str(refused.value)


@pytest.fixture
def texts(tree, monkeypatch):
    """A chapter with texts that must be there: a folder, a file, recipes."""
    monkeypatch.setenv("GAHB_ROOT", str(tree))
    monkeypatch.setenv("HOME", str(tree))
    (tree / "notebooks" / "ranges.yaml").write_text(
        '01_tiny: {pictures: {folder: true}, weights: {file: true}, names: {recipe: "*-n*-first", least_items: 1}}'
    )
    (tree / "pictures" / "below").mkdir(parents=True)
    (tree / "pictures" / "below" / "1.PNG").touch()
    for name in ("disks-n10-first", "a-b-n1-first", "disks-n10-second", "leaves"):
        (tree / "notebooks" / "weights").mkdir(exist_ok=True)
        (tree / "notebooks" / "weights" / f"{name}.yaml").write_text("")
    return write(tree, "01_tiny", parameters="""
pictures = ""
weights = ""
names = ["disks"]
profile = "book"
""")  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"pictures": "~/pictures"}, {"weights": "~/notebooks/ranges.yaml"},
                                     {"names": ["a-b", "disks"]}, {"profile": "smoke, names=['a-b']"}])  # fmt: skip
def test_texts_allowed(texts, changes):
    ranges.check(texts, {**chapters.parameters(texts), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": "~/nowhere"}, "pictures of 01_tiny must be a folder with images in it, or '', got '~/nowhere'"),
        ({"pictures": "~/notebooks"}, "must be a folder with images in it, or '', got '~/notebooks'"),
        ({"pictures": "~/notebooks/ranges.yaml"}, "must be a folder with images in it, or ''"),
        ({"weights": "~/notebooks"}, "weights of 01_tiny must be a file that is there, or '', got '~/notebooks'"),
        ({"names": ["disks", "leaves"]}, "names of 01_tiny must be a list of at least 1 values among a-b, disks, which "
                                         "have recipes NAME-n*-first, got ['disks', 'leaves']"),
        ({"names": []}, "names of 01_tiny must be a list of at least 1 values among"),
        ({"profile": "vast"}, "profile of 01_tiny must be one of book, paper, smoke, got 'vast'"),
    ],
)  # fmt: skip
def test_texts_refused(texts, changes, message):
    with pytest.raises(InputError) as refused:
        ranges.check(texts, {**chapters.parameters(texts), **changes})
    assert message in str(refused.value)


def test_a_chapter_is_not_run_with_such_a_value(chapter, tree, monkeypatch):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(InputError, match="parameter size of 01_tiny must be at least 4"):
        running.execute(chapter, tree / "out.ipynb", {**chapters.parameters(chapter), "size": 3}, progress=False)
    assert not (tree / "out.ipynb").exists()


def test_the_first_cell_refuses_under_plain_papermill(chapter, tree, monkeypatch):
    """`papermill -p levels '[1, 10]'` passes a string."""
    import jupytext

    monkeypatch.setenv("GAHB_ROOT", str(tree))
    twin = tree / "notebooks" / "01_tiny.ipynb"
    jupytext.write(jupytext.read(chapter.path), twin)
    for given, message in (
        ({"levels": "[1, 10]"}, "parameter levels of 01_tiny must be a list like [0.2, 0.3], got the string '[1, 10]'"),
        ({"size": 9}, "parameter size of 01_tiny must be at least 4 and a multiple of 4, got 9"),
    ):
        with pytest.raises(papermill.PapermillExecutionError) as failed:
            papermill.execute_notebook(twin, tree / "out.ipynb", given, kernel_name="python3", progress_bar=False)
        assert failed.value.ename == "InputError" and message in failed.value.evalue
        assert failed.value.exec_count == 3  # the parameters, what papermill injects, and the first cell


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("01_tiny: {sise: {above: 0}}", "ranges.yaml: 01_tiny has no parameter 'sise'"),
        ("01_tiny: {size: {over: 0}}", "ranges.yaml: 'over' of size in 01_tiny must be one of at_least, above,"),
        ("01_tiny: {size: {above: sigmma}}", "ranges.yaml: size of 01_tiny names the unknown parameter 'sigmma'"),
        ("[", "ranges.yaml must map chapters to mappings of parameters"),
        ("01_tiny: 3", "ranges.yaml must map chapters to mappings of parameters"),
    ],
)
def test_a_wrong_file_is_refused(chapter, tree, text, message):
    (tree / "notebooks" / "ranges.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        ranges.load(chapter)
    assert message in str(refused.value)


def test_without_a_file_everything_is_allowed(chapter, tree):
    (tree / "notebooks" / "ranges.yaml").unlink()
    ranges.check(chapter, {**chapters.parameters(chapter), "size": -3})
