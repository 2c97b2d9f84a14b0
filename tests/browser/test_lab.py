"""JupyterLab as `make lab` starts it: a chapter's text opens as a notebook."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from urllib.request import urlopen

import nbformat
import pytest
from browsing import browser, changes, picture_of, why_not

REASON = why_not()
REQUIRED = os.environ.get("GAHB_REQUIRE_BROWSER") == "1"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(REASON is not None and not REQUIRED, reason=f"JupyterLab is not opened: {REASON}"),
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_all_cells(page) -> None:
    """Until the last has run: what is asked for before the kernel is connected is dropped, or answered by a dialog."""
    from playwright.sync_api import TimeoutError

    last, accept = page.locator(".jp-CodeCell .jp-InputPrompt").last, page.locator(".jp-Dialog .jp-mod-accept").first
    has_run = "(prompt) => /[0-9]/.test(prompt.innerText)"
    while not last.evaluate(has_run):
        with suppress(TimeoutError):
            if accept.is_visible():  # which kernel is to be selected
                accept.click(timeout=10_000)
            if "*" not in last.inner_text():  # it is not waiting for its turn
                page.get_by_role("menuitem", name="Run", exact=True).click(timeout=10_000)
                page.get_by_role("menuitem", name="Run All Cells", exact=True).click(timeout=10_000)
            page.wait_for_function(has_run, arg=last.element_handle(), timeout=30_000)


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    """Address of a running JupyterLab over a copy of the chapters, with the settings of the Makefile."""
    pytest.importorskip("jupyterlab")
    tmp_path = tmp_path_factory.mktemp("lab")
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
        while True:  # until it answers, or the test's own time is over
            try:
                urlopen(f"http://127.0.0.1:{port}/api").close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log.txt").read_text()
                time.sleep(0.1)
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
        page.locator(".jp-DirListing-item", has_text="01_miyasawa.md").dblclick()
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        assert page.locator(".jp-NotebookPanel h1").first.inner_text().startswith("Miyasawa")
        page.locator(".jp-NotebookPanel .jp-CodeCell", has_text="sigma = 0.1").first.wait_for()
    assert {path.name: path.read_bytes() for path in folder.glob("01_*")} == before


LINKED = """
import gahb, numpy
pictures = numpy.arange(40 * 64.0).reshape(40, 1, 8, 8) / 2560
hand, echo = (gahb.widgets.frames(pictures, {"k": range(40)}, alt=name) for name in ("hand", "echo"))
hand.observe(lambda change: echo.set_trait("value", change["new"]), "value")
"""


def test_a_widget_moves_another_through_the_kernel(lab):
    """From a key in the page to its picture, and to that of a widget which the kernel's callback moves."""
    address, folder = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (LINKED, "hand", "echo")]
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), folder / "linked.ipynb")
    with browser() as chrome:
        page = chrome.new_page(viewport={"width": 1280, "height": 1400})
        page.goto(f"{address}/lab/tree/linked.ipynb?reset")  # nothing else is open
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        run_all_cells(page)
        for name in ("hand", "echo"):
            page.locator(f".gahb-widget[aria-label={name}] canvas").wait_for()
        hand, echo = (page.locator(f".gahb-widget[aria-label={name}]") for name in ("hand", "echo"))
        slider = hand.locator("input")
        slider.focus()
        for _ in range(3):
            changes(page, echo, lambda: page.keyboard.press("ArrowRight"))
        assert hand.locator("output").inner_text() == echo.locator("output").inner_text() == "3"
        assert picture_of(hand) == picture_of(echo)
