"""`gahb zoo`: list, show, train, verify and export trained denoisers.

    gahb zoo list
    gahb zoo show calpha-2
    gahb zoo train calpha-2 my-recipe.yaml --executor local:2
    gahb zoo train one.yaml another.yaml --minutes 60
    torchrun --nproc-per-node 2 --no-python gahb zoo train my-recipe.yaml
    gahb zoo verify calpha-2
    gahb zoo export calpha-2 weights.safetensors

torch is imported when a command runs, not to say what is wrong with its arguments.

A sweep over machines: `dask scheduler`, and on each machine, with one GAHB_CACHE
that all see, `dask worker tcp://HOST:PORT --nthreads 1`; then
`gahb zoo train … --executor dask://HOST:PORT`. A recipe whose worker dies goes on
from its checkpoint at another one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import yaml

from .._validate import InputError
from .commands import Commands, checked
from .training import GOES_ON, UNFINISHED, Deadline, train


@click.group("zoo", cls=Commands)
def command() -> None:
    """List, show, train, verify or export trained denoisers.

    A RECIPE is the name of one that ships, or a YAML file.
    """


@command.command("list")
@checked
def _list() -> int:
    """Say what ships, and which recipes can be trained."""
    from gahb import zoo

    trained, own = set(zoo.names()), zoo.own_files()
    names = sorted({*zoo.recipe_files(), *trained})
    width = max([20, *map(len, names)])
    for name in names:
        said = _size(zoo.load(name)) if name in trained else f"not trained (gahb zoo train {name})"
        print(f"{name:<{width}} {said}")
    if own:
        print("trained by recipes of your own:")
    for path in own:
        network = zoo.load(path)
        print(f"{network.recipe.get('name', '?'):<{width}} {_size(network)}: {path}")
    return 0


def _size(network) -> str:
    size = sum(p.numel() for p in network.parameters())
    return f"{size / 1e6:.2f} M parameters, {network.log[-1]['images']:,} images seen"


@command.command("show")
@click.argument("recipe")
@checked
def _show(recipe: str) -> int:
    """Print the recipe, the log and the PSNR of a network.

    RECIPE may also be a file of weights.
    """
    from gahb import zoo
    from gahb.zoo import recipes

    if zoo.is_weights(recipe):
        network = zoo.load(recipe)
    else:
        written = zoo.recipe(recipe)
        network = zoo.load(written) if zoo.weights_of(written) else None
    if network is None:
        print(yaml.safe_dump({"network": written.network, "images": written.images, "training": written.training},
                             sort_keys=False, default_flow_style=None), end="")
        print(f"# not trained yet: gahb zoo train {recipe}")
        return 0
    print(yaml.safe_dump(network.recipe, sort_keys=False, default_flow_style=None), end="")
    last = network.log[-1]
    print(f"trained for {last['images']:,} images, {last['seconds']:.0f} s")
    for sigma, psnr in zip(recipes.LEVELS, last.get("psnr", ())):
        print(f"  σ = {sigma:<5} PSNR {psnr:.2f} dB")
    for scale, psnr in zip(recipes.SCALES, last.get("render_psnr", ())):
        print(f"  {scale * network.recipe['images']['size']} pixels  PSNR {psnr:.2f} dB")
    return 0


@command.command("train")
@click.argument("names", nargs=-1, required=True, metavar="RECIPE...")
@click.option("--executor", metavar="WHERE", help="local:WORKERS, or dask://HOST:PORT: side by side.")
@click.option("--minutes", type=float, metavar="M", help="Stop after M minutes; a later call goes on.")
@click.option("--again", is_flag=True, help="Also what ships already, whose name goes on to mean what ships.")
@checked
def _train(names: tuple[str, ...], executor: str | None, minutes: float | None, again: bool) -> int:
    """Train recipes, each once; an interrupted one goes on.

    The weights go into the cache (GAHB_CACHE). `gahb zoo show RECIPE`, `gahb zoo export
    RECIPE FILE` and gahb.zoo.load find them there. What ships stays what its name
    means; trained --again, the new network is gahb.zoo.load(gahb.zoo.recipe(NAME)).
    """
    from gahb import zoo

    recipes = [zoo.recipe(name) for name in names]
    if not again:
        recipes = [recipe for recipe in recipes if not _ships(recipe)]
    for recipe in recipes:  # all before any is trained
        recipe.check()
    try:
        _, left, failed = train(recipes, executor, None if minutes is None else Deadline.after(minutes))
    except KeyboardInterrupt:
        print(GOES_ON, file=sys.stderr)
        raise
    return 1 if failed else UNFINISHED if left else 0


@command.command("verify")
@click.argument("recipe")
@checked
def _verify(recipe: str) -> int:
    """Train a recipe again, and compare with what ships."""
    from gahb import zoo

    written, shipped = zoo.recipe(recipe), _trained(recipe)
    with tempfile.TemporaryDirectory() as folder:
        again = zoo.load(zoo.train(written, Path(folder, "again.safetensors")))
    pairs = zip(shipped.state_dict().values(), again.state_dict().values())
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    key = "render_psnr" if written.is_field else "psnr"
    first, second = (network.log[-1].get(key, ()) for network in (shipped, again))
    apart = max((abs(a - b) for a, b in zip(first, second)), default=float("inf"))
    print(f"{written.name}: weights differ by at most {largest:.3g}, PSNR by at most {apart:.3f} dB")
    return 0 if apart <= 0.1 else 1


@command.command("export")
@click.argument("recipe")
@click.argument("out", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@checked
def _export(recipe: str, out: Path, force: bool) -> int:
    """Copy the trained weights of a recipe to a FILE.safetensors."""
    from gahb import zoo

    target = out.expanduser()
    if target.suffix != ".safetensors":
        raise InputError(f"FILE must end in .safetensors, got {out}")
    if target.exists() and not force:
        raise InputError(f"{target} is there already; choose another FILE, or replace it with --force")
    network = _trained(recipe)
    print(zoo.export(network, target, recipe=network.recipe, log=network.log))
    return 0


def _ships(recipe) -> bool:
    """Whether the weights of a recipe ship; where they do, say so, and how they are trained anew."""
    from gahb import zoo

    there = zoo.weights_of(recipe)
    if there not in zoo.weight_files().values():
        return False
    print(f"{recipe.name}: {there} (ships already; gahb zoo train {recipe.name} --again trains it anew)", flush=True)
    return True


def _trained(name: str):
    """What ships under this name; else what the recipe led to, trained now if it has not been."""
    from gahb import zoo

    return zoo.load(name if zoo.is_weights(name) else zoo.recipe(name))
