"""JupyterLab as `make lab` starts it: a chapter's text opens as a notebook."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest
from browsing import browser, why_not

REASON = why_not()
REQUIRED = os.environ.get("GAHB_REQUIRE_BROWSER") == "1"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(REASON is not None and not REQUIRED, reason=f"JupyterLab is not opened: {REASON}"),
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def lab(root, tmp_path):
    """Address of a running JupyterLab over a copy of the chapters, with the settings of the Makefile."""
    pytest.importorskip("jupyterlab")
    line = re.search(r"@JUPYTER_CONFIG_PATH=\$\(CURDIR\)/(\S+) ", (root / "Makefile").read_text())
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("01_miyasawa.md", "01_miyasawa.ipynb", "jupytext.toml"):
        shutil.copy(root / "notebooks" / name, folder)
    port = free_port()
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token="]
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(folder), *options]
    places = {"JUPYTER_CONFIG_PATH": str(root / line[1]), "JUPYTER_RUNTIME_DIR": str(tmp_path / "run")}
    with open(tmp_path / "log.txt", "w") as log:
        server = subprocess.Popen(command, env={**os.environ, **places}, cwd=tmp_path, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urlopen(f"http://127.0.0.1:{port}/api").close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log.txt").read_text()
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        server.kill()  # it would wait for its kernel, which ends by itself without it
        server.wait(30)


def test_a_double_click_on_the_text_opens_a_notebook(lab):
    address, folder = lab
    before = {path.name: path.read_bytes() for path in folder.glob("01_*")}
    with browser() as chrome:
        page = chrome.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{address}/lab")
        page.locator(".jp-DirListing-item", has_text="01_miyasawa.md").dblclick(timeout=60_000)
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
        assert page.locator(".jp-NotebookPanel h1").first.inner_text().startswith("Miyasawa")
        page.locator(".jp-NotebookPanel .jp-CodeCell", has_text="sigma = 0.1").first.wait_for()
    assert {path.name: path.read_bytes() for path in folder.glob("01_*")} == before
