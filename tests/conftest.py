"""What every test stands on: fixed seeds, few threads, no window, a cache of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")  # jupyter_core warns without it

import numpy as np
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(min(2, torch.get_num_threads()))

# the same examples every time, and no deadline: the machine may be busy
settings.register_profile("gahb", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("gahb")


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

    Executed chapters in book/_executed that are up to date are used as they are.
    """
    out = tmp_path_factory.mktemp("site")
    book = Path(sys.executable).with_name("jupyter-book")
    for command in (
        [sys.executable, "book/web/vendor.py"],
        [book, "build", ".", "--path-output", out, "-W", "-n", "--keep-going"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return out / "_build" / "html"
