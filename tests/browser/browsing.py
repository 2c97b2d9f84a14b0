"""A headless Chromium on a served folder: what the page tests and shots.py share."""

from __future__ import annotations

import hashlib
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
PATIENCE = 300_000  # milliseconds that a page may take for anything


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
    """A playwright browser whose pages wait long for what they are asked for: the machine may be busy."""
    from playwright.sync_api import sync_playwright

    def patient(make):
        def made(**options):
            opened = make(**options)
            opened.set_default_timeout(PATIENCE)
            return opened

        return made

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=FLAGS, timeout=PATIENCE)
        chrome.new_context, chrome.new_page = patient(chrome.new_context), patient(chrome.new_page)
        try:
            yield chrome
        finally:
            chrome.close()


SETTLED = """async () => {
    if (window.MathJax?.startup) await MathJax.startup.promise;
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    do {  // a layout asks for fonts, and with these the next layout may ask for more
        document.body.getBoundingClientRect();
        await document.fonts.ready;
        await frame();
        await frame();
    } while ([...document.fonts].some((font) => font.status === "loading"));
}"""
DRAWN = """(node) => [...node.querySelectorAll("canvas")].map((c) => c.toDataURL())
    .concat([...node.querySelectorAll("svg")].map((s) => s.outerHTML)).join("\\n")"""
STILL = "* { transition: none !important; animation: none !important; scroll-behavior: auto !important }"


def settle(page) -> None:
    """Wait until MathJax has set every equation of the page, and all fonts that it is set in are there."""
    page.evaluate(SETTLED)


def frames(page, count: int = 2) -> None:
    """Wait for frames: after two, what has been asked for is drawn."""
    page.evaluate("""async (count) => {
        for (; count > 0; count--) await new Promise((done) => requestAnimationFrame(done));
    }""", count)


def picture_of(widget) -> str:
    """Hash of what a widget draws: canvas pixels and vector shapes."""
    return hashlib.sha256(widget.evaluate(DRAWN).encode()).hexdigest()


def changes(page, widget, act) -> None:
    """Do `act`, and wait until the widget draws something else than before; an error if it never does."""
    before = widget.evaluate(DRAWN)
    act()
    page.wait_for_function(f"([node, before]) => ({DRAWN})(node) !== before", arg=[widget.element_handle(), before])


def alive(page, count: int) -> list:
    """The widgets of a page, each of which comes once its place is near the screen."""
    places = page.locator(".gahb-lazy").all()
    assert len(places) == count
    for place in places:
        place.scroll_into_view_if_needed()
        place.locator("[role=group] canvas:visible, [role=group] svg:visible").first.wait_for()
    page.wait_for_function("document.querySelectorAll('.gahb-live:not([data-ready])').length === 0")
    return [place.locator("[role=group]").first for place in places]


def moves(page, widget) -> int:
    """Step every slider of a widget that can be moved: each must change the picture; returns how many there are."""
    sliders = [s for s in widget.get_by_role("slider").all() if s.is_visible() and s.is_enabled()]
    for slider in sliders:
        changes(page, widget, lambda slider=slider: slider.press("ArrowRight"))
    return len(sliders)
