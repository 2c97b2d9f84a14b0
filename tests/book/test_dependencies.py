"""What a chapter depends on: modules that it reaches, and networks that it names."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tiny_chapters import write

from gahb.book import running
from gahb.book.dependencies import modules_used, networks_used

# what gahb.room reaches in the stand-in package: through relative imports, inside functions, by name
INNER = {"gahb.room.inner", "gahb.room._private", "gahb.ground", "gahb.late", "gahb.by_name"}
INNER |= {"gahb.book", "gahb.book.ledger"}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 1", []),
        ("import gahb", []),
        ("import gahb\ngahb.Far(3)", ["gahb.far"]),
        ("import gahb as g\ng.Far(3)", ["gahb.far"]),
        ("from gahb import Far", ["gahb.far"]),
        ("%matplotlib inline\nimport gahb.far", ["gahb.far"]),
        ("from gahb.room.alone import x", ["gahb.room", "gahb.room.alone"]),
        ("import gahb\ngahb.widgets.point()", ["gahb.widgets", "widgets/point.js"]),
        ("import gahb\ngahb.zoo.load('x')", ["gahb.zoo"]),
        ("import gahb\ngahb.zoo.load('photos')", ["gahb.zoo", "weights/photos.safetensors"]),
        ("this is no Python", []),
    ],
)
def test_dependencies(tree, code, names):
    found = set(running.dependencies(write(tree, "01_tiny", code)))
    assert found == {*names, *(INNER if "gahb.room" in names else ())}


def test_dependencies_follow_imports_names_and_functions(tree):
    found = set(running.dependencies(write(tree, "01_tiny", "import gahb\ngahb.Public()")))
    assert found == {"gahb.room", *INNER}


def test_star_import_depends_on_everything_public(tree):
    found = set(running.dependencies(write(tree, "01_tiny", "from gahb import *")))
    assert {"gahb.far", "gahb.room.inner", "gahb.ground"} <= found


def test_the_package_itself_is_read_as_python_does():
    """Against the real package: what importing a name loads is among what the text says."""
    code = "import sys, gahb; gahb.UNet; print(*[m for m in sys.modules if m.startswith('gahb.')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "gahb.denoisers.networks" in loaded
    assert loaded <= set(modules_used(["import gahb\ngahb.UNet()"], running.PACKAGE))


NETWORKS = ["disks", "disks@500", "disks-n10-first", "disks-n10-second", "faces-n10-first", "photos"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("zoo.load('photos')", ["photos"]),
        ("zoo.load('photos') if 'photos' in gahb.zoo.names() else None", ["photos"]),
        ("{'photos'} <= set(zoo.names())", ["photos"]),
        ("zoo.load('disks')", ["disks", "disks@500", "disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks@500')", ["disks@500"]),
        ("zoo.load(f'disks-n{n}-first')", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks-n{}-first'.format(n))", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks-n%d-first' % n)", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load('disks-' + kind)", ["disks-n10-first", "disks-n10-second"]),
        ("zoo.load(f'd{rest}')", ["disks", "disks@500", "disks-n10-first", "disks-n10-second"]),
        ("zoo.load(f'{family}-n10-first')", []),
        ("family = 'faces'\nzoo.load(f'{family}-n10-first')", ["faces-n10-first"]),
        ("zoo.load(given)", []),
        ("print('photo', 'of disks', f'{x:.2f}', f'')", []),
        ("[zoo.load(name) for name in gahb.zoo.names()]", NETWORKS),
        ("all = zoo.names()\n'photos' in all", NETWORKS),
        ("from gahb.zoo import names\nnames()", NETWORKS),
        ("this is no Python: 'photos'", []),
    ],
)
def test_networks_used(code, names):
    assert sorted(networks_used([code], [], NETWORKS)) == sorted(names)


def test_networks_used_through_parameters():
    for values in (["faces"], [("x", "faces")], [["faces"], 3, None, 0.1]):
        assert networks_used(["zoo.load(f'{family}-n10-first')"], values, NETWORKS) == {"faces-n10-first"}
