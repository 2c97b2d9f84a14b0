"""A chapter runs again when something that its run imported or read has changed, and only then."""

from __future__ import annotations

import hashlib
import os
import shutil

import nbformat
import pytest
import torch
from tiny_chapters import write

import gahb
from gahb import zoo
from gahb.book import recording, running


def record_of(path) -> dict:
    return nbformat.read(path, 4).metadata.gahb.record


@pytest.fixture
def networks(tree, package, monkeypatch):
    """A zoo of one untrained network, in the copy of the package and for this process."""
    folder = package / "weights"
    folder.mkdir()
    monkeypatch.setenv("GAHB_CACHE", str(tree / "cache"))
    monkeypatch.setattr(zoo, "SHIPPED", folder)

    def export(name: str, seed: int = 0):
        torch.manual_seed(seed)
        recipe = {"name": name, "network": {"kind": "UNet", "width": 4, "depth": 1}}
        return zoo.export(gahb.UNet(4, 1), folder / f"{name}.safetensors", recipe=recipe, log=[])

    export("small")
    return export


def test_modules_data_and_prose(tree, package):
    """One chapter imports a module inside a function and reads a file of the package; the other uses neither."""
    code = """
import gahb

def late():
    from gahb.kernels import counter
    return counter

late()
gahb.transforms
open(gahb.__path__[0] + "/widgets/curves.js").close()
"""
    write(tree, "01_one", code, prose="First.")
    write(tree, "02_two", "print('two')")
    out = tree / "out"

    def ran() -> list[str]:
        return running.bring_up_to_date(tree, out, "smoke", progress=False)

    assert ran() == ["01_one", "02_two"]
    files = record_of(out / "01_one.ipynb")["files"]
    assert {"gahb/transforms.py", "gahb/kernels/counter.py", "gahb/widgets/curves.js"} <= set(files)
    assert not {"gahb/__init__.py", "gahb/sampling.py", "gahb/widgets/__init__.py", "gahb/widgets/lazy.js"} & set(files)
    text = (package / "transforms.py").read_bytes()
    assert files["gahb/transforms.py"] == hashlib.sha256(text).hexdigest()
    notebook = nbformat.read(out / "01_one.ipynb", 4)
    assert "recording" not in "".join(cell.source for cell in notebook.cells)
    assert ran() == []

    for name in ("sampling.py", "widgets/lazy.js", "__init__.pyi"):
        with open(package / name, "a") as file:
            file.write("\n")
    write(tree, "01_one", code, prose="Second.")
    assert ran() == []
    assert "Second." in nbformat.read(out / "01_one.ipynb", 4).cells[0].source

    for name in ("kernels/counter.py", "widgets/curves.js"):
        with open(package / name, "a") as file:
            file.write("\n")
        assert ran() == ["01_one"]
    (package / "transforms.py").unlink()
    assert running.is_current(nbformat.read(out / "02_two.ipynb", 4), *_of(tree, "02_two"))
    assert not running.is_current(nbformat.read(out / "01_one.ipynb", 4), *_of(tree, "01_one"))


def _of(tree, stem):
    chapter = running.chapters(tree)[int(stem[:2]) - 1]
    return chapter, running.profile_values(tree, "smoke", chapter)


def test_networks(tree, package, networks):
    """The weights that a chapter loads, and the list of networks if it asked for it."""
    write(tree, "01_loads", "import gahb\ngahb.zoo.load('small')")
    write(tree, "02_asks", "import gahb\nprint('small' in gahb.zoo.names())")
    out = tree / "out"

    def ran() -> list[str]:
        return running.bring_up_to_date(tree, out, "smoke", progress=False)

    assert ran() == ["01_loads", "02_asks"]
    assert "gahb/weights/small.safetensors" in record_of(out / "01_loads.ipynb")["files"]
    assert record_of(out / "01_loads.ipynb")["networks"] is None
    assert record_of(out / "02_asks.ipynb")["networks"] == ["small"]
    assert ran() == []
    networks("small", seed=1)
    assert ran() == ["01_loads"]
    networks("another")
    assert ran() == ["02_asks"]


def test_what_has_never_run_or_was_run_without_a_record_runs(tree):
    write(tree, "01_tiny", "print(1)")
    out = tree / "01_tiny.ipynb"
    assert running.bring_up_to_date(tree, tree, "smoke", progress=False) == ["01_tiny"]
    notebook = nbformat.read(out, 4)
    del notebook.metadata.gahb["record"]
    nbformat.write(notebook, out)
    assert running.bring_up_to_date(tree, tree, "smoke", progress=False) == ["01_tiny"]
    assert running.bring_up_to_date(tree, tree, "smoke", progress=False) == []


@pytest.fixture
def recorded(tmp_path):
    """A record of one file of a package and one of a clone."""
    for name in ("lib/gahb/a.py", "clone/notebooks/b.bin"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    package, root = tmp_path / "lib" / "gahb", tmp_path / "clone"
    files = {recording.name_of(path, root, package): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in (package / "a.py", root / "notebooks" / "b.bin", )}  # fmt: skip
    assert list(files) == ["gahb/a.py", "notebooks/b.bin"]
    return {"files": files, "networks": None}, root, package


def test_a_clone_that_was_moved_has_not_changed(recorded, tmp_path):
    record, root, package = recorded
    assert not recording.has_changed(record, root, package)
    shutil.move(root, tmp_path / "elsewhere")
    assert not recording.has_changed(record, tmp_path / "elsewhere", package)
    assert recording.has_changed(record, root, package)


@pytest.mark.parametrize("place", ["lib/gahb/a.py", "clone/notebooks/b.bin"])
def test_each_file_of_the_record_counts(recorded, tmp_path, place):
    (tmp_path / place).write_text("other")
    assert recording.has_changed(*recorded)


def test_a_file_written_during_the_run_counts_as_changed(tmp_path):
    """It may have been read before."""
    path = tmp_path / "a.py"
    path.write_text("")
    os.utime(path, (1000, 1000))
    assert recording._digest(path, since=2000) == recording._digest(path)
    assert recording._digest(path, since=999) != recording._digest(path)
