"""Chapters and their parameters: found, read, changed by a profile or a person, or refused."""

from __future__ import annotations

import pytest
from tiny_chapters import HEADER, write

from gahb._validate import InputError
from gahb.book import chapters

# ------------------------------------------------------------------- finding


@pytest.mark.parametrize("key", ["1", "01", 1, "tiny", "01_tiny"])
def test_find(tree, key):
    write(tree, "01_tiny")
    write(tree, "02_other")
    chapter = chapters.find(tree, key)
    assert (chapter.number, chapter.name, chapter.stem, chapter.path.name) == (
        1,
        "tiny",
        "01_tiny",
        "01_tiny.md",
    )


def test_a_digression_has_its_chapters_number_and_a_name_of_its_own(tree):
    write(tree, "01_tiny")
    write(tree, "01_tiny_more")
    assert chapters.find(tree, 1).stem == "01_tiny"
    assert chapters.find(tree, "tiny_more").stem == "01_tiny_more"


def test_an_unknown_chapter_is_answered_with_the_nearest_or_with_all(tree):
    write(tree, "01_tiny")
    write(tree, "02_other")
    with pytest.raises(InputError, match=r"unknown chapter 'tinny'; did you mean 01_tiny\?$"):
        chapters.find(tree, "tinny")
    with pytest.raises(InputError, match=r"unknown chapter '3'; there are: 01_tiny, 02_other$"):
        chapters.find(tree, 3)


def test_the_text_wins_over_its_twin_and_other_files_are_no_chapters(tree):
    write(tree, "01_tiny")
    for name in ("01_tiny.ipynb", "notes.md", "claims.yaml"):
        (tree / "notebooks" / name).write_text("{}")
    assert [c.path.name for c in chapters.chapters(tree)] == ["01_tiny.md"]


# ---------------------------------------------------------------- parameters


def test_parameters_are_read_in_order(tree):
    found = chapters.parameters(write(tree, "01_tiny"))
    assert list(found) == ["sigma", "size", "levels", "names", "folder", "seed", "flag", "profile"]
    assert found["levels"] == (0.1, 0.2)
    assert found["seed"] is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = [i for i in range(3)]\nprofile = 'book'", "must be plain literals, got 'x = "),
        ("x = y = 1\nprofile = 'book'", "must be plain literals, got 'x = y = 1'"),
        ("print(1)\nprofile = 'book'", r"must be plain literals, got 'print\(1\)'"),
        ("x = 1", 'must end with profile = "book"'),
    ],
)
def test_a_bad_parameters_cell(tree, source, message):
    with pytest.raises(InputError, match=message):
        chapters.parameters(write(tree, "01_tiny", parameters=source))


def test_a_missing_parameters_cell(tree):
    (tree / "notebooks" / "01_tiny.md").write_text(HEADER + "\n# Tiny\n")
    with pytest.raises(InputError, match="exactly one cell tagged parameters, it has 0"):
        chapters.parameters(chapters.find(tree, 1))


def test_profile_values(tree):
    chapter = write(tree, "01_tiny")
    (tree / "notebooks" / "profiles" / "smoke.yaml").write_text(
        "01_tiny: {size: 2, sigma: 1e-1, levels: [1, 2]}"
    )
    values = chapters.profile_values(tree, "smoke", chapter)
    assert values["size"] == 2
    assert values["sigma"] == 0.1  # YAML reads 1e-1 as text
    assert values["levels"] == (1.0, 2.0)
    assert (values["flag"], values["profile"]) == (True, "smoke")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("01_tiny: {sise: 2}", "profiles/smoke.yaml: 01_tiny has no parameter 'sise'"),
        (
            "01_tiny: {size: 2.5}",
            "profiles/smoke.yaml: parameter size of 01_tiny must be an integer, got 2.5",
        ),
        ("01_tinny: {size: 2}", "names the unknown chapter '01_tinny'; did you mean 01_tiny\\?"),
        ("01_tiny: {profile: paper}", "profile is not a parameter to set"),
        ("01_tiny: 3", "must map chapters to mappings of parameters"),
        ("[", "must map chapters to mappings of parameters"),
    ],
)
def test_a_bad_profile(tree, text, message):
    chapter = write(tree, "01_tiny")
    (tree / "notebooks" / "profiles" / "smoke.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        chapters.profile_values(tree, "smoke", chapter)


def test_an_unknown_profile(tree):
    with pytest.raises(InputError, match="unknown profile 'huge'; there are: book, paper, smoke"):
        chapters.profile_values(tree, "huge", write(tree, "01_tiny"))
    with pytest.raises(InputError, match=r"unknown profile 'Smok'; did you mean smoke\?"):
        chapters.profile_values(tree, "Smok", write(tree, "01_tiny"))


@pytest.mark.parametrize(
    ("name", "given", "typed"),
    [
        ("sigma", "0.2", 0.2),
        ("sigma", "1", 1.0),
        ("sigma", 2, 2.0),
        ("sigma", "-1e-3", -1e-3),
        ("size", "16", 16),
        ("levels", "[1, 0.5]", (1.0, 0.5)),
        ("levels", "()", ()),
        ("names", "['x', '3']", ["x", "3"]),
        ("folder", "~/my images", "~/my images"),
        ("folder", "3", "3"),
        ("seed", "3", 3),
        ("seed", "None", None),
        ("seed", "a word", "a word"),
        ("flag", "false", False),
        ("flag", "True", True),
    ],
)
def test_overrides_take_the_type_of_the_default(tree, name, given, typed):
    found = chapters.check_overrides(write(tree, "01_tiny"), {name: given})[name]
    assert found == typed
    assert type(found) is type(typed)


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("sigma", "wide", "a finite number, got 'wide'"),
        ("sigma", "nan", "a finite number, got 'nan'"),
        ("sigma", "1e999", "a finite number, got '1e999'"),
        ("sigma", "True", "a finite number, got 'True'"),
        ("size", "16.0", "an integer, got '16.0'"),
        ("size", True, "an integer, got True"),
        ("size", "2**4", r"an integer, got '2\*\*4'"),
        ("levels", "0.1", r"a tuple like \(0.1, 0.2\), got '0.1'"),
        ("levels", "[0.1, 'x']", r"a tuple like \(0.1, 0.2\), got "),
        ("names", "[1]", r"a list like \['a'\], got "),
        ("folder", 3, "a string, got 3"),
        ("seed", "{1, 2}", "a literal, got "),
        ("flag", "1", "True or False, got '1'"),
        ("flag", "yes", "True or False, got 'yes'"),
    ],
)
def test_overrides_of_a_wrong_type_are_refused(tree, name, given, wanted):
    chapter = write(tree, "01_tiny")
    with pytest.raises(InputError, match=f"parameter {name} of 01_tiny must be {wanted}") as refused:
        chapters.check_overrides(chapter, {name: given})
    assert "its parameters are" not in str(refused.value)  # of the others nothing is said


def test_an_unknown_parameter_is_refused_with_the_nearest_or_the_list(tree):
    with pytest.raises(InputError, match=r"no parameter 'sgma'; did you mean sigma = 0\.1 \(a finite number\)\?$"):
        chapters.check_overrides(write(tree, "01_tiny"), {"sgma": "0.2"})
    with pytest.raises(InputError, match=r"no parameter 'width'; its parameters are: sigma = 0\.1 \("):
        chapters.check_overrides(write(tree, "01_tiny"), {"width": "2"})
    with pytest.raises(InputError, match="name a profile instead"):
        chapters.check_overrides(write(tree, "01_tiny"), {"profile": "paper"})
