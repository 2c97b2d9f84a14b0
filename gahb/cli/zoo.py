"""`gahb zoo`: list, show, train, verify and export trained denoisers.

    gahb zoo list
    gahb zoo show calpha-2
    gahb zoo train calpha-2 my-recipe.yaml --executor local:2
    gahb zoo train calpha-1 calpha-2 calpha-3 --minutes 60
    torchrun --nproc-per-node 2 --no-python gahb zoo train calpha-2
    gahb zoo verify calpha-2
    gahb zoo export calpha-2 weights.safetensors

torch is imported when a command runs, not to say what is wrong with its arguments.

A sweep over machines: `dask scheduler`, and on each machine, with one GAHB_CACHE
that all see, `dask worker tcp://HOST:PORT --nthreads 1`; then
`gahb zoo train … --executor dask://HOST:PORT`. A recipe whose worker dies goes on
from its checkpoint at another one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import click
import yaml

from .._validate import InputError, require_extra
from .commands import Commands, checked


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

    for name in sorted({*zoo.recipe_files(), *zoo.names()}):
        if name not in zoo.names():
            print(f"{name:<20} not trained (gahb zoo train {name})")
            continue
        network = zoo.load(name)
        size = sum(p.numel() for p in network.parameters())
        print(f"{name:<20} {size / 1e6:.2f} M parameters, {network.log[-1]['images']:,} images seen")
    return 0


@command.command("show")
@click.argument("recipe")
@checked
def _show(recipe: str) -> int:
    """Print the recipe, the log and the PSNR of a network."""
    from gahb import zoo
    from gahb.zoo import recipes

    if recipe not in zoo.names() and not recipe.endswith(".safetensors"):
        written = zoo.recipe(recipe)
        print(yaml.safe_dump({"network": written.network, "images": written.images, "training": written.training},
                             sort_keys=False, default_flow_style=None), end="")
        return 0
    network = zoo.load(recipe)
    print(yaml.safe_dump(network.recipe, sort_keys=False, default_flow_style=None), end="")
    last = network.log[-1]
    print(f"trained for {last['images']:,} images, {last['seconds']:.0f} s")
    for sigma, psnr in zip(recipes.LEVELS, last.get("psnr", ())):
        print(f"  σ = {sigma:<5} PSNR {psnr:.2f} dB")
    return 0


@command.command("train")
@click.argument("names", nargs=-1, required=True, metavar="RECIPE...")
@click.option("--executor", metavar="WHERE", help="local:WORKERS, or dask://HOST:PORT: side by side.")
@click.option("--minutes", type=float, metavar="M", help="Stop after M minutes; a later call goes on.")
@checked
def _train(names: tuple[str, ...], executor: str | None, minutes: float | None) -> int:
    """Train recipes, each once; an interrupted one goes on."""
    from gahb import zoo
    from gahb.training import StoppedError
    from gahb.training.processes import leads, team

    recipes = [zoo.recipe(name) for name in names]
    for recipe in recipes:  # all before any is trained
        recipe.check()
    until = None if minutes is None else _Deadline.after(minutes)
    if executor is None:
        left = []
        for recipe in recipes:
            try:
                if until is not None and until():
                    raise StoppedError("not begun")
                path = zoo.train(recipe, until=until)
            except StoppedError as error:
                left.append(f"{recipe.name} ({error})")
                continue
            if leads():
                print(f"{recipe.name}: {path}", flush=True)
        return _say_what_is_left(left) if leads() else 0
    if team() is not None:
        raise InputError("--executor trains recipes side by side, and torchrun one after the other: leave one out")
    with _executor(executor) as pool:
        runs = {pool.submit(_train_one, recipe, until): recipe for recipe in recipes}
        failed, left = 0, []
        for run in as_completed(runs):
            try:
                print(f"{runs[run].name}: {run.result()}", flush=True)
            except StoppedError as error:
                left.append(f"{runs[run].name} ({error})")
            except Exception as error:  # the others go on
                failed += 1
                print(f"{runs[run].name}: failed, {error}", flush=True)
    _say_what_is_left(left)
    return 1 if failed else 0


def _train_one(recipe, until) -> Path:
    """What a worker does."""
    from gahb import zoo
    from gahb.training import StoppedError

    if until is not None and until():
        raise StoppedError("not begun")
    return zoo.train(recipe, progress=False, until=until)


@dataclass(frozen=True)
class _Deadline:
    """Whether a moment has come, in whichever process asks."""

    at: float  #: seconds of the clock

    @classmethod
    def after(cls, minutes: float) -> _Deadline:
        if not 0 < minutes < float("inf"):
            raise InputError(f"--minutes must be a positive number, got {minutes:g}")
        return cls(time.time() + 60 * minutes)

    def __call__(self) -> bool:
        return time.time() >= self.at


def _say_what_is_left(names: list[str]) -> int:
    if names:
        print(f"time is up; left: {', '.join(names)}. The same command goes on from there.", flush=True)
    return 0


@contextmanager
def _executor(where: str) -> Iterator[Executor]:
    kind, _, rest = where.partition(":")
    if kind == "local" and rest.isdigit() and int(rest) > 0:
        with ProcessPoolExecutor(int(rest), mp_context=get_context("spawn")) as pool:
            yield pool
    elif kind == "dask" and rest.startswith("//"):
        with _dask(f"tcp:{rest}") as client, client.get_executor(pure=False) as cluster:
            yield cluster
    else:
        raise InputError(f"--executor must be local:WORKERS or dask://HOST:PORT, got {where!r}")


def _dask(address: str):
    """A client of the scheduler there. It gives a recipe to another worker when one dies, three times by default.

    An error is not tried again: training is deterministic, and would come to it again.
    """
    require_extra("cluster", "--executor dask://…", "distributed")
    from distributed import Client

    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(f"--executor: no Dask scheduler answers at {address}: {error}") from error
    workers = client.nthreads()
    if not workers:
        print(f"no worker has joined {address} yet; recipes wait for one: dask worker {address} --nthreads 1",
              flush=True)
    wide = {worker: threads for worker, threads in workers.items() if threads > 1}
    if wide:
        client.close()
        raise InputError(f"--executor: a worker must train one recipe at a time, and {', '.join(wide)} runs "
                         f"{max(wide.values())} side by side: dask worker {address} --nthreads 1")
    return client


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
    first, second = (network.log[-1].get("psnr", ()) for network in (shipped, again))
    apart = max((abs(a - b) for a, b in zip(first, second)), default=float("inf"))
    print(f"{written.name}: weights differ by at most {largest:.3g}, PSNR by at most {apart:.3f} dB")
    return 0 if apart <= 0.1 else 1


@command.command("export")
@click.argument("recipe")
@click.argument("out", type=click.Path(path_type=Path), metavar="FILE")
@checked
def _export(recipe: str, out: Path) -> int:
    """Copy the trained weights of a recipe to a file."""
    from gahb import zoo

    network = _trained(recipe)
    print(zoo.export(network, out.expanduser(), recipe=network.recipe, log=network.log))
    return 0


def _trained(name: str):
    """What ships under this name; else what the recipe led to, trained now if it has not been."""
    from gahb import zoo

    return zoo.load(name) if name in zoo.names() else zoo.load(zoo.recipe(name))
