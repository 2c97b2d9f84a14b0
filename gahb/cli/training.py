"""Training recipes one after the other or side by side, until all are done or time is up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from .._validate import InputError, require_extra

UNFINISHED = 3  # exit code: time was up
GOES_ON = "gahb: stopped; the same command goes on from here"


@dataclass(frozen=True)
class Deadline:
    """Whether a moment has come, in whichever process asks."""

    at: float  #: seconds of the clock

    @classmethod
    def after(cls, minutes: float) -> Deadline:
        if not 0 < minutes < float("inf"):
            raise InputError(f"--minutes must be a positive number, got {minutes:g}")
        return cls(time.time() + 60 * minutes)

    def __call__(self) -> bool:
        return time.time() >= self.at


def train(recipes: Sequence, executor: str | None = None, until: Deadline | None = None) -> tuple[dict, list, list]:
    """Train each recipe once, and say of each what came of it.

    Returns the files of those that are trained by their names, those that are
    left because time was up, and those that failed, each a list of names.
    """
    return _in_turn(recipes, until) if executor is None else _side_by_side(recipes, executor, until)


def _in_turn(recipes: Sequence, until: Deadline | None) -> tuple[dict, list, list]:
    from gahb import zoo
    from gahb.training import StoppedError
    from gahb.training.processes import leads

    done, left = {}, {}
    for recipe in recipes:
        try:
            if until is not None and until():
                raise StoppedError("not begun")
            done[recipe.name] = zoo.train(recipe, until=until)
        except StoppedError as error:
            left[recipe.name] = error
            continue
        if leads():
            print(f"{recipe.name}: {done[recipe.name]}", flush=True)
    if leads():
        _say_what_is_left(left)
    return done, list(left), []


def _side_by_side(recipes: Sequence, executor: str, until: Deadline | None) -> tuple[dict, list, list]:
    from gahb.training import StoppedError
    from gahb.training.processes import team

    if team() is not None:
        raise InputError("--executor trains recipes side by side, and torchrun one after the other: leave one out")
    done, left, failed = {}, {}, []
    with _executor(executor) as pool:
        runs = {pool.submit(_train_one, recipe, until): recipe.name for recipe in recipes}
        for run in as_completed(runs):
            name = runs[run]
            try:
                done[name] = run.result()
                print(f"{name}: {done[name]}", flush=True)
            except StoppedError as error:
                left[name] = error
            except Exception as error:  # the others go on
                failed.append(name)
                print(f"{name}: failed, {error}", flush=True)
    _say_what_is_left(left)
    return done, list(left), failed


def _train_one(recipe, until) -> Path:
    """What a worker does."""
    from gahb import zoo
    from gahb.training import StoppedError

    if until is not None and until():
        raise StoppedError("not begun")
    return zoo.train(recipe, progress=False, until=until)


def _say_what_is_left(left: dict) -> None:
    if left:
        names = ", ".join(f"{name} ({error})" for name, error in left.items())
        print(f"time is up; left: {names}. The same command goes on from here.", flush=True)


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
