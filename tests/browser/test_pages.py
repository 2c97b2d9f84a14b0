"""The built pages in a browser: equations set, pictures shown, the widget alive, no other host asked."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
import yaml
from browsing import browser, serve, settle, why_not

REQUIRED = os.environ.get("GAHB_REQUIRE_BROWSER") == "1"
REASON = why_not()
CONTENTS = yaml.safe_load((Path(__file__).resolve().parents[2] / "_toc.yml").read_text())
PAGES = [CONTENTS["root"]] + [page["file"] for part in CONTENTS["parts"] for page in part["chapters"]]
CHAPTER_1 = "book/_executed/01_miyasawa"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # the first test builds the book
    pytest.mark.skipif(REASON is not None and not REQUIRED, reason=f"pages are not opened: {REASON}"),
]


@pytest.fixture(scope="session", autouse=True)
def _browser_is_here():
    """Before the book is built for nothing."""
    if REASON is not None:
        pytest.fail(f"GAHB_REQUIRE_BROWSER=1, but {REASON}", pytrace=False)


@pytest.fixture(scope="module")
def chrome():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(site):
    with serve(site) as served:
        yield served


class Visit:
    """A page opened for the first time, with what went over the wire and into the console."""

    def __init__(self, context, address: str, name: str):
        self.page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.failures: list[str] = []
        self.address = address
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.failures.append(request.url))
        self.page.on("response", lambda r: self.failures.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        self.page.goto(f"{address}/{name}.html")
        settle(self.page)

    @property
    def foreign(self) -> list[str]:
        return [url for url in self.requests if not url.startswith((self.address + "/", "data:", "blob:"))]


@pytest.fixture
def visit(chrome, address):
    """Opens pages, in a fresh context each."""
    contexts = []

    def open_page(name: str, width: int = 1280, height: int = 900, theme: str = "light") -> Visit:
        contexts.append(chrome.new_context(viewport={"width": width, "height": height}, color_scheme=theme))
        return Visit(contexts[-1], address, name)

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(visit, name):
    seen = visit(name)
    page = seen.page
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_load_state("networkidle")
    assert seen.errors == []
    assert seen.foreign == []
    assert seen.failures == []

    formulas = page.locator("main .math").count()
    assert page.locator("main .math mjx-container").count() >= formulas
    assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0
    prose = page.evaluate(
        """() => {
            const article = document.querySelector("article").cloneNode(true);
            for (const node of article.querySelectorAll("pre, code, script, mjx-container, .gahb-mixture"))
                node.remove();
            return article.textContent;
        }"""
    )
    assert not [sign for sign in ("\\(", "\\[", "\\frac", "$$", "{eq}", "{cite", "{numref") if sign in prose]

    pictures = page.evaluate(
        """() => Promise.all([...document.images].map(async image => {
            image.loading = "eager";
            await image.decode().catch(() => {});
            return {alt: image.alt.trim(), width: image.naturalWidth, source: image.src.slice(0, 200)};
        }))"""
    )
    for picture in pictures:
        assert picture["width"] > 0, picture
        assert picture["alt"], picture
        assert not picture["alt"].endswith((".png", ".svg")), picture


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(visit, name):
    page = visit(name, width=390, height=844).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


CONTRAST = """selectors => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = node => {
        for (; node; node = node.parentElement) {
            const colour = numbers(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0.5) return luminance(colour);
        }
        return 1;
    };
    return Object.fromEntries(selectors.map(selector => {
        const node = document.querySelector(selector);
        if (!node) return [selector, 0];
        const [low, high] = [luminance(numbers(getComputedStyle(node).color)), ground(node)].sort((a, b) => a - b);
        return [selector, (high + 0.05) / (low + 0.05)];
    }));
}"""
INKS = {
    "book/intro": ["article p", "article p a", "article h2", "article caption"],
    CHAPTER_1: ["figcaption p", ".gahb-verdict", ".gahb-statement", ".gahb-numbers", "details.hide summary"],
    "book/claims": ["table.gahb-ledger td p", "table.gahb-ledger .gahb-verdict"],
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", INKS)
def test_text_is_readable_in_both_themes(visit, name, theme):
    page = visit(name, theme=theme).page
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    contrasts = page.evaluate(CONTRAST, INKS[name])
    assert {ink: contrast for ink, contrast in contrasts.items() if contrast < 4.5} == {}


def test_serif_of_the_book_is_served_with_it(visit):
    page = visit("book/intro").page
    loaded = page.evaluate("[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)")
    assert any("Source Serif 4" in family for family in loaded)


def picture_of(widget) -> str:
    """Hash of what the widget draws: canvas pixels and vector shapes."""
    drawn = widget.evaluate(
        """node => [...node.querySelectorAll("canvas")].map(c => c.toDataURL())
            .concat([...node.querySelectorAll("svg")].map(s => s.outerHTML)).join("\\n")"""
    )
    return hashlib.sha256(drawn.encode()).hexdigest()


@pytest.fixture
def mixture(visit):
    seen = visit(CHAPTER_1)
    widget = seen.page.locator(".gahb-mixture").first
    widget.wait_for(state="visible", timeout=20_000)
    widget.scroll_into_view_if_needed()
    seen.page.wait_for_timeout(300)
    return seen, widget


def test_widget_follows_sigma(mixture):
    seen, widget = mixture
    before, said = picture_of(widget), widget.inner_text()
    slider = widget.get_by_role("slider", name=re.compile("noise level"))
    slider.focus()
    for _ in range(8):
        slider.press("ArrowRight")
    seen.page.wait_for_timeout(300)
    assert picture_of(widget) != before
    assert widget.inner_text() != said
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


def test_widget_follows_the_point(mixture):
    seen, widget = mixture
    before, said = picture_of(widget), widget.inner_text()
    handle = widget.locator(".gm-handle").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    seen.page.mouse.move(x, y)
    seen.page.mouse.down()
    seen.page.mouse.move(x + 60, y - 50, steps=5)
    seen.page.mouse.up()
    seen.page.wait_for_timeout(300)
    assert picture_of(widget) != before
    assert widget.inner_text() != said
    assert seen.errors == []


def test_widget_left_alone_does_not_change(mixture):
    seen, widget = mixture
    before = picture_of(widget)
    seen.page.wait_for_timeout(300)
    assert picture_of(widget) == before
