"""Twins for a folder of one's own: recipes of pairs of networks, trained on disjoint sets of N of its images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from .. import images
from .._files import cache_dir, replacing
from .._validate import positive_int
from ..training import compiler
from . import recipes
from .recipes import Recipe

STEPS = 6000
HELD = 16  # images at least that no set takes: on these the networks are compared
COUNTS = (10, 100, 1000)


def kept() -> Path:
    """The folder that keeps the recipes of a user's folders; their weights are in the cache, as all that is trained."""
    return cache_dir() / "recipes"


def counts_for(n: int, counts: Iterable[int] | None = None) -> list[int]:
    """Sizes N of the sets for a folder of n images, two at least; `COUNTS`, as far as they fit, unless some are given.

    ValueError where 2N images and `HELD` for the test are more than there are.

    >>> from gahb.zoo.twins import counts_for
    >>> counts_for(5000), counts_for(60)
    ([10, 100, 1000], [10, 22])
    """
    largest = (n - HELD) // 2
    if counts is None:
        fitting = [count for count in COUNTS if count <= largest]
        own = [count for count in (largest // 4, largest) if count > 0]
        chosen = fitting if len(fitting) > 1 else sorted({*fitting, *own})[-2:]
    else:
        chosen = sorted({positive_int("counts", count) for count in counts})
        if chosen and chosen[-1] > largest:
            raise ValueError(f"counts must be at most {max(largest, 0)}, so that two sets and {HELD} images for the "
                             f"test fit into the {n} of the folder, got {chosen[-1]}")
    if len(chosen) < 2:
        raise ValueError(f"counts must be two numbers at least, got {', '.join(map(str, chosen)) or 'none'}"
                         + ("" if largest > 4 else f"; the folder holds {n} images, and {HELD + 10} are needed"))
    return chosen


def of_folder(path: str | os.PathLike, size: int, counts: Iterable[int], *, groups: str | os.PathLike | None = None,
              steps: int = STEPS) -> list[Recipe]:
    """Recipes of two networks for each N: one UNet and one training for all, so that they differ in their images alone.

    Parameters
    ----------
    path : a folder of images, see :func:`gahb.images.folder`.
    size : side of the pictures in pixels, divisible by 4; where 8 divides it and
        it is at least 24 the network has depth 3, else 2.
    counts : sizes N of the training sets.
    groups : a file with a line ``NAME GROUP`` for each image; no group is in two sets.
    steps : of the training, 32 images each.

    Examples
    --------
    >>> import tempfile
    >>> import gahb
    >>> from gahb.zoo.twins import of_folder
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as path:
    ...     Image.new("L", (8, 8)).save(f"{path}/1.png")
    ...     first, second = of_folder(path, 8, [4])
    >>> first.network, second.images["subset"]
    ({'kind': 'UNet', 'width': 16, 'depth': 2}, 'second')
    """
    positive_int("steps", steps)
    if positive_int("size", size) % 4:
        raise ValueError(f"size must be divisible by 4, as the network pools twice, got {size}")
    place = Path(path).expanduser().resolve()
    source = {"kind": "folder", "path": _literal(place), "size": size, "files": images.folder_checksum(place)}
    if groups is not None:
        source["groups"] = _literal(Path(groups).expanduser().resolve())
    network = {"kind": "UNet", "width": 16, "depth": 3 if size % 8 == 0 and size >= 24 else 2}
    training = {"steps": steps, "seed": 0, "every": max(1, steps // 12), "optimiser": "muon", "batch": 32,
                "precision": "bfloat16", "compiled": compiler() is not None}
    whole = Recipe(name="whole", network=network, images=source, training=training)
    family = f"{_slug(place.name)}-{size}px-{whole.hash[:6]}"
    return [
        Recipe(name=f"{family}-n{n}-{subset}", network=network, images={**source, "n": n, "subset": subset},
               training=training)
        for n in counts for subset in ("first", "second")
    ]


def keep(written: Iterable[Recipe]) -> None:
    """Keep the recipes, so that their names are known: to `gahb zoo`, and to chapters."""
    kept().mkdir(parents=True, exist_ok=True)
    for recipe in written:
        content = {"network": recipe.network, "images": recipe.images, "training": recipe.training}
        with replacing(kept() / f"{recipe.name}.yaml") as file:
            file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def family_of_folder(path: str | os.PathLike, size: int) -> str:
    """What the names of the twins of a folder begin with, before ``-nN-first``; the latest, where there are several.

    Made by ``gahb transition FOLDER``. ValueError if there are none, or if the
    folder has other files since.

    >>> import tempfile
    >>> import gahb
    >>> with tempfile.TemporaryDirectory() as path:
    ...     print(gahb.zoo.family_of_folder(path, 32))
    Traceback (most recent call last):
    ValueError: ... no twins were trained for it: gahb transition ... --size 32
    """
    place, found = Path(path).expanduser().resolve(), {}
    files = images.folder_checksum(place)
    for file in kept().glob("*-first.yaml"):
        source = recipes.read(file).images
        if source.get("path") == _literal(place) and source["size"] == size:
            found[file.stat().st_mtime_ns] = file.stem, source.get("files")
    same = [name for _, (name, holds) in sorted(found.items()) if holds == files]
    if not same:
        why = "its files have changed since its twins were trained" if found else "no twins were trained for it"
        raise ValueError(f"path is {os.fspath(path)!r} with pictures of {size} pixels, and {why}: "
                         f"gahb transition {os.fspath(path)} --size {size}")
    return re.sub(r"-n\d+-first$", "", same[-1])


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "folder"


def _literal(path: Path) -> str:
    """The path as it is, for `Recipe`, which puts environment variables in: one with a dollar sign is refused."""
    if "$" in str(path):
        raise ValueError(f"path must have no dollar sign, got {path}")
    return str(path)
