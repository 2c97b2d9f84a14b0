"""A root with a stand-in for the package, whose chapters a test writes."""

from __future__ import annotations

import pytest

from gahb.book import running


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A root with profiles and a package of its own, whose chapters the test writes."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    for profile in ("smoke", "book", "paper"):
        (tmp_path / "notebooks" / "profiles" / f"{profile}.yaml").write_text("")
    package = tmp_path / "gahb"
    (package / "room").mkdir(parents=True)
    (package / "widgets").mkdir()
    (package / "book").mkdir()
    files = {
        "__init__.py": "",
        "__init__.pyi": "from . import widgets, zoo\nfrom .book import claims\nfrom .room.inner import Public\n"
        "from .far import Far\n",
        "book/__init__.py": "from . import ledger as claims\n",
        "book/ledger.py": "",
        "room/__init__.py": "from .inner import Public\n",
        "room/inner.py": "from ..ground import base\nfrom ._private import helper\n",
        "room/_private.py": "",
        "room/alone.py": "",
        "ground.py": 'def base():\n    from gahb import late\n    lazily = "gahb.by_name"\n',
        "late.py": "import gahb\n\ndef f():\n    return gahb.claims.check\n",
        "by_name.py": "",
        "far.py": "",
        "widgets/__init__.py": "",
        "widgets/point.js": "",
        "widgets/lazy.js": "",  # brings a widget to a built page: no output depends on it
        "zoo.py": "",
        "weights/disks.yaml": "",
        "weights/disks.safetensors": "",
        "weights/disks@500.safetensors": "",
        "weights/disks-n10-first.yaml": "",
        "weights/faces-n10-first.safetensors": "",
        "weights/photos.safetensors": "",
    }
    (package / "weights").mkdir()
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.setattr(running, "PACKAGE", package)
    monkeypatch.delenv("GAHB_ROOT", raising=False)
    return tmp_path
