"""Chapters: found, parametrised, stamped and run. Tiny chapters first, then the book's own."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from gahb import cli, notebooks
from gahb._dependencies import networks_used
from gahb.notebooks import ChapterFailed, InputError

sys.path.insert(0, str(Path(__file__).parent / "browser"))
import browsing

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""
PARAMETERS = """
sigma = 0.1  # noise level
size = 8
levels = (0.1, 0.2)
names = ["a"]
folder = ""
seed = None
flag = True
profile = "book"
"""


def cell(source: str, tags: str = "") -> str:
    return f"```{{code-cell}} ipython3\n{f':tags: [{tags}]' if tags else ''}\n\n{source.strip()}\n```\n\n"


def write(
    root: Path, stem: str, *cells: str, parameters: str = PARAMETERS, prose: str = "Prose."
) -> notebooks.Chapter:
    text = f"{HEADER}\n# {stem}\n\n{prose}\n\n{cell(parameters, 'parameters')}{''.join(map(cell, cells))}"
    (root / "notebooks" / f"{stem}.md").write_text(text)
    return notebooks.find(root, stem)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A root with profiles and a package of its own, whose chapters the test writes."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    for profile in ("smoke", "book", "paper"):
        (tmp_path / "notebooks" / "profiles" / f"{profile}.yaml").write_text("")
    package = tmp_path / "gahb"
    (package / "room").mkdir(parents=True)
    (package / "widgets").mkdir()
    files = {
        "__init__.py": '_EXPORTS = {"Public": "gahb.room.inner", "Far": "gahb.far"}\n',
        "room/__init__.py": "from .inner import Public\n",
        "room/inner.py": "from ..ground import base\nfrom ._private import helper\n",
        "room/_private.py": "",
        "room/alone.py": "",
        "ground.py": 'def base():\n    from gahb import late\n    lazily = "gahb.by_name"\n',
        "late.py": "import gahb\n\ndef f():\n    return gahb.claims.check\n",
        "by_name.py": "",
        "far.py": "",
        "claims.py": "",
        "widgets/__init__.py": "",
        "widgets/point.js": "",
        "widgets/lazy.js": "",  # brings a widget to a built page: no output depends on it
        "zoo.py": "",
        "weights/disks.yaml": "",
        "weights/disks.safetensors": "",
        "weights/disks@500.safetensors": "",
        "weights/disks-n10-first.yaml": "",
        "weights/faces-n10-first.safetensors": "",
        "weights/photos.safetensors": "",
    }
    (package / "weights").mkdir()
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.setattr(notebooks, "PACKAGE", package)
    monkeypatch.delenv("GAHB_ROOT", raising=False)
    return tmp_path


def texts(path: Path) -> list[str]:
    """What the code cells of an executed notebook printed."""
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    return ["".join(o.get("text", "") for o in c.outputs) for c in cells]


# ------------------------------------------------------------------- finding


@pytest.mark.parametrize("key", ["1", "01", 1, "tiny", "01_tiny"])
def test_find(tree, key):
    write(tree, "01_tiny")
    write(tree, "02_other")
    chapter = notebooks.find(tree, key)
    assert (chapter.number, chapter.name, chapter.stem, chapter.path.name) == (
        1,
        "tiny",
        "01_tiny",
        "01_tiny.md",
    )


def test_unknown_chapter_lists_the_chapters(tree):
    write(tree, "01_tiny")
    write(tree, "02_other")
    with pytest.raises(InputError, match="unknown chapter 'tin'; there are: 01_tiny, 02_other"):
        notebooks.find(tree, "tin")


def test_the_text_wins_over_its_twin_and_other_files_are_no_chapters(tree):
    write(tree, "01_tiny")
    for name in ("01_tiny.ipynb", "notes.md", "claims.yaml"):
        (tree / "notebooks" / name).write_text("{}")
    assert [c.path.name for c in notebooks.chapters(tree)] == ["01_tiny.md"]


def test_root_from_the_environment(tree, monkeypatch):
    monkeypatch.setenv("GAHB_ROOT", str(tree))
    assert notebooks.root() == tree
    monkeypatch.setenv("GAHB_ROOT", str(tree / "gahb"))
    with pytest.raises(InputError, match=r"GAHB_ROOT is '.*', which has no folder notebooks/"):
        notebooks.root()


def test_root_upward_from_the_working_directory(tree, monkeypatch):
    monkeypatch.setattr("gahb._root.__file__", str(tree / "elsewhere" / "site" / "gahb" / "_root.py"))
    monkeypatch.chdir(tree / "gahb")
    assert notebooks.root() == tree
    shutil.rmtree(tree / "notebooks")
    with pytest.raises(InputError, match=r"no chapters found above .*: run inside a clone of the book"):
        notebooks.root()


# ---------------------------------------------------------------- parameters


def test_parameters_are_read_in_order(tree):
    found = notebooks.parameters(write(tree, "01_tiny"))
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
        notebooks.parameters(write(tree, "01_tiny", parameters=source))


def test_a_missing_parameters_cell(tree):
    (tree / "notebooks" / "01_tiny.md").write_text(HEADER + "\n# Tiny\n")
    with pytest.raises(InputError, match="exactly one cell tagged parameters, it has 0"):
        notebooks.parameters(notebooks.find(tree, 1))


def test_profile_values(tree):
    chapter = write(tree, "01_tiny")
    (tree / "notebooks" / "profiles" / "smoke.yaml").write_text(
        "01_tiny: {size: 2, sigma: 1e-1, levels: [1, 2]}"
    )
    values = notebooks.profile_values(tree, "smoke", chapter)
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
        ("01_tinny: {size: 2}", "names the unknown chapter '01_tinny'; there are: 01_tiny"),
        ("01_tiny: {profile: paper}", "profile is not a parameter to set"),
        ("01_tiny: 3", "must map chapters to mappings of parameters"),
        ("[", "must map chapters to mappings of parameters"),
    ],
)
def test_a_bad_profile(tree, text, message):
    chapter = write(tree, "01_tiny")
    (tree / "notebooks" / "profiles" / "smoke.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        notebooks.profile_values(tree, "smoke", chapter)


def test_an_unknown_profile(tree):
    with pytest.raises(InputError, match="unknown profile 'huge'; there are: book, paper, smoke"):
        notebooks.profile_values(tree, "huge", write(tree, "01_tiny"))


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
    found = notebooks.check_overrides(write(tree, "01_tiny"), {name: given})[name]
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
def test_overrides_of_a_wrong_type_are_refused_with_the_list(tree, name, given, wanted):
    chapter = write(tree, "01_tiny")
    with pytest.raises(InputError, match=f"parameter {name} of 01_tiny must be {wanted}") as refused:
        notebooks.check_overrides(chapter, {name: given})
    assert "its parameters are: sigma = 0.1 (a finite number), size = 8 (an integer), " in str(refused.value)


def test_an_unknown_parameter_is_refused_with_the_list(tree):
    with pytest.raises(InputError, match=r"no parameter 'sgma'; its parameters are: sigma = 0\.1"):
        notebooks.check_overrides(write(tree, "01_tiny"), {"sgma": "0.2"})
    with pytest.raises(InputError, match="name a profile instead"):
        notebooks.check_overrides(write(tree, "01_tiny"), {"profile": "paper"})


# --------------------------------------------------------------------- stamp

# what gahb.room reaches in the stand-in package: through relative imports, inside functions, by name
INNER = {"gahb.room.inner", "gahb.room._private", "gahb.ground", "gahb.late", "gahb.by_name", "gahb.claims"}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 1", []),
        ("import gahb", []),
        ("import gahb\ngahb.Far(3)", ["gahb.far"]),
        ("import gahb as g\ng.Far(3)", ["gahb.far"]),
        ("from gahb import Far", ["gahb.far"]),
        ("%matplotlib inline\nimport gahb.far", ["gahb.far"]),
        ("from gahb.room.alone import x", ["gahb.room", "gahb.room.alone"]),
        ("import gahb\ngahb.widgets.point()", ["gahb.widgets", "widgets/point.js"]),
        ("import gahb\ngahb.zoo.load('x')", ["gahb.zoo"]),
        ("import gahb\ngahb.zoo.load('photos')", ["gahb.zoo", "weights/photos.safetensors"]),
        ("this is no Python", []),
    ],
)
def test_dependencies(tree, code, names):
    found = set(notebooks.dependencies(write(tree, "01_tiny", code)))
    assert found == {*names, *(INNER if "gahb.room" in names else ())}


def test_dependencies_follow_imports_names_and_functions(tree):
    found = set(notebooks.dependencies(write(tree, "01_tiny", "import gahb\ngahb.Public()")))
    assert found == {"gahb.room", *INNER}


def test_star_import_depends_on_everything_public(tree):
    found = set(notebooks.dependencies(write(tree, "01_tiny", "from gahb import *")))
    assert {"gahb.far", "gahb.room.inner", "gahb.ground"} <= found


def test_the_package_itself_is_read_as_python_does():
    """Against the real package: what importing a name loads is among what the text says."""
    code = "import sys, gahb; gahb.UNet; print(*[m for m in sys.modules if m.startswith('gahb.')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    from gahb._dependencies import modules_used

    loaded = set(done.stdout.split())
    assert "gahb.denoisers.networks" in loaded
    assert loaded <= set(modules_used(["import gahb\ngahb.UNet()"], notebooks.PACKAGE))


NETWORKS = ["disks", "disks@500", "disks-n10-first", "disks-n10-second", "faces-n10-first", "photos"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("zoo.load('photos')", ["photos"]),
        ("zoo.load('photos') if 'photos' in gahb.zoo.names() else None", ["photos"]),
        ("{'photos'} <= set(zoo.names())", ["photos"]),
        ("zoo.load('disks')", ["disks", "disks@500", "disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks@500')", ["disks@500"]),
        ("zoo.load(f'disks-n{n}-first')", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks-n{}-first'.format(n))", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks-n%d-first' % n)", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks-' + kind)", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load(f'd{rest}')", ["disks", "disks@500", "disks-n10-first", "disks-n10-second"]),
        ("zoo.load(f'{family}-n10-first')", []),
        ("family = 'faces'\nzoo.load(f'{family}-n10-first')", ["faces-n10-first"]),
        ("zoo.load(given)", []),
        ("print('photo', 'of disks', f'{x:.2f}', f'')", []),
        ("[zoo.load(name) for name in gahb.zoo.names()]", NETWORKS),
        ("all = zoo.names()\n'photos' in all", NETWORKS),
        ("from gahb.zoo import names\nnames()", NETWORKS),
        ("this is no Python: 'photos'", []),
    ],
)
def test_networks_used(code, names):
    assert sorted(networks_used([code], [], NETWORKS)) == sorted(names)


def test_networks_used_through_parameters():
    for values in (["faces"], [("x", "faces")], [["faces"], 3, None, 0.1]):
        assert networks_used(["zoo.load(f'{family}-n10-first')"], values, NETWORKS) == {"faces-n10-first"}


def test_the_stamp_sees_the_networks_that_the_chapter_names_and_no_others(tree):
    chapter, values = write(tree, "01_tiny", "import gahb\ngahb.zoo.load(f'disks-n{size}-{names[0]}')"), {}
    stamps, weights = [notebooks.stamp(chapter, values)], tree / "gahb" / "weights"

    def differs() -> bool:
        stamps.append(notebooks.stamp(chapter, values))
        return stamps[-1] != stamps[-2]

    (weights / "photos.safetensors").write_text("trained again")
    (weights / "faces-n10-second.safetensors").write_text("new")
    assert not differs()
    (weights / "disks-n10-first.safetensors").write_text("trained")
    assert differs()
    (weights / "disks-n10-first.safetensors").write_text("trained again")
    assert differs()
    (weights / "disks-n10-first.yaml").write_text("another recipe")
    assert differs()
    assert "weights/photos.safetensors" in notebooks.dependencies(chapter, {"names": ["photos"]})


def test_the_stamp_sees_networks_of_the_cache(tree, monkeypatch):
    """What a person trains with `gahb zoo train` changes the chapters that were waiting for it."""
    from gahb import zoo

    monkeypatch.setenv("GAHB_CACHE", str(tree / "cache"))
    monkeypatch.setattr(zoo, "SHIPPED", tree / "gahb" / "weights")
    (zoo.SHIPPED / "disks.safetensors").unlink()
    for path in zoo.SHIPPED.glob("*.yaml"):
        steps = f"training: {{steps: {len(path.stem)}}}"
        path.write_text(f"network: {{kind: UNet}}\nimages: {{kind: disks, size: 8}}\n{steps}")
    kept = tree / "cache" / "zoo" / f"{zoo.recipe('disks').hash}.safetensors"
    waiting = write(tree, "01_tiny", "import gahb\ngahb.zoo.load('disks')")
    other = write(tree, "02_other", "import gahb\ngahb.zoo.load('photos')")
    before = [notebooks.stamp(chapter, {}) for chapter in (waiting, other)]
    kept.parent.mkdir(parents=True)
    kept.write_text("trained")
    after = [notebooks.stamp(chapter, {}) for chapter in (waiting, other)]
    assert before[0] != after[0] and before[1] == after[1]
    assert kept in notebooks.dependencies(waiting).values()


def test_the_kernel_knows_the_profile(tree):
    """The zoo trains nothing in the short profiles; GAHB_PROFILE tells it which one runs."""
    chapter = write(tree, "01_tiny", "import os\nprint(os.environ['GAHB_PROFILE'])")
    values = notebooks.parameters(chapter) | {"profile": "smoke, with size=3"}
    notebooks.execute(chapter, tree / "out.ipynb", values, progress=False)
    assert texts(tree / "out.ipynb")[-1] == "smoke, with size=3\n"


def test_stamp_changes_with_what_outputs_depend_on_and_with_nothing_else(tree, monkeypatch):
    code = "import gahb\ngahb.Far(gahb.claims)"
    values = {"sigma": 0.1, "profile": "book"}
    (tree / "notebooks" / "claims.yaml").write_text("")
    entry = "- {id: x, chapter: %s, statement: b, source: c, at_most: 1}"
    stamps = [notebooks.stamp(write(tree, "01_tiny", code), values)]

    def differs() -> bool:
        stamps.append(notebooks.stamp(notebooks.find(tree, 1), values))
        return stamps[-1] != stamps[-2]

    write(tree, "01_tiny", code, prose="Other prose, $x^2$.\n\nAnd more.")
    assert not differs()
    (tree / "gahb" / "room" / "inner.py").write_text("changed = True")
    assert not differs()
    (tree / "notebooks" / "claims.yaml").write_text(entry % "02_other")
    assert not differs()
    (tree / "notebooks" / "claims.yaml").write_text(entry % "01_tiny")
    assert differs()
    (tree / "gahb" / "far.py").write_text("changed = True")
    assert differs()
    write(tree, "01_tiny", code + "\nprint(1)")
    assert differs()
    values["sigma"] = 0.2
    assert differs()
    monkeypatch.setattr(notebooks, "version", lambda name: "99")
    assert differs()


# ----------------------------------------------------------------- execution


def test_execute_runs_with_these_values_in_this_interpreter(tree):
    chapter = write(
        tree,
        "01_tiny",
        "print(sigma, levels, repr(folder), flag, profile)",
        "import os, sys\nprint(sys.executable)\nprint(os.environ['GAHB_ROOT'])",
    )
    values = {
        **notebooks.parameters(chapter),
        "sigma": 0.3,
        "levels": (1.0, 2.0),
        "folder": 'a "b" \\ é',
        "flag": False,
    }
    out = tree / "new" / "01_tiny.ipynb"
    notebooks.execute(chapter, out, values, progress=False)
    _, injected, first, second = texts(out)
    assert injected == ""
    said = "0.3 [1.0, 2.0] " + repr('a "b" \\ é') + " False book\n"
    assert first == said
    assert second.split() == [sys.executable, str(tree)]
    about = nbformat.read(out, 4).metadata["gahb"]
    assert about["stamp"] == notebooks.stamp(chapter, values)
    assert (about["chapter"], about["profile"], about["parameters"]["sigma"]) == ("01_tiny", "book", 0.3)
    assert 0 < about["seconds"] < 120
    assert [path.name for path in out.parent.iterdir()] == ["01_tiny.ipynb"]
    nbformat.validate(nbformat.read(out, 4))


def test_no_cell_is_injected_where_nothing_changed(tree):
    chapter = write(tree, "01_tiny", "print(size)")
    notebooks.execute(chapter, tree / "out.ipynb", notebooks.parameters(chapter), progress=False)
    assert texts(tree / "out.ipynb") == ["", "8\n"]


def test_widgets_keep_their_state(tree):
    chapter = write(tree, "01_tiny", "import ipywidgets\nipywidgets.IntSlider(value=7)")
    notebooks.execute(chapter, tree / "out.ipynb", notebooks.parameters(chapter), progress=False)
    notebook = nbformat.read(tree / "out.ipynb", 4)
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    view = notebook.cells[-1].outputs[0].data["application/vnd.jupyter.widget-view+json"]
    assert state[view["model_id"]]["state"]["value"] == 7


def test_a_failing_cell_keeps_the_last_good_notebook(tree):
    out = tree / "01_tiny.ipynb"
    chapter = write(tree, "01_tiny", "print('good')")
    notebooks.execute(chapter, out, notebooks.parameters(chapter), progress=False)
    good = out.read_bytes()

    chapter = write(tree, "01_tiny", "print('before')", "# a comment\n1 / 0", "print('never')")
    with pytest.raises(ChapterFailed) as failed:
        notebooks.execute(chapter, out, notebooks.parameters(chapter), progress=False)
    half = tree / "01_tiny.failed.ipynb"
    trouble = "cell In [3] ('# a comment') raised ZeroDivisionError: division by zero"
    assert str(failed.value) == f"01_tiny: {trouble}; the half-run notebook is {half}"
    assert out.read_bytes() == good
    assert "before" in half.read_text()
    assert "ZeroDivisionError" in half.read_text()
    assert sorted(path.name for path in tree.iterdir()) == [
        "01_tiny.failed.ipynb",
        "01_tiny.ipynb",
        "gahb",
        "notebooks",
    ]

    notebooks.execute(
        write(tree, "01_tiny", "print('mended')"), out, notebooks.parameters(chapter), progress=False
    )
    assert not half.exists()
    assert texts(out)[-1] == "mended\n"


def test_a_kernel_that_dies_is_named(tree):
    chapter = write(tree, "01_tiny", "import os\nos._exit(9)")
    with pytest.raises(ChapterFailed, match="01_tiny: its kernel died, perhaps for want of memory"):
        notebooks.execute(chapter, tree / "out.ipynb", notebooks.parameters(chapter), progress=False)
    assert not (tree / "out.ipynb").exists()


def test_never_among_the_chapters(tree):
    chapter = write(tree, "01_tiny", "print(1)")
    with pytest.raises(InputError, match="an executed notebook must not lie among the chapters"):
        notebooks.execute(chapter, tree / "notebooks" / "01_tiny.ipynb", notebooks.parameters(chapter))


def test_bring_up_to_date_runs_only_what_changed(tree):
    out, told = tree / "out", []

    def ran():
        return notebooks.bring_up_to_date(tree, out, "smoke", progress=False, tell=told.append)

    (tree / "notebooks" / "profiles" / "smoke.yaml").write_text("01_one: {size: 4}")
    write(tree, "01_one", "import gahb\nprint(size, gahb.Far if 0 else 'one')", prose="First prose.")
    write(tree, "02_two", "print(size, 'two')")
    assert ran() == ["01_one", "02_two"]
    assert told == ["running 01_one (profile smoke)", "running 02_two (profile smoke)"]
    before = (out / "01_one.ipynb").stat().st_mtime_ns
    assert ran() == []
    assert (out / "01_one.ipynb").stat().st_mtime_ns == before  # so that no page is rendered again

    write(
        tree,
        "01_one",
        "import gahb\nprint(size, gahb.Far if 0 else 'one')",
        prose="Second prose.\n\n## And a section",
    )
    assert ran() == []
    notebook = nbformat.read(out / "01_one.ipynb", 4)
    assert "Second prose." in notebook.cells[0].source
    assert texts(out / "01_one.ipynb") == ["", "", "4 one\n"]
    assert notebook.metadata.gahb.profile == "smoke"

    (tree / "gahb" / "far.py").write_text("changed = True")
    assert ran() == ["01_one"]
    (out / "02_two.ipynb").write_text("{ half a notebook")
    assert ran() == ["02_two"]
    assert notebooks.bring_up_to_date(tree, out, "book", progress=False) == ["01_one", "02_two"]


def test_two_run_side_by_side_and_none_begins_after_a_failure(tree, monkeypatch):
    out, told = tree / "out", []
    monkeypatch.setattr(notebooks, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    meet = """
        import os, time
        from pathlib import Path
        Path({0!r}).touch()
        until = time.monotonic() + 60
        while not Path({1!r}).exists() and time.monotonic() < until:
            time.sleep(0.05)
        print(Path({1!r}).exists(), os.environ["OMP_NUM_THREADS"])"""
    meet = textwrap.dedent(meet).format
    one, two, three = (str(tree / name) for name in ("one", "two", "three"))
    write(tree, "01_one", meet(one, two))
    write(tree, "02_two", meet(two, three), "1 / 0")
    write(tree, "03_three", meet(three, str(out / "02_two.failed.ipynb")), "time.sleep(3)")
    write(tree, "04_four", "print('never')")

    def run():
        return notebooks.bring_up_to_date(tree, out, "smoke", tell=told.append, jobs=2)

    with pytest.raises(ChapterFailed, match=r"02_two: .* raised ZeroDivisionError: division by zero; the half-run"):
        run()
    assert told == [f"running {name} (profile smoke)" for name in ("01_one", "02_two", "03_three")]
    assert texts(out / "01_one.ipynb")[-1] == "True 3\n"
    assert nbformat.read(out / "01_one.ipynb", 4).metadata.gahb.threads == 3
    assert texts(out / "03_three.ipynb")[-2:] == ["True 3\n", ""]
    assert sorted(path.name for path in out.iterdir()) == ["01_one.ipynb", "02_two.failed.ipynb", "03_three.ipynb"]
    assert "OMP_NUM_THREADS" not in os.environ

    write(tree, "02_two", "print('mended')")
    assert run() == ["02_two", "04_four"]
    assert not (out / "02_two.failed.ipynb").exists()
    assert run() == []


def test_claims_of_an_executed_notebook(tree, monkeypatch):
    monkeypatch.setattr(notebooks, "PACKAGE", Path(notebooks.__file__).parent)
    entry = "- {id: x, chapter: 01_tiny, statement: b, source: c, at_most: 1}"
    (tree / "notebooks" / "claims.yaml").write_text(entry)
    code = (
        "from gahb import claims\nclaims.begin(chapter='01_tiny', profile=profile)\nclaims.check('x', sigma)"
    )
    chapter = write(tree, "01_tiny", code, "claims.check('x', 2 * sigma);")
    notebooks.execute(chapter, tree / "out.ipynb", notebooks.parameters(chapter), progress=False)
    (claim,) = notebooks.claims_of(tree / "out.ipynb")
    assert (claim.id, claim.measured, claim.verdict, claim.profile) == ("x", 0.2, "holds", "book")
    shown = nbformat.read(tree / "out.ipynb", 4).cells[2].outputs
    assert len(shown) == 1  # once, though the record is the cell's last value
    assert set(shown[0].data) == {"text/html", "text/plain"}
    with pytest.raises(InputError, match=r"nothing\.ipynb is not a notebook that can be read"):
        notebooks.claims_of(tree / "nothing.ipynb")


def test_a_kernel_that_ends_well_says_nothing(tree, capfd):
    code = "from ipykernel.kernelapp import IPKernelApp\nIPKernelApp.instance().log.error('caught')"
    chapter = write(tree, "01_tiny", code)
    notebooks.execute(chapter, tree / "out.ipynb", notebooks.parameters(chapter), progress=False)
    said = capfd.readouterr().err + "".join(texts(tree / "out.ipynb"))
    assert "caught" not in said


# ------------------------------------------------------------------- in Sphinx

SPHINX = """
import sys
sys.path.insert(0, {ext!r})
extensions = ["myst_nb", "papermill_pages"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["notebooks", "_build", "jupyter_execute", "**.failed.ipynb"]
root_doc = "index"
"""
INDEX = "# Book\n\n```{toctree}\nbook/_executed/01_tiny\n```\n\n```{claims-ledger}\n```\n"
SOME = "\n```{claims-ledger}\n:verdicts: open, falls short\n```\n"
COUNTS = f"\n```{{claims-count}}\n```\n{SOME}\nSee {{claim}}`x` and {{claim}}`y`.\n"


def test_a_failing_cell_fails_the_build_and_keeps_the_last_good_page(tree, root):
    (tree / "conf.py").write_text(SPHINX.format(ext=str(root / "book" / "_ext")))
    (tree / "index.md").write_text(INDEX + COUNTS)
    (tree / "notebooks" / "claims.yaml").write_text(
        "- {id: x, chapter: 01_tiny, statement: 'about $x^2$', source: eq. 3, at_most: 1}\n"
        "- {id: y, chapter: 01_tiny, statement: never checked, source: eq. 4, at_most: 1, known: '$y$ in a trial'}\n"
    )
    shutil.rmtree(tree / "gahb")  # the real package, not the stand-in
    environment = {**os.environ, "GAHB_PROFILE": "book"}

    def build() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-b", "html", ".", "_build"]
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    code = (
        "from gahb import claims\nclaims.begin(chapter='01_tiny', profile=profile)\nclaims.check('x', 0.25)"
    )
    write(tree, "01_tiny", code)
    done = build()
    assert done.returncode == 0, done.stderr
    assert "chapters: ran 01_tiny" in done.stdout
    page, ledger = tree / "_build" / "book" / "_executed" / "01_tiny.html", tree / "_build" / "index.html"
    good = page.read_bytes()
    assert b'id="claim-x"' in good
    text = ledger.read_text()
    assert "Claims: 2 (holds 1, not measured 1)." in text
    assert 'href="book/_executed/01_tiny.html#claim-x"' in text
    assert re.search(r'See <a [^>]*#claim-x">0.25, holds</a> and <a [^>]*tiny.html">not measured</a>', text)
    assert re.search(r"<p>None.</p>", text)  # none is open, none falls short
    assert [re.findall(r"<p>(.+?)</p>", row) for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)[-3:]] == [
        ["Chapter", "holds", "not measured"], ["1", "1", "1"], ["all", "1", "1"],
    ]  # fmt: skip
    assert 'class="math' in text
    assert re.findall(r'<p class="gahb-known">known before: <span class="math.*?</span> in a trial</p>', text)
    assert text.count("known before") == 1  # nothing was, of the other claim

    write(tree, "01_tiny", code, prose="A new sentence.")
    done = build()
    assert done.returncode == 0, done.stderr
    assert "chapters: all up to date, none run" in done.stdout
    assert "A new sentence." in page.read_text()

    good = page.read_bytes()
    write(tree, "01_tiny", code, "raise RuntimeError('as planned')")
    done = build()
    assert done.returncode != 0
    assert "raised RuntimeError: as planned; the half-run notebook is" in done.stderr
    assert (tree / "book" / "_executed" / "01_tiny.failed.ipynb").exists()
    assert page.read_bytes() == good

    environment["GAHB_PROFILE"] = "vast"
    done = build()
    assert done.returncode != 0
    assert "unknown profile 'vast'; there are: book, paper, smoke" in done.stderr


# ---------------------------------------------------------- the book's chapters

BOOK = Path(__file__).resolve().parent.parent
CHAPTERS = notebooks.chapters(BOOK)
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
    cells = [c for c in notebooks.source(chapter).cells if c.cell_type == "code"]
    assert len(cells) <= 20
    long = [c.source.splitlines()[0] for c in cells if len(c.source.splitlines()) > 15]
    assert not long, f"cells of more than 15 lines begin with {long}"
    assert list(notebooks.parameters(chapter))[-1] == "profile"
    assert notebooks.parameters(chapter)["profile"] == "book"
    for cell in cells:
        ast.parse(cell.source)


@each_chapter
@pytest.mark.parametrize("profile", ["smoke", "book", "paper"])
def test_profiles_are_valid(chapter, profile):
    assert notebooks.profile_values(BOOK, profile, chapter)["profile"] == profile


@each_chapter
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_in_the_smoke_profile(chapter, tmp_path, monkeypatch):
    """As a reader reruns it; the page that this leaves is opened from the disk."""
    monkeypatch.setenv("GAHB_ROOT", str(BOOK))
    assert cli.main(["rerun", chapter.stem, "--profile", "smoke", "--out", str(tmp_path), "--quiet"]) == 0
    out = tmp_path / f"{chapter.stem}.ipynb"
    checked = notebooks.claims_of(out)
    assert {claim.verdict for claim in checked} <= {"not judged"}
    expected = {entry.id for entry in notebooks.claims.load(BOOK) if entry.chapter == chapter.stem}
    assert {claim.id for claim in checked} == expected, "every claim of the chapter is checked, and no other"
    executed = nbformat.read(out, 4)
    json.dumps(executed)
    for cell in executed.cells:  # a figure's caption goes to every output of its cell
        if "figure" in cell.metadata.get("mystnb", {}):
            assert not any(notebooks.claims.KEY in output.metadata for output in cell.outputs), cell.source
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
    assert any(entry.known for entry in notebooks.claims.load(BOOK))


def test_every_claim_belongs_to_a_chapter():
    assert {entry.chapter for entry in notebooks.claims.load(BOOK)} <= {c.stem for c in CHAPTERS}


def test_figures_are_kept_whatever_the_backend(tree, monkeypatch):
    """MPLBACKEND=Agg in the caller's environment must not cost a chapter its pictures."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    drawing = "import matplotlib.pyplot as plt\nfigure, axis = plt.subplots()\nplt.close(figure)\nfigure"
    chapter, out = write(tree, "01_tiny", drawing), tree / "out.ipynb"
    notebooks.execute(chapter, out, notebooks.parameters(chapter), progress=False)
    outputs = [o for cell in nbformat.read(out, 4).cells if cell.cell_type == "code" for o in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
