"""Small programs beside the package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gahb import zoo
from gahb.zoo.recipes import Recipe

ROOT = Path(__file__).resolve().parent.parent


def test_mosaics_are_cut_in_order_without_their_black_end(tmp_path, root):
    tiles = [np.full((4, 4), 10 * (k + 1), dtype=np.uint8) for k in range(5)]
    black = np.zeros((4, 4), dtype=np.uint8)
    (tmp_path / "mosaics").mkdir()
    for name, (a, b, c, d) in {"0": tiles[:4], "1": [tiles[4], black, black, black]}.items():
        Image.fromarray(np.block([[a, b], [c, d]])).save(tmp_path / "mosaics" / f"{name}.png")
    command = [sys.executable, root / "tools" / "cut_mosaic.py", tmp_path / "mosaics", tmp_path / "tiles"]
    done = subprocess.run([*command, "--tile", "4"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5 tiles in ")
    found = sorted((tmp_path / "tiles").iterdir())
    assert [path.name for path in found] == [f"{k:06d}.png" for k in range(5)]
    assert all(np.array_equal(np.asarray(Image.open(path)), tile) for path, tile in zip(found, tiles))


@pytest.fixture(scope="module")
def queue():
    spec = importlib.util.spec_from_file_location("training_queue", ROOT / "tools" / "training_queue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_queue_holds_recipes_that_can_be_trained(queue):
    """Each is whole and another one; twins differ in their set, a half in its steps."""
    made = {name: Recipe(name=name, **content) for name, content in queue.queue().items()}
    assert len({recipe.hash for recipe in made.values()}) == len(made) > 90
    for name in ("background-2", "calpha-2", "calpha-2-n10-first", "disks-shuffled", "calpha-2-passes-n30"):
        made[name].check()
    for name, recipe in made.items():
        if name.endswith("-first"):
            other = made[name.replace("-first", "-second")]
            assert {**other.images, "subset": "first"} == recipe.images and other.training == recipe.training
        if name.endswith("-half"):
            whole = made[name.removesuffix("-half")]
            assert 2 * recipe.training["steps"] == whole.training["steps"] and recipe.images == whole.images


def test_the_queue_is_trained_until_the_time_is_up(queue, tmp_path, monkeypatch, capfd):
    tiny = dict(network={"kind": "UNet", "width": 4, "depth": 1}, images={"kind": "disks", "size": 8},
                training={"steps": 4, "batch": 2, "every": 2, "optimiser": "muon"})
    faces = {**tiny, "images": {"kind": "folder", "path": "${NO_SUCH_FOLDER}", "size": 8}}
    monkeypatch.setattr(queue, "queue", lambda: {"tiny": tiny, "faces": faces})
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    files = queue.write(tmp_path / "recipes")
    assert list(files) == ["tiny"] and "faces waits: NO_SUCH_FOLDER not set" in capfd.readouterr().err
    out = tmp_path / "tiny.safetensors"
    assert "not begun" in queue.train_one(files["tiny"], out, deadline=0.0) and not out.exists()
    line = queue.train_one(files["tiny"], out, deadline=float("inf"))
    assert line.startswith("tiny") and "8 images" in line and zoo.load(out).log[-1]["step"] == 4


def test_cuda_sh_refuses_what_is_no_time(tmp_path):
    for arguments in ([], ["0", str(tmp_path)], ["soon", str(tmp_path)]):
        done = subprocess.run([ROOT / "tools" / "cuda.sh", *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and "usage: tools/cuda.sh MINUTES FOLDER" in done.stderr
