"""What every test stands on: fixed seeds, few threads, no window, a cache of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")  # jupyter_core warns without it
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the core to others; before torch
if "PYTEST_XDIST_WORKER" in os.environ:  # others run beside: one thread, in what tests start too
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from gahb._validate import InputError
from gahb.book import chapters, running

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(min(2, torch.get_num_threads()))

# the same examples every time, and no deadline: the machine may be busy
settings.register_profile("gahb", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("gahb")


# files whose tests share what takes long to make: one worker runs them all
TOGETHER = {
    "tests/training/test_processes.py": "torchrun",
    "tests/test_live_page.py": "live page",
    "tests/test_zoo_page.py": "zoo page",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Workers take test after test, but for those of TOGETHER.

    `--dist loadgroup` would do it by a mark, but pytest-xdist 3.8 loses the mark under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):  # the scope with most tests goes first
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(nodeid.partition("::")[0], nodeid)

    return Scheduler(config, log)


def pytest_collection_modifyitems(items):
    """First the chapters, then one test of the pages, then what needs neither, and last the other tests of the pages.

    So one worker builds the pages while the others have something else to do.
    """

    def place(item) -> int:
        needs = item.fixturenames
        return 2 if "site" in needs else 0 if "smoke_run" in needs else 1

    items.sort(key=place)
    places = [place(item) for item in items]
    if 2 in places:  # once the last chapter has surely run
        items.insert(min(places.count(0) + 300, places.index(2)), items.pop(places.index(2)))
    for item in items:
        if place(item) != 1:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def _seeded():
    """Initial weights are the same in every run and in every order of tests."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Nothing is read from or left in the user's cache, here or in the kernels that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAHB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# ------------------------------------------------- chapters, run once, and the pages


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(folder: Path, name: str, make: Callable[[], str]) -> None:
    """Call `make` in the first of several workers, let the others wait, and fail in all with the words it returns."""
    trouble = folder / f"{name}.txt"
    with FileLock(folder / f"{name}.lock"):
        if not trouble.exists():
            trouble.write_text(make(), encoding="utf-8")
    assert not trouble.read_text(encoding="utf-8"), trouble.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def clone(shared) -> Path:
    """The repository as a folder of links, in which chapters are run and pages built without touching the real one.

    What the extensions have drawn before lies in `book/_executed/cache` under a hash; it is used, and added to.
    """
    folder = shared / "clone"

    def make() -> str:
        executed = folder / "book" / "_executed"
        executed.mkdir(parents=True)
        drawn = ROOT / "book" / "_executed" / "cache"
        drawn.mkdir(parents=True, exist_ok=True)
        (executed / "cache").symlink_to(drawn)
        for path in (*ROOT.iterdir(), *(ROOT / "book").iterdir()):
            if path.name not in (".git", ".venv", "_build", "book", "runs", "_executed"):
                (folder / path.relative_to(ROOT)).symlink_to(path)
        return ""

    once(shared, "clone", make)
    return folder


@pytest.fixture(scope="session")
def smoke_run(shared, clone) -> Callable[[str], Path]:
    """Path of a chapter executed in the smoke profile, by its stem; each is run once, by the test that asks first."""

    def run(stem: str) -> Path:
        out = clone / "book" / "_executed" / f"{stem}.ipynb"

        def make() -> str:
            chapter = chapters.find(clone, stem)
            try:
                values = chapters.profile_values(clone, "smoke", chapter)
                running.execute(chapter, out, values, progress=False)
            except (running.ChapterFailed, InputError) as error:
                return str(error)
            return ""

        once(shared, stem, make)
        return out

    return run


@pytest.fixture(scope="session")
def site(shared, clone, smoke_run) -> Path:
    """The pages of the book, built once, as `make book` builds them, from the chapters of `smoke_run`."""
    for chapter in chapters.chapters(clone):
        smoke_run(chapter.stem)

    def make() -> str:
        subprocess.run([sys.executable, ROOT / "book" / "web" / "vendor.py"], check=True)
        book = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "-n", "--keep-going"]
        environment = {**os.environ, "GAHB_PROFILE": "smoke"}
        done = subprocess.run(book, cwd=clone, env=environment, capture_output=True, text=True)
        if "all up to date, none run" not in done.stdout:
            return f"chapters were run again\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}" if done.returncode else ""

    once(shared, "site", make)
    return clone / "_build" / "html"
