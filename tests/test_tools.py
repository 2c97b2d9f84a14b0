"""Small programs beside the package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from PIL import Image


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
