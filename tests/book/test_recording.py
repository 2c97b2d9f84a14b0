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
from gahb.book import optimum, recording, running, starts


def record_of(path) -> dict:
    return nbformat.read(path, 4).metadata.gahb.record


@pytest.fixture
def networks(tree, package, monkeypatch):
    """A zoo of one untrained network, in the copy of the package and for this process."""
    folder = package / "weights"
    folder.mkdir()
    monkeypatch.setenv("GAHB_CACHE", str(tree / "cache"))
    monkeypatch.setenv("GAHB_ROOT", str(tree))
    monkeypatch.setattr(zoo, "SHIPPED", folder)

    def export(name: str, seed: int = 0):
        torch.manual_seed(seed)
        recipe = {"name": name, "network": {"kind": "UNet", "width": 4, "depth": 1}}
        return zoo.export(gahb.UNet(4, 1), folder / f"{name}.safetensors", recipe=recipe, log=[])

    export("small")
    return export


def test_modules_data_and_prose(tree, package):
    """A chapter that imports a module inside a function, and reads a file of the package."""
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
    out = tree / "out"
    assert running.bring_up_to_date(tree, out, "smoke", progress=False) == ["01_one"]
    files = record_of(out / "01_one.ipynb")["files"]
    assert {"gahb/transforms.py", "gahb/kernels/counter.py", "gahb/widgets/curves.js"} <= set(files)
    assert not {"gahb/__init__.py", "gahb/sampling.py", "gahb/widgets/__init__.py", "gahb/widgets/lazy.js"} & set(files)
    text = (package / "transforms.py").read_bytes()
    assert files["gahb/transforms.py"] == hashlib.sha256(text).hexdigest()
    assert "recording" not in "".join(cell.source for cell in nbformat.read(out / "01_one.ipynb", 4).cells)

    for name in ("sampling.py", "widgets/lazy.js", "__init__.pyi"):
        (package / name).write_text("other")
    write(tree, "01_one", code, prose="Second.")
    assert running.bring_up_to_date(tree, out, "smoke", progress=False) == []
    assert "Second." in nbformat.read(out / "01_one.ipynb", 4).cells[0].source

    for name in ("kernels/counter.py", "widgets/curves.js", "transforms.py"):
        before = (package / name).read_bytes()
        (package / name).write_bytes(before + b"\n")
        assert not current(tree, out / "01_one.ipynb")
        (package / name).write_bytes(before)
        assert current(tree, out / "01_one.ipynb")
    (package / "transforms.py").unlink()
    assert not current(tree, out / "01_one.ipynb")


def current(tree, path) -> bool:
    chapter = running.chapters(tree)[0]
    return running.is_current(nbformat.read(path, 4), chapter, running.profile_values(tree, "smoke", chapter))


def test_networks(tree, package, networks):
    """The weights that a chapter loads, those that it asks about, and the list of all if it asks for that."""
    code = """
import gahb

gahb.zoo.load("small")
print([gahb.zoo.available(name) for name in ("small", "another")])
"""
    out = tree / "01_one.ipynb"
    write(tree, "01_one", code)
    assert running.bring_up_to_date(tree, tree, "smoke", progress=False) == ["01_one"]
    record = record_of(out)
    assert "gahb/weights/small.safetensors" in record["files"]
    assert (record["names"], record["available"]) == (None, {"small": True, "another": False})
    networks("a-third")
    assert current(tree, out)
    networks("another")
    assert not current(tree, out)
    (zoo.SHIPPED / "another.safetensors").unlink()
    assert current(tree, out)
    networks("small", seed=1)
    assert not current(tree, out)


def test_what_is_kept_beside_the_chapters(tree, package):
    """Answers of the optimum and starts of samplers, which a chapter reads by name."""
    code = """
from pathlib import Path
from gahb.book import optimum, starts

optimum.answers(4, 2.0, folder=Path(FOLDER))
starts.read(Path(FOLDER, "disks.safetensors"))
"""
    folder, question = tree / "notebooks", optimum.Question(4, 2.0, sigmas=(1.0,), count=2)
    optimum.compute([question], count=1, folder=folder, progress=False)
    starts.write(gahb.images.disks(1000, 4), folder / "disks.safetensors", {}, components=4)
    write(tree, "01_one", code.replace("FOLDER", repr(str(folder))))
    assert running.bring_up_to_date(tree, tree, "smoke", progress=False) == ["01_one"]
    assert {f"notebooks/{name}" for name in (question.name, "disks.safetensors")} <= set(
        record_of(tree / "01_one.ipynb")["files"]
    )
    optimum.compute([question], count=2, folder=folder, progress=False)
    assert not current(tree, tree / "01_one.ipynb")


def test_the_list_of_networks(recorded, monkeypatch):
    record, root, package = recorded
    record["names"] = ["disks", "photos"]
    monkeypatch.setattr(zoo, "names", lambda: ["disks", "photos"])
    assert not recording.has_changed(record, root, package)
    monkeypatch.setattr(zoo, "names", lambda: ["disks"])
    assert recording.has_changed(record, root, package)


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
    return {"files": files, "names": None, "available": {}}, root, package


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
