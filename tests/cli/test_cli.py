"""The command gahb: what it leaves behind, its exit codes, and the one line for bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest
from tiny_chapters import write

import gahb
from gahb import cli
from gahb._validate import InputError
from gahb.book import chapters, ledger
from gahb.cli import doctor, rerun

CODE = """
from gahb import claims
claims.begin(chapter="01_tiny", profile=profile)
claims.check("first", sigma)
print("size", size)
"""
COMMAND = [sys.executable, "-m", "gahb.cli"]
LEDGER = """
- id: first
  chapter: 01_tiny
  statement: The noise is small.
  source: equation (3)
  at_most: 1
  known: nothing like it
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A root with one chapter that checks one claim; the working directory lies outside it."""
    monkeypatch.setattr(rerun, "html", lambda path: f"the page of {path.name}")  # see tests/book/test_page.py
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "notebooks" / "profiles").mkdir(parents=True)
    elsewhere.mkdir()
    for profile in ("smoke", "book", "paper"):
        (root / "notebooks" / "profiles" / f"{profile}.yaml").write_text("")
    (root / "notebooks" / "profiles" / "smoke.yaml").write_text("01_tiny: {size: 2}")
    (root / "notebooks" / "claims.yaml").write_text(LEDGER)
    write(root, "01_tiny", CODE)
    monkeypatch.setenv("GAHB_ROOT", str(root))
    monkeypatch.chdir(elsewhere)
    return root


def test_rerun_leaves_notebook_page_and_claims(tree, capsys, tmp_path):
    assert cli.main(["rerun", "tiny", "-p", "sigma", "-1e-3", "-p", "size", "3", "--out", "runs/"]) == 0
    runs = tmp_path / "elsewhere" / "runs"
    name = "01_tiny-sigma=-0.001-size=3"
    assert sorted(path.name for path in runs.iterdir()) == [f"{name}.html", f"{name}.ipynb", "claims.json"]
    (claim,) = json.loads((runs / "claims.json").read_text())
    label = "book, with sigma=-0.001, size=3"
    assert (claim["id"], claim["measured"], claim["profile"]) == ("first", -1e-3, label)
    assert nbformat.read(runs / f"{name}.ipynb", 4).metadata.gahb.parameters["size"] == 3
    assert (runs / f"{name}.html").read_text() == f"the page of {name}.ipynb"
    said = capsys.readouterr().out
    assert f"first: holds; measured −0.001, expected ≤ 1 (profile {label})" in said
    assert not list((tree / "notebooks").glob("*.ipynb"))

    assert cli.main(["claims", "runs"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("holds        first: measured −0.001, expected ≤ 1\n")
    assert said.endswith("known before: nothing like it\nclaims 1: holds 1\n")
    assert cli.main(["claims", f"runs/{name}.ipynb", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [claim]


def test_chapters_and_their_parameters_are_listed(tree, capsys):
    assert cli.main(["rerun"]) == 0
    assert capsys.readouterr().out == "01_tiny              01_tiny\n"
    (tree / "notebooks" / "ranges.yaml").write_text("01_tiny: {sigma: {above: 0}, size: {at_least: 2}}")
    assert cli.main(["rerun", "1", "--parameters", "--profile", "smoke"]) == 0
    assert capsys.readouterr().out.startswith(
        "01_tiny, profile smoke; change one with -p NAME VALUE\n"
        "sigma = 0.1\n    noise level; must be above 0\n"
        "size = 2\n    must be at least 2\n"
        "levels = (0.1, 0.2)\n"
    )
    assert not list(tree.parent.rglob("runs"))


def test_every_chapter_says_what_its_parameters_are(root, capsys):
    for chapter in chapters.chapters(root):
        assert cli.main(["rerun", chapter.name, "--parameters"]) == 0
        said = capsys.readouterr().out
        assert all(f"\n{name} = " in said for name in chapters.parameters(chapter) if name != "profile")


def test_a_parameter_may_be_given_with_an_equals_sign(tree, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(rerun, "run", lambda chapter, given, *_: asked.append(given))
    assert cli.main(["rerun", "1", "-p", "sigma=0.2", "-p", "folder", "a=b", "-p", "names=['c=d']", "--quiet"]) == 0
    assert asked == [{"sigma": "0.2", "folder": "a=b", "names": "['c=d']"}]


def test_a_parameters_cell_that_is_not_python_is_one_line(tree, capsys):
    write(tree, "01_tiny", CODE, parameters="sigma = 0.1\nsize = = 3\nprofile = 'book'")
    assert cli.main(["rerun", "1"]) == 2
    said = "gahb: the parameters cell of 01_tiny is not Python: invalid syntax, in line 2 of the cell ('size = = 3')\n"
    assert capsys.readouterr().err == said


def test_rerun_in_a_profile(tree, tmp_path, capsys):
    assert cli.main(["rerun", "1", "--profile", "smoke", "--quiet"]) == 0
    notebook = nbformat.read(tmp_path / "elsewhere" / "runs" / "01_tiny-smoke.ipynb", 4)
    assert (notebook.metadata.gahb.profile, notebook.metadata.gahb.parameters["size"]) == ("smoke", 2)
    (claim,) = json.loads((tmp_path / "elsewhere" / "runs" / "claims.json").read_text())
    assert claim["verdict"] == "not judged"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rerun", "9"], "unknown chapter '9'; there are: 01_tiny"),
        (["rerun", "1", "--profile", "vast"], "unknown profile 'vast'; there are: book, paper, smoke"),
        (
            ["rerun", "1", "-p", "sgma", "1"],
            "01_tiny has no parameter 'sgma'; did you mean sigma = 0.1 (a finite number)?",
        ),
        (
            ["rerun", "1", "-p", "sigma", "big"],
            "parameter sigma of 01_tiny must be a finite number, got 'big'\n",
        ),
        (
            ["rerun", "1", "-p", "sigma", "1", "-p", "sigma", "2"],
            "parameter sigma is given twice: '1' and '2'",
        ),
        (["rerun", "1", "-p", "profile", "paper"], "name a profile instead (--profile)"),
        (["rerun", "1", "--out", "file"], "--out must be a folder, and file is a file"),
        (["claims"], "_executed does not exist: build the book first (make book)"),
        (["claims", "nowhere"], "gahb: nowhere does not exist"),
        (["claims", "file"], "file is not a notebook that can be read"),
        (["claims", "."], "no executed chapter in .: build the book, or gahb rerun one"),
    ],
)
def test_bad_input_is_one_line_and_runs_nothing(tree, tmp_path, capsys, arguments, message, monkeypatch):
    (tmp_path / "elsewhere" / "file").write_text("")
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("it ran"))
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("gahb: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["file"]


def test_results_do_not_lie_among_the_images_that_a_chapter_reads(tree, tmp_path, capsys):
    (tree / "notebooks" / "ranges.yaml").write_text("01_tiny: {folder: {folder: true}}")
    images = tmp_path / "elsewhere" / "images"
    images.mkdir()
    assert cli.main(["rerun", "1", "-p", "folder", "images"]) == 2
    assert "parameter folder of 01_tiny must be a folder with images in it, or '', got" in capsys.readouterr().err
    (images / "1.png").touch()
    assert cli.main(["rerun", "1", "-p", "folder", "images", "--out", "images/runs"]) == 2
    said = "gahb: --out must lie outside folder, whose images would count what is written there, got images/runs and "
    assert capsys.readouterr().err == f"{said}images\n" and len(list(images.iterdir())) == 1


def test_what_a_run_warns_of_is_said_after_it(tree, capsys):
    """Images that were left out, above all."""
    write(tree, "01_tiny", CODE, "import warnings\nwarnings.warn('9 images read; skipped 1 unreadable file (a.png)')")
    assert cli.main(["rerun", "1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "gahb: warning: 9 images read; skipped 1 unreadable file (a.png)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rerun", "1", "-p", "sigma"], "Option '-p' requires 2 arguments"),
        (["rerun", "-p", "sigma", "1"], "Missing argument 'CHAPTER' (see gahb rerun --help)"),
        (["rerun", "--parameters"], "Missing argument 'CHAPTER' (see gahb rerun --help)"),
        ([], "Missing command (see gahb --help)"),
        (["--verison"], "--version"),
        (["rerunn"], "no command 'rerunn'; did you mean rerun?"),
        (["dance"], "no command 'dance'; there are: claims, copies, doctor, rerun, transition, zoo"),
        (["train", "x"], "no command 'train'; did you mean zoo train?"),
        (["verify"], "no command 'verify'; did you mean zoo verify?"),
        (["zoo", "lst"], "no command 'lst'; did you mean list?"),
        (["zoo"], "Missing command (see gahb zoo --help)"),
        (["zoo", "train"], "Missing argument 'RECIPE...' (see gahb zoo train --help)"),
    ],
)
def test_bad_usage_is_one_line(capsys, arguments, message):
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("gahb: ") and message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gahb {gahb.__version__}\n"
    for words in (["--help"], ["-h"], ["rerun", "-h"], ["claims", "--help"], ["zoo", "train", "-h"]):
        assert cli.main(words) == 0
        assert capsys.readouterr().out.startswith("Usage: gahb")


def test_a_missing_extra_is_named(tree, capsys, monkeypatch):
    monkeypatch.setattr("gahb._validate.find_spec", lambda name: None if name == "papermill" else name)
    assert cli.main(["rerun", "1"]) == 1
    said = "gahb: gahb rerun needs the extra [book]: pip install 'gahb[book]' (not installed: papermill)\n"
    assert capsys.readouterr().err == said


def test_waiting_threads_sleep_unless_the_user_says_otherwise(capsys, monkeypatch):
    for before, after in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        with monkeypatch.context() as patch:
            if before:
                patch.setenv("OMP_WAIT_POLICY", before)
            else:
                patch.delenv("OMP_WAIT_POLICY", raising=False)
            assert cli.main(["--version"]) == 0
            assert os.environ["OMP_WAIT_POLICY"] == after
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


# ------------------------------------------------------------- results are not lost


@pytest.mark.parametrize(
    ("profile", "overrides", "name"),
    [
        ("book", {}, "01_tiny"),
        ("smoke", {"sigma": 0.2}, "01_tiny-smoke-sigma=0.2"),
        ("book", {"levels": (1.0, 10.0), "flag": False}, "01_tiny-levels=1.0,10.0-flag=False"),
        ("book", {"names": ["a/b c"]}, r"01_tiny-names=a_b_c-\w{6}"),
        ("book", {"folder": "é" * 300}, r"01_tiny-folder=é{85}-\w{6}"),
    ],
)
def test_the_name_of_a_run_tells_its_parameters(tree, profile, overrides, name):
    found = rerun.run_name(chapters.find(tree, 1), profile, overrides)
    assert re.fullmatch(name, found)


def test_values_that_look_alike_have_different_names(tree):
    chapter = chapters.find(tree, 1)
    names = {rerun.run_name(chapter, "book", {"folder": value}) for value in ("a b", "a/b", "a?b", "a_b")}
    assert len(names) == 4


@pytest.fixture
def runs(tree, tmp_path):
    """A folder with the result of one run."""
    assert cli.main(["rerun", "1", "--profile", "smoke", "--quiet"]) == 0
    return tmp_path / "elsewhere" / "runs"


def edit(path):
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source += " My own words."
    nbformat.write(notebook, path)


FOREIGN = {
    "edited afterwards": ("01_tiny-smoke.ipynb", edit),
    "a notebook of one's own": ("01_tiny-smoke.ipynb", lambda path: nbformat.write(nbformat.v4.new_notebook(), path)),
    "no notebook": ("01_tiny-smoke.ipynb", lambda path: path.write_text("mine")),
    "a page alone": ("01_tiny-smoke.html", lambda path: path.with_suffix(".ipynb").unlink()),
    "other claims": ("claims.json", lambda path: path.write_text('{"mine": 1}')),
}


def test_what_is_not_a_result_is_replaced_only_by_force(runs, tmp_path, capsys, monkeypatch):
    shutil.copytree(runs, tmp_path / "good")
    for name, change in FOREIGN.values():
        shutil.rmtree(runs)
        shutil.copytree(tmp_path / "good", runs)
        change(runs / name)
        before = (runs / name).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("it ran"))
            assert cli.main(["rerun", "1", "--profile", "smoke"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"gahb: runs/{name} is not a result of gahb rerun, or was edited since")
        assert (runs / name).read_bytes() == before
    assert cli.main(["rerun", "1", "--profile", "smoke", "--force", "--quiet"]) == 0
    assert (runs / name).read_bytes() != before


def test_a_run_with_the_same_parameters_takes_the_place_of_the_earlier_and_says_so(runs, capsys):
    assert cli.main(["rerun", "1", "--profile", "smoke"]) == 0
    assert capsys.readouterr().out.endswith("claims.json (in place of an earlier run)\n")


def test_an_unreadable_neighbour_is_found_before_the_run(runs, capsys, monkeypatch):
    (runs / "02_other.ipynb").write_text("{")
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **__: pytest.fail("it ran"))
    assert cli.main(["rerun", "1"]) == 2
    said = "gahb: runs/02_other.ipynb is not a notebook that can be read; move it away, or choose another --out\n"
    assert capsys.readouterr().err == said


WITHOUT_PAGE = """
import sys
from gahb import cli
from gahb.cli import rerun

rerun.html = lambda path: "a page"  # the book's extensions are not in the tree
sys.exit(cli.main(["rerun", *sys.argv[1:]]))
"""


def test_two_runs_at_a_time_into_one_folder(tree, tmp_path):
    """Each waits in its last cell for the other to come as far; both leave all that they should."""
    meet = """
import time
from pathlib import Path

Path(folder, str(size)).touch()
while len(list(Path(folder).iterdir())) < 2:
    time.sleep(0.05)
"""
    write(tree, "01_tiny", CODE, meet)
    (tmp_path / "meeting").mkdir()
    command = [sys.executable, "-c", WITHOUT_PAGE, "1", "--quiet", "-p", "folder", str(tmp_path / "meeting")]
    both = [subprocess.Popen([*command, "-p", "size", size], stderr=subprocess.PIPE, text=True) for size in "34"]
    try:
        said = [process.communicate()[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    runs = tmp_path / "elsewhere" / "runs"
    assert len(list(runs.glob("01_tiny-*.ipynb"))) == len(list(runs.glob("01_tiny-*.html"))) == 2
    profiles = {claim["profile"].rpartition("size=")[2] for claim in json.loads((runs / "claims.json").read_text())}
    assert profiles == {"3", "4"}


def test_what_a_killed_run_leaves_the_next_removes(tree, tmp_path):
    write(tree, "01_tiny", CODE, "import time\nopen(folder, 'w').close()\ntime.sleep(600)")
    begun, runs = tmp_path / "begun", tmp_path / "elsewhere" / "runs"
    with subprocess.Popen([*COMMAND, "rerun", "1", "-p", "folder", str(begun), "--quiet"]) as killed:
        while not begun.exists() and killed.poll() is None:
            time.sleep(0.05)
        (left,) = runs.iterdir()
        assert left.suffix == ".scratch"
        killed.kill()
    os.utime(left, (0, 0))  # long ago
    write(tree, "01_tiny", CODE)
    assert cli.main(["rerun", "1", "--profile", "smoke", "--quiet"]) == 0
    assert sorted(path.name for path in runs.iterdir()) == [
        "01_tiny-smoke.html", "01_tiny-smoke.ipynb", "claims.json",
    ]  # fmt: skip


# ------------------------------------------------------------- pipes and consoles

def test_a_reader_who_stops_reading_ends_it_quietly(tree, tmp_path):
    """As `gahb claims … | head -1`: far more is written than a pipe holds."""
    record = {"id": "first", "chapter": "01_tiny", "statement": "x" * 10_000, "source": "s", "at_most": 1.0,
              "measured": 0.5, "stderr": None, "profile": "book", "verdict": "holds"}  # fmt: skip
    outputs = [{"output_type": "display_data", "data": {}, "metadata": {ledger.KEY: {**record, "id": f"c{i}"}}}
               for i in range(100)]  # fmt: skip
    (tmp_path / "01_tiny.ipynb").write_text(json.dumps({"cells": [{"outputs": outputs}], "metadata": {}}))
    command = [*COMMAND, "claims", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"holds")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_output_survives_a_console_that_knows_no_greek(tree, tmp_path):
    chapter = "01_τiny"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "rerun", "σ ≤ −é中"], env=environment, capture_output=True, check=False)
    assert done.returncode == 2, chapter
    assert done.stderr == b"gahb: unknown chapter 'sigma <= -e?'; there are: 01_tiny\n"


# ------------------------------------------------------------ disks and folders


def test_a_failing_chapter_is_one_line_and_leaves_the_last_results(tree, tmp_path, capsys):
    runs = tmp_path / "elsewhere" / "runs"
    assert cli.main(["rerun", "1", "--quiet"]) == 0
    good = {path.name: path.read_bytes() for path in runs.iterdir()}
    write(tree, "01_tiny", CODE, "raise ValueError('two\\nlines')")
    assert cli.main(["rerun", "1", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "raised ValueError: two lines; the half-run notebook is" in said
    assert said.count("\n") == 1
    assert (runs / "01_tiny.failed.ipynb").exists()
    assert {name: (runs / name).read_bytes() for name in good} == good
    assert cli.main(["claims", "runs"]) == 0  # the half-run notebook is not part of the ledger


def test_a_full_disk_is_one_line_with_the_path(tree, tmp_path, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert cli.main(["rerun", "1", "--quiet"]) == 1
    assert capsys.readouterr().err == "gahb: runs/01_tiny.ipynb: No space left on device\n"
    assert list((tmp_path / "elsewhere" / "runs").iterdir()) == []


def test_full_standard_output_is_one_line(tree):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "gahb: No space left on device\n")


def test_a_folder_that_cannot_be_made_is_one_line_with_the_path(tree, tmp_path, capsys):
    (tmp_path / "elsewhere" / "file").touch()
    assert cli.main(["rerun", "1", "--out", "file/runs"]) == 2
    assert capsys.readouterr().err == "gahb: --out must be a folder, and file is a file\n"


def test_a_cache_that_cannot_be_written_names_the_way_round(tmp_path, capsys, monkeypatch):
    from gahb import zoo

    (tmp_path / "file").touch()
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(zoo, "names", list)
    assert cli.main(["zoo", "train", "calpha-2", "--again"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"gahb: {tmp_path}/file/cache/zoo: Not a directory; the environment variable GAHB_CACHE")
    assert said.count("\n") == 1


def test_doctor_says_what_is_there_and_what_it_means(capsys):
    code = cli.main(["doctor"])
    said = capsys.readouterr().out
    for name in (
        "python",
        "torch",
        "cuda",
        "compiler",
        "threads",
        "papermill",
        "jupyter-book",
        "node",
        "browser",
        "book",
        "cache",
        "zoo",
    ):
        assert f"  {name} " in said
    assert code == 0, said
    assert re.search(r"^  zoo +\d+ files, [\d.]+ MiB: ([\w-]+, ){3}…$", said, re.MULTILINE)


def test_doctor_names_what_is_missing(capsys, monkeypatch, tmp_path):
    real = doctor.version

    def version(package):
        if package == "papermill":
            raise doctor.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setenv("GAHB_ROOT", str(tmp_path))
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("! papermill") and line.endswith("missing") for line in said)
    assert any(line.startswith("! book") for line in said)
    assert any(line.startswith("  browser") and line.endswith("no Chromium") for line in said)
    assert any("the tests of the built pages are skipped" in line for line in said)
    assert any(line.startswith("  compiler") and line.endswith("none") for line in said)
    assert any(line.startswith("  node") and line.endswith("none") for line in said)


def test_doctor_finds_nothing_wrong_where_only_the_package_is(capsys, monkeypatch):
    """Outside a clone what runs chapters is missing, and need not be there."""
    real = doctor.version

    def version(package):
        if package in ("papermill", "jupytext", "jupyter-book", "nbconvert", "jupyterlab"):
            raise doctor.PackageNotFoundError(package)
        return real(package)

    def no_clone():
        raise InputError("no chapters found")

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "root", no_clone)
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "only for the chapters: pip install 'gahb[book]'" in said and "\n!" not in said
    monkeypatch.setattr(doctor, "root", lambda: "clone")
    assert cli.main(["doctor"]) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_doctor_tries_to_write_the_cache(capsys, monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / place))
    assert cli.main(["doctor"]) == 1
    (line, meaning), = re.findall(r"^(! cache .*)\n(.*)$", capsys.readouterr().out, re.MULTILINE)
    assert line.endswith("cannot be written") and str(tmp_path / place) in meaning
    assert "the environment variable GAHB_CACHE may name another folder" in meaning
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_does_not_import_torch_to_refuse():
    code = """
import sys
import gahb
from gahb import cli
from gahb.book import chapters, ledger
code = cli.main(["claims", "/nowhere"])
sys.exit(3 if "torch" in sys.modules else code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
