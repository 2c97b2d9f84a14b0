"""Trained denoisers: recipes, the files they lead to, and where those are kept.

A file of the zoo is a float16 safetensors file whose header holds the recipe
(what network, trained on what, for how long), the training log, and a SHA-256
checksum of all three. Some ship with the package, beside their recipes; those
that only the chapters need lie in the book's repository, in
``notebooks/weights``, and are found in a clone; what a user trains is kept in
the cache (``GAHB_CACHE``, else ``~/.cache/gahb``) under the recipe's hash. A
chapter run in the smoke or the book profile (``GAHB_PROFILE``) trains nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn

from .._files import cache_dir, naming, root
from .._validate import InputError, suggestion
from ..training.processes import from_leader, leads
from . import recipes, twins
from .published import load_published as load_published
from .recipes import Recipe
from .stored import export as export
from .stored import read, weights_path
from .twins import family_of_folder as family_of_folder

SHIPPED = Path(__file__).parents[1] / "weights"


def folders() -> list[Path]:
    """Folders of recipes: the package's, in a clone of the book the chapters' own, and those kept for a user's folders.

    In the first two the weights lie beside the recipes.
    """
    found = [SHIPPED]
    try:
        found.append(root() / "notebooks" / "weights")
    except InputError:
        if os.environ.get("GAHB_ROOT"):  # which names no clone
            raise
    return [folder for folder in (*found, twins.kept()) if folder.is_dir()]


def names() -> list[str]:
    """Names of the denoisers that are trained: see `folders`, and recipes there whose weights the cache holds.

    `NAME@STEP` is one as it was at that step of its training.

    >>> import gahb
    >>> {"disks", "leaves", "photos"} <= set(gahb.zoo.names())  # these ship with the package
    True
    """
    found = sorted(files())
    sys.audit("gahb.zoo.names", found)  # heard by the record of a chapter's run, gahb.book.recording
    return found


def available(name: str) -> bool:
    """Whether a trained denoiser of that name can be loaded: whether it is among :func:`names`.

    A chapter that asks for one name depends on that network alone; one that goes through all names runs
    again whenever another network has been trained.

    >>> import gahb
    >>> gahb.zoo.available("disks"), gahb.zoo.available("no-such-network")
    (True, False)
    """
    found = name in files()
    sys.audit("gahb.zoo.available", name, found)
    return found


def files() -> dict[str, Path]:
    """Where the trained denoisers lie, by name."""
    return _cached()[0] | weight_files()


def own_files() -> list[Path]:
    """Weights in the cache that recipes elsewhere have led to, such as a YAML file of one's own."""
    return _cached()[1]


def _cached() -> tuple[dict[str, Path], list[Path]]:
    """What the cache holds: by name where the recipe is in `folders`, and the rest."""
    cached = sorted(_place().glob("*.safetensors"))
    hashes = {recipes.read(path).hash: name for name, path in recipe_files().items()} if cached else {}
    named, others = {}, []
    for path in cached:
        digest, at, step = path.stem.partition("@")
        if digest in hashes:
            named[f"{hashes[digest]}{at}{step}"] = path
        else:
            others.append(path)
    return named, others


def weight_files() -> dict[str, Path]:
    """The weights of `folders`, by name; where two folders have one name, the first folder's."""
    return _by_name("*.safetensors")


def recipe_files() -> dict[str, Path]:
    """The recipes of `folders`, by name, trained or not; the first folder's, as for the weights."""
    return _by_name("*.yaml")


def _by_name(pattern: str) -> dict[str, Path]:
    return {path.stem: path for folder in reversed(folders()) for path in sorted(folder.glob(pattern))}


def recipe(name: str | os.PathLike) -> Recipe:
    """The recipe of that name that lies in `folders`, or in that YAML file.

    ValueError for an unknown name offers the nearest ones, and for a file of weights
    says who reads it.

    >>> import gahb
    >>> recipe = gahb.zoo.recipe("disks")
    >>> recipe.network
    {'kind': 'UNet', 'width': 32, 'depth': 3}
    >>> recipe.test_images(3).shape  # disks that the network was not trained on
    torch.Size([3, 1, 32, 32])
    """
    known = recipe_files()
    path = known.get(str(name), Path(name).expanduser())
    if not path.is_file():
        raise ValueError(f"name must be a recipe or its file, got {str(name)!r}{_instead(path, known)}")
    if not _is_recipe(path):
        raise ValueError(f"name must be a recipe or its file, got {str(name)!r}, which holds weights: "
                         "gahb.zoo.load and gahb zoo show read it")
    return recipes.read(path)


def _is_recipe(path: Path) -> bool:
    """Whether a file is a recipe and not weights, by what it holds, and only by its name where that does not say.

    A safetensors file begins with the length of its header in eight bytes, of which the last are zero.
    """
    with open(path, "rb") as file:
        head = file.read(64)
    return b"\0" not in head and path.suffix != ".safetensors"


def _instead(path: Path, known: Iterable[str]) -> str:
    """The end of a message about a name or file that is not there."""
    if path.is_dir():
        return ", which is a folder"
    if path.suffix in (".yaml", ".yml", ".safetensors") or path.parent != Path():
        return ", and there is no such file"
    return f"; {suggestion(str(path), sorted(known))}"


def train(recipe: Recipe, out: str | os.PathLike | None = None, *, progress: bool = True,
          until: Callable[[], bool] | None = None) -> Path:
    """Train a recipe once, and return its file: in the cache, or `out`.

    A second call, in this process or another, waits for the first and returns
    what it made. An interrupted call goes on from its last checkpoint, which
    lies beside the file. So do the recipe's snapshots, as ``STEM@STEP``. Under
    `torchrun` all processes call it, and train one network together. `until` as
    in :func:`gahb.fit`: where it says so, the training stops with its checkpoint.

    ValueError for a recipe that cannot be trained, for a file at `out` that another
    recipe led to, and for an `out` that does not end in .safetensors.

    >>> import tempfile
    >>> import gahb
    >>> recipe = gahb.recipes.Recipe(
    ...     name="tiny",
    ...     network={"kind": "UNet", "width": 4, "depth": 1},
    ...     images={"kind": "disks", "size": 8},
    ...     training={"steps": 2, "batch": 4},
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = gahb.zoo.train(recipe, f"{folder}/tiny.safetensors", progress=False)
    ...     network = gahb.zoo.load(path)
    >>> network.log[-1]["step"]
    2
    """
    place = _place()
    target = place / f"{recipe.hash}.safetensors" if out is None else weights_path("out", out)
    with naming(place):
        place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / f"{recipe.hash}.lock") if leads() else nullcontext():
        if not from_leader(target.exists()):
            checkpoint, log = target.with_suffix(".checkpoint"), []
            content = dict(name=recipe.name, network=recipe.network, images=recipe.images, training=recipe.training,
                           made_with=dict(torch=torch.__version__, threads=torch.get_num_threads()))

            def keep(network: nn.Module, log: list) -> None:
                export(network, target.with_stem(f"{target.stem}@{log[-1]['step']}"), recipe=content, log=log)

            network = recipe.train(checkpoint=checkpoint, progress=progress, log=log, keep=keep, until=until)
            if leads():
                export(network, target, recipe=content, log=log)
                checkpoint.unlink(missing_ok=True)
        elif leads():
            _read(target, recipe)  # that it is what was asked for
        from_leader(None)  # the others wait until the file is there
    return target


def load(name: str | os.PathLike | Recipe) -> nn.Module:
    """A trained denoiser, in eval mode, float32, on the CPU; its `recipe`, `log` and `sha256` are attributes.

    Parameters
    ----------
    name : the name of a recipe, or one of :func:`names`; the path of a file
        written by :func:`export`, or of a recipe's YAML file; or a
        :class:`gahb.recipes.Recipe`. The network of a recipe is looked for in
        the cache, then (under its name) in what ships, then, in a clone, in
        ``notebooks/weights``, and trained if it is in none.

    Raises
    ------
    ValueError
        for an unknown name; for a recipe not yet trained, in a chapter that
        runs in the smoke or the book profile; and for a file that is truncated,
        foreign, made by another recipe than the one asked for, or whose
        contents do not match their checksum.

    Examples
    --------
    >>> import gahb
    >>> network = gahb.zoo.load("disks")
    >>> network.recipe["images"]
    {'kind': 'disks', 'size': 32}
    >>> x = gahb.images.disks(4, 32, start=1_000_000)
    >>> curve = gahb.psnr_curve(network, x, [0.1, 0.2])
    >>> bool((curve.psnr > curve.input_psnr + 10).all())  # 10 dB gained at least
    True
    """
    if isinstance(name, Recipe):
        return _read(_trained(name), name)
    stored, written = weight_files(), recipe_files()
    if str(name) in written and str(name) not in stored:
        path = _trained(recipe(name))
    else:
        path = files().get(str(name), Path(name).expanduser())
    if not path.is_file():
        raise ValueError(f"name must be a trained denoiser or its file, got {str(name)!r}"
                         f"{_instead(path, files())}{_elsewhere()}")
    if _is_recipe(path):
        return load(recipes.read(path))
    own = written.get(str(name).partition("@")[0])
    return _read(path, recipes.read(own) if own else None)


def is_weights(name: str | os.PathLike) -> bool:
    """Whether that is one of :func:`names`, or a file that holds no recipe.

    >>> import gahb
    >>> gahb.zoo.is_weights("disks"), gahb.zoo.is_weights("my-recipe.yaml")
    (True, False)
    """
    path = Path(name).expanduser()
    return str(name) in files() or (path.is_file() and not _is_recipe(path))


def weights_of(recipe: Recipe) -> Path | None:
    """The file of weights that a recipe has led to: in the cache, else what ships under its name; None if not trained.

    >>> import gahb
    >>> gahb.zoo.weights_of(gahb.zoo.recipe("disks")).name
    'disks.safetensors'
    """
    cached = _place() / f"{recipe.hash}.safetensors"
    if cached.is_file():
        return cached
    return weight_files().get(recipe.name) if _has_name(recipe) else None


def _trained(recipe: Recipe) -> Path:
    """The file that a recipe leads to; trained now if there is none, unless a short profile runs."""
    if (there := weights_of(recipe)) is not None:
        return there
    profile = os.environ.get("GAHB_PROFILE", "").partition(",")[0]
    if profile in ("smoke", "book"):
        raise ValueError(f"{recipe.name} is not trained, and the {profile} profile trains nothing; "
                         f"first run: gahb zoo train {_name_for_training(recipe)}")
    return train(recipe)


def _name_for_training(recipe: Recipe) -> str:
    """What `gahb zoo train` knows a recipe by."""
    return recipe.name if _has_name(recipe) else str((recipe.folder or Path()) / f"{recipe.name}.yaml")


def _has_name(recipe: Recipe) -> bool:
    """Whether the recipe is the one of `folders` that has its name."""
    written = recipe_files().get(recipe.name)
    return written is not None and recipes.read(written).hash == recipe.hash


def _elsewhere() -> str:
    """Where more networks are, for those who have the package alone."""
    try:
        root()
    except InputError:
        return " (networks of the chapters lie in a clone of the book)"
    return ""


def _place() -> Path:
    return cache_dir() / "zoo"


def _read(path: Path, asked: Recipe | None) -> nn.Module:
    """The network of a file, which must have been made by the recipe that is asked for, if one is."""
    network = read(path)
    for field in ("network", "images", "training") if asked is not None else ():
        if network.recipe.get(field) != getattr(asked, field):
            raise ValueError(f"{path} was made by another recipe: its {field} is {network.recipe.get(field)}, "
                             f"and {asked.name} says {getattr(asked, field)}")
    return network
