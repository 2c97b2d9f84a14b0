"""Which modules of the package a file of code leads to."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gahb.book.dependencies import modules_used
from gahb.book.running import PACKAGE

FILES = {
    "__init__.py": "",
    "__init__.pyi": "from .far import Far\nfrom .room.inner import Public\n",
    "room/__init__.py": "from .inner import Public\n",
    "room/inner.py": "from ..ground import base\nfrom ._private import helper\n",
    "room/_private.py": "",
    "room/alone.py": "",
    "ground.py": 'def base():\n    from gahb import late\n    lazily = "gahb.by_name"\n',
    "late.py": "",
    "by_name.py": "",
    "far.py": "",
}
# what gahb.room reaches: through relative imports, inside functions, by name
INNER = {"gahb.room", "gahb.room.inner", "gahb.room._private", "gahb.ground", "gahb.late", "gahb.by_name"}


@pytest.fixture
def small(tmp_path):
    """A small package that is called gahb."""
    for name, text in FILES.items():
        path = tmp_path / "gahb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "gahb"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 1", set()),
        ("import gahb", set()),
        ("import gahb\ngahb.Far(3)", {"gahb.far"}),
        ("import gahb as g\ng.Far(3)", {"gahb.far"}),
        ("from gahb import Far", {"gahb.far"}),
        ("import gahb.far", {"gahb.far"}),
        ("import gahb\ngahb.Public()", INNER),
        ("from gahb.room.alone import x", {*INNER, "gahb.room.alone"}),
        ("from gahb import *", {*INNER, "gahb.far"}),
        ("this is no Python", set()),
    ],
)
def test_modules_used(small, code, names):
    assert set(modules_used([code], small)) == names


def test_the_package_itself_is_read_as_python_does():
    """Against the real package: what importing a name loads is among what the text says."""
    code = "import sys, gahb; gahb.UNet; print(*[m for m in sys.modules if m.startswith('gahb.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "gahb.denoisers.networks" in loaded
    assert loaded <= set(modules_used(["import gahb\ngahb.UNet()"], PACKAGE))
