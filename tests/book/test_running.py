"""Chapters that are stamped and run."""

from __future__ import annotations

import os
import sys
import textwrap

import nbformat
import pytest
from tiny_chapters import texts, write

from gahb._validate import InputError
from gahb.book import chapters, running
from gahb.book.running import ChapterFailed


def test_the_kernel_knows_the_profile(tree):
    """The zoo trains nothing in the short profiles; GAHB_PROFILE tells it which one runs."""
    chapter = write(tree, "01_tiny", "import os\nprint(os.environ['GAHB_PROFILE'])")
    values = chapters.parameters(chapter) | {"profile": "smoke, with size=3"}
    running.execute(chapter, tree / "out.ipynb", values, progress=False)
    assert texts(tree / "out.ipynb")[-1] == "smoke, with size=3\n"


def test_the_stamp_changes_with_code_values_claims_and_torch_and_not_with_prose(tree, monkeypatch):
    code = "print(sigma)"
    values = {"sigma": 0.1, "profile": "book"}
    (tree / "notebooks" / "claims.yaml").write_text("")
    entry = "- {id: x, chapter: %s, statement: b, source: c, at_most: 1}"
    stamps = [running.stamp(write(tree, "01_tiny", code), values)]

    def differs() -> bool:
        stamps.append(running.stamp(chapters.find(tree, 1), values))
        return stamps[-1] != stamps[-2]

    write(tree, "01_tiny", code, prose="Other prose, $x^2$.\n\nAnd more.")
    assert not differs()
    (tree / "notebooks" / "claims.yaml").write_text(entry % "02_other")
    assert not differs()
    (tree / "notebooks" / "claims.yaml").write_text(entry % "01_tiny")
    assert differs()
    write(tree, "01_tiny", code + "\nprint(1)")
    assert differs()
    values["sigma"] = 0.2
    assert differs()
    monkeypatch.setattr(running, "version", lambda name: "99")
    assert differs()


# ----------------------------------------------------------------- execution


@pytest.mark.parametrize(
    ("profile", "user", "kernel"),
    [
        ("smoke, with size=3", {}, ("PASSIVE", "1")),
        ("book", {}, ("PASSIVE", "6")),
        ("smoke", {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "3"}, ("ACTIVE", "3")),
    ],
)
def test_threads_of_a_kernel_wait_asleep_and_are_as_many_as_help(tree, monkeypatch, profile, user, kernel):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
        if name in user:
            monkeypatch.setenv(name, user[name])
    monkeypatch.setattr(running, "cores", lambda: 6)
    manager, _ = running._kernel_manager(tree, profile)
    environment = manager().kernel_spec.env
    assert (environment["OMP_WAIT_POLICY"], environment["OMP_NUM_THREADS"]) == kernel
    assert running._threads(profile) == int(kernel[1])


def test_execute_runs_with_these_values_in_this_interpreter(tree):
    chapter = write(
        tree,
        "01_tiny",
        "print(sigma, levels, repr(folder), flag, profile)",
        "import os, sys\nprint(sys.executable)\nprint(os.environ['GAHB_ROOT'])",
    )
    values = {
        **chapters.parameters(chapter),
        "sigma": 0.3,
        "levels": (1.0, 2.0),
        "folder": 'a "b" \\ é',
        "flag": False,
    }
    out = tree / "new" / "01_tiny.ipynb"
    running.execute(chapter, out, values, progress=False)
    _, injected, first, second = texts(out)
    assert injected == ""
    said = "0.3 [1.0, 2.0] " + repr('a "b" \\ é') + " False book\n"
    assert first == said
    assert second.split() == [sys.executable, str(tree)]
    about = nbformat.read(out, 4).metadata["gahb"]
    assert about["stamp"] == running.stamp(chapter, values)
    assert (about["chapter"], about["profile"], about["parameters"]["sigma"]) == ("01_tiny", "book", 0.3)
    assert 0 < about["seconds"] < 120
    assert [path.name for path in out.parent.iterdir()] == ["01_tiny.ipynb"]
    nbformat.validate(nbformat.read(out, 4))


def test_no_cell_is_injected_where_nothing_changed(tree):
    chapter = write(tree, "01_tiny", "print(size)")
    running.execute(chapter, tree / "out.ipynb", chapters.parameters(chapter), progress=False)
    assert texts(tree / "out.ipynb") == ["", "8\n"]


def test_widgets_keep_their_state(tree):
    chapter = write(tree, "01_tiny", "import ipywidgets\nipywidgets.IntSlider(value=7)")
    running.execute(chapter, tree / "out.ipynb", chapters.parameters(chapter), progress=False)
    notebook = nbformat.read(tree / "out.ipynb", 4)
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    view = notebook.cells[-1].outputs[0].data["application/vnd.jupyter.widget-view+json"]
    assert state[view["model_id"]]["state"]["value"] == 7


def test_a_failing_cell_keeps_the_last_good_notebook(tree):
    out = tree / "01_tiny.ipynb"
    chapter = write(tree, "01_tiny", "print('good')")
    running.execute(chapter, out, chapters.parameters(chapter), progress=False)
    good = out.read_bytes()

    chapter = write(tree, "01_tiny", "print('before')", "# a comment\n1 / 0", "print('never')")
    with pytest.raises(ChapterFailed) as failed:
        running.execute(chapter, out, chapters.parameters(chapter), progress=False)
    half = tree / "01_tiny.failed.ipynb"
    trouble = "cell In [3] ('# a comment') raised ZeroDivisionError: division by zero"
    assert str(failed.value) == f"01_tiny: {trouble}; the half-run notebook is {half}"
    assert out.read_bytes() == good
    assert "before" in half.read_text() and "recording" not in half.read_text()
    assert "ZeroDivisionError" in half.read_text()
    assert sorted(path.name for path in tree.iterdir()) == [
        "01_tiny.failed.ipynb",
        "01_tiny.ipynb",
        "notebooks",
    ]

    running.execute(
        write(tree, "01_tiny", "print('mended')"), out, chapters.parameters(chapter), progress=False
    )
    assert not half.exists()
    assert texts(out)[-1] == "mended\n"


def test_a_kernel_that_dies_is_named(tree):
    chapter = write(tree, "01_tiny", "import os\nos._exit(9)")
    with pytest.raises(ChapterFailed, match="01_tiny: its kernel died, perhaps for want of memory"):
        running.execute(chapter, tree / "out.ipynb", chapters.parameters(chapter), progress=False)
    assert not (tree / "out.ipynb").exists()


def test_never_among_the_chapters(tree):
    chapter = write(tree, "01_tiny", "print(1)")
    with pytest.raises(InputError, match="an executed notebook must not lie among the chapters"):
        running.execute(chapter, tree / "notebooks" / "01_tiny.ipynb", chapters.parameters(chapter))


def test_bring_up_to_date_runs_only_what_changed(tree):
    out, told = tree / "out", []

    def ran():
        return running.bring_up_to_date(tree, out, "smoke", progress=False, tell=told.append)

    (tree / "notebooks" / "profiles" / "smoke.yaml").write_text("01_one: {size: 4}")
    write(tree, "01_one", "print(size, 'one')", prose="First prose.")
    write(tree, "02_two", "print(size, 'two')")
    assert ran() == ["01_one", "02_two"]
    assert told == ["running 01_one (profile smoke)", "running 02_two (profile smoke)"]
    before = (out / "01_one.ipynb").stat().st_mtime_ns
    assert ran() == []
    assert (out / "01_one.ipynb").stat().st_mtime_ns == before  # so that no page is rendered again

    write(tree, "01_one", "print(size, 'one')", prose="Second prose.\n\n## And a section")
    assert ran() == []
    notebook = nbformat.read(out / "01_one.ipynb", 4)
    assert "Second prose." in notebook.cells[0].source
    assert texts(out / "01_one.ipynb") == ["", "", "4 one\n"]
    assert notebook.metadata.gahb.profile == "smoke"

    write(tree, "01_one", "print(size, 'another')")
    assert ran() == ["01_one"]
    (out / "02_two.ipynb").write_text("{ half a notebook")
    assert ran() == ["02_two"]
    assert running.bring_up_to_date(str(tree), str(out), "book", progress=False) == ["01_one", "02_two"]


def test_two_run_side_by_side_and_none_begins_after_a_failure(tree, monkeypatch):
    out, told = tree / "out", []
    monkeypatch.setattr(running, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    meet = """
        import os, time
        from pathlib import Path
        Path({0!r}).touch()
        until = time.monotonic() + 600
        while not Path({1!r}).exists() and time.monotonic() < until:
            time.sleep(0.05)
        print(Path({1!r}).exists(), os.environ["OMP_NUM_THREADS"])"""
    meet = textwrap.dedent(meet).format
    one, two, three = (str(tree / name) for name in ("one", "two", "three"))
    write(tree, "01_one", meet(one, two))
    write(tree, "02_two", meet(two, three), "1 / 0")
    write(tree, "03_three", meet(three, str(tree / "noticed")))  # it runs until the failure of two is known
    write(tree, "04_four", "print('never')")

    def noticing(futures, wait=running.wait, **how):
        done, others = wait(futures, **how)
        if any(future.exception() for future in done):
            (tree / "noticed").touch()
        return done, others

    monkeypatch.setattr(running, "wait", noticing)

    def run():
        return running.bring_up_to_date(tree, out, "smoke", tell=told.append, jobs=2)

    with pytest.raises(ChapterFailed, match=r"02_two: .* raised ZeroDivisionError: division by zero; the half-run"):
        run()
    assert told == [f"running {name} (profile smoke)" for name in ("01_one", "02_two", "03_three")]
    assert texts(out / "01_one.ipynb")[-1] == "True 3\n"
    assert nbformat.read(out / "01_one.ipynb", 4).metadata.gahb.threads == 3
    assert texts(out / "03_three.ipynb")[-1] == "True 3\n"
    assert sorted(path.name for path in out.iterdir()) == ["01_one.ipynb", "02_two.failed.ipynb", "03_three.ipynb"]
    assert "OMP_NUM_THREADS" not in os.environ

    write(tree, "02_two", "print('mended')")
    assert run() == ["02_two", "04_four"]
    assert not (out / "02_two.failed.ipynb").exists()
    assert run() == []


def test_claims_of_an_executed_notebook(tree):
    entry = "- {id: x, chapter: 01_tiny, statement: b, source: c, at_most: 1}"
    (tree / "notebooks" / "claims.yaml").write_text(entry)
    code = (
        "from gahb import claims\nclaims.begin(chapter='01_tiny', profile=profile)\nclaims.check('x', sigma)"
    )
    chapter = write(tree, "01_tiny", code, "claims.check('x', 2 * sigma);")
    running.execute(chapter, tree / "out.ipynb", chapters.parameters(chapter), progress=False)
    (claim,) = running.claims_of(tree / "out.ipynb")
    assert (claim.id, claim.measured, claim.verdict, claim.profile) == ("x", 0.2, "holds", "book")
    shown = nbformat.read(tree / "out.ipynb", 4).cells[2].outputs
    assert len(shown) == 1  # once, though the record is the cell's last value
    assert set(shown[0].data) == {"text/html", "text/plain"}
    with pytest.raises(InputError, match=r"nothing\.ipynb is not a notebook that can be read"):
        running.claims_of(tree / "nothing.ipynb")


def test_a_kernel_that_ends_well_says_nothing(tree, capfd):
    code = "from ipykernel.kernelapp import IPKernelApp\nIPKernelApp.instance().log.error('caught')"
    chapter = write(tree, "01_tiny", code)
    running.execute(chapter, tree / "out.ipynb", chapters.parameters(chapter), progress=False)
    said = capfd.readouterr().err + "".join(texts(tree / "out.ipynb"))
    assert "caught" not in said


def test_figures_are_kept_whatever_the_backend(tree, monkeypatch):
    """MPLBACKEND=Agg in the caller's environment must not cost a chapter its pictures."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    drawing = "import matplotlib.pyplot as plt\nfigure, axis = plt.subplots()\nplt.close(figure)\nfigure"
    chapter, out = write(tree, "01_tiny", drawing), tree / "out.ipynb"
    running.execute(chapter, out, chapters.parameters(chapter), progress=False)
    outputs = [o for cell in nbformat.read(out, 4).cells if cell.cell_type == "code" for o in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
