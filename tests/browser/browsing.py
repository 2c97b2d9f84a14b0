"""A headless Chromium on a served folder: what the page tests and shots.py share."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "web"))
from pdf import chromium  # the one that prints the book

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def why_not() -> str | None:
    """Why pages can't be opened here; None if they can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the Python package playwright is not installed"
    if chromium() is None:
        return "no Chromium found: install chromium, or set GAHB_CHROMIUM to its path"
    return None


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve `folder` on this machine; yields its address, without a final slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser() -> Iterator:
    """A playwright browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield chrome
        finally:
            chrome.close()


def settle(page) -> None:
    """Wait until fonts are loaded and MathJax has set every equation of the page."""
    page.wait_for_load_state("networkidle")
    page.evaluate(
        """async () => {
            await document.fonts.ready;
            if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
        }"""
    )
