"""What every test stands on: fixed seeds, few threads, no window, a cache of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")  # jupyter_core warns without it
if "PYTEST_XDIST_WORKER" in os.environ:  # others run beside: one thread, in what tests start too
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(min(2, torch.get_num_threads()))

# the same examples every time, and no deadline: the machine may be busy
settings.register_profile("gahb", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("gahb")


# files whose tests share what takes long to make: one worker runs them all
TOGETHER = {
    "tests/test_book.py": "site",  # most tests, so that they go first: the book is built from the start on
    "tests/test_publishing.py": "site",
    "tests/test_distributed.py": "torchrun",
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
    """Tests of the built pages come last, so that no worker waits for the pages while there is something else."""
    items.sort(key=lambda item: "site" in item.fixturenames)
    for item in items:
        if "site" in item.fixturenames:
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


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The pages of the book, built once from the working tree as `make book` builds them, but elsewhere.

    Executed chapters in book/_executed that are up to date are used as they are. Of several
    workers the first builds, and the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    trouble = base / "site.txt"
    with FileLock(base / "site.lock"):
        if not trouble.exists():
            trouble.write_text(build(base / "site"))
    assert not trouble.read_text(), trouble.read_text()
    return base / "site" / "_build" / "html"


def build(out: Path) -> str:
    """Build the book into `out`; what went wrong."""
    book = Path(sys.executable).with_name("jupyter-book")
    for command in (
        [sys.executable, "book/web/vendor.py"],
        [book, "build", ".", "--path-output", out, "-W", "-n", "--keep-going"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            return f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return ""
