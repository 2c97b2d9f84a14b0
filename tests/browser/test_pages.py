"""The built pages in a browser: equations set, pictures shown, the widget alive, no other host asked."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from browsing import alive, browser, moves, picture_of, serve, settle, why_not
from PIL import Image

REQUIRED = os.environ.get("GAHB_REQUIRE_BROWSER") == "1"
REASON = why_not()
CONTENTS = yaml.safe_load((Path(__file__).resolve().parents[2] / "_toc.yml").read_text())
PAGES = [CONTENTS["root"]] + [page["file"] for part in CONTENTS["parts"] for page in part["chapters"]]
CHAPTER_1 = "book/_executed/01_miyasawa"
WIDGETS = {CHAPTER_1: 1, "book/_executed/03_transition": 2, "book/_executed/04_harmonic_bases": 2,
           "book/_executed/05_calpha": 1, "book/_executed/06_manifolds": 1, "book/live": 1}  # how many
CHAPTERS = [name for name in WIDGETS if name != "book/live"]  # on that page the widget is near from the start

SEVERE = ["serious", "critical"]
COLOURS = ["color-contrast", "link-in-text-block"]  # the rules that depend on the theme
AXE = """async ([severe, rules]) =>
    (await axe.run(document, {resultTypes: ["violations"], ...(rules && {runOnly: rules})})).violations
    .filter(fault => severe.includes(fault.impact))
    .flatMap(fault => fault.nodes.map(node => `${fault.id} ${node.target}: ${node.html.slice(0, 200)}`)).sort()"""
FIRST_LOAD = 1_500_000  # bytes over the wire

pytestmark = [
    pytest.mark.browser,
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
def address(site, tmp_path_factory):
    """The site under a path of its own, as GitHub Pages has it: no page may count on lying at the root."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "some").mkdir()
    (folder / "some" / "path").symlink_to(site, target_is_directory=True)
    with serve(folder) as served:
        yield f"{served}/some/path"


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
        name, sign, place = name.partition("#")
        self.page.goto(f"{address}/{name}.html{sign}{place}")
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

    # the theme's style sheet draws its icons, in place of the script that mended.py leaves out
    icons = page.evaluate(
        """[...document.querySelectorAll("i[class*='fa-'], span[class*='fa-']")]
            .map(icon => [icon.className, getComputedStyle(icon, "::before").content])"""
    )
    assert icons
    assert [name for name, drawn in icons if drawn == "none"] == []

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
        assert not picture["alt"].endswith((".png", ".webp", ".svg")), picture


@pytest.mark.parametrize("name", [*PAGES, "genindex", "search", "prf-prf"])
def test_page_is_accessible_in_both_themes(visit, root, name):
    """axe-core, all its rules, in the dark those of colour: nothing serious or critical, with all that folds open."""
    page = visit(name).page
    if name in WIDGETS:
        alive(page, WIDGETS[name])
    page.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        page.wait_for_timeout(250)  # colours fade from one theme to the other
        assert page.evaluate(AXE, [SEVERE, None if theme == "light" else COLOURS]) == [], theme


def test_axe_finds_what_it_should(chrome, root):
    page = chrome.new_page()
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src=''><p style='color:#ccc'>pale</p></main>")
    page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert [fault.split(" ")[0] for fault in page.evaluate(AXE, [SEVERE, None])] == ["color-contrast", "image-alt"]
    page.close()


def unfold(page) -> None:
    settle(page)
    page.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(visit, name):
    page = visit(name, width=390, height=844).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    unfold(page)
    assert page.evaluate(CUT) == []


# formulas in a line of text whose end can't be seen, nor be reached by scrolling
CUT = """() => [...document.querySelectorAll("mjx-container:not([display]) > mjx-math")].filter(math => {
    const frame = math.closest("span.math");
    return frame && math.getBoundingClientRect().right > frame.getBoundingClientRect().right + 2
        && getComputedStyle(frame).overflowX !== "auto";
}).map(math => math.parentElement.textContent)"""
LONG = """() => [...document.querySelectorAll("main mjx-container[display]")]
    .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.textContent)"""


@pytest.mark.parametrize("name", PAGES)
def test_equations_are_whole_on_a_desk(visit, name):
    page = visit(name).page
    unfold(page)
    assert page.evaluate(LONG) == []


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
    "book/intro": ["article p", "article p a", "article h2", ".gahb-map small", ".gahb-tile span"],
    CHAPTER_1: ["figcaption p", ".gahb-verdict", ".gahb-statement", ".gahb-numbers", "details.hide summary"],
    "book/claims": ["table.gahb-ledger td p", "table.gahb-ledger .gahb-known", "table.gahb-ledger .gahb-verdict"],
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


@pytest.mark.parametrize("name", ["index", *PAGES])
def test_first_load_is_light(site, visit, name):
    """All that a page asks for before the reader moves, text compressed as GitHub Pages and most hosts send it."""
    seen = visit(name)
    if name == "index":
        seen.page.wait_for_url("**/intro.html")
    settle(seen.page)
    sizes = {}
    for url in set(seen.requests):
        if url.startswith(seen.address):
            path = site / urlsplit(url).path.partition("/some/path/")[2]
            content = path.read_bytes()
            text = path.suffix in (".html", ".css", ".js", ".svg")
            sizes[path.name] = len(gzip.compress(content, 6)) if text else len(content)
    assert len(sizes) > 10
    assert sum(sizes.values()) <= FIRST_LOAD, sorted(sizes.items(), key=lambda item: -item[1])[:8]


SHIFTS = """() => new PerformanceObserver((list) => { window.shifted = (window.shifted ?? 0)
    + list.getEntries().reduce((sum, entry) => sum + entry.value, 0); }).observe({ type: "layout-shift" })"""


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_read_stays_in_place(visit, name):
    """Pictures and widgets that come as one scrolls move nothing on the screen (layout shift; 0.1 is called good)."""
    page = visit(name).page
    settle(page)
    page.evaluate(SHIFTS)
    for _ in range(page.evaluate("Math.ceil(document.documentElement.scrollHeight / 300)")):
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(60)
    page.wait_for_function("n => document.querySelectorAll('.gahb-lazy > style').length === n", arg=WIDGETS[name])
    assert page.evaluate("window.shifted ?? 0") < 0.01  # a widget called only on the screen: 0.02


@pytest.mark.parametrize("name", ["book/intro", CHAPTER_1, "book/claims"])
def test_page_works_from_disk(chrome, site, name):
    context = chrome.new_context(viewport={"width": 1280, "height": 900})
    page, errors, requests = context.new_page(), [], []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{(site / name).as_uri()}.html")
    page.locator("main mjx-container").first.wait_for(state="attached")
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    if name == CHAPTER_1:
        (widget,) = alive(page, 1)
        assert widget.locator("canvas").first.is_visible()
    assert errors == []
    context.close()


def test_search_needs_no_network(visit):
    seen = visit("search")
    seen.page.goto(f"{seen.address}/search.html?q=Jacobian")
    seen.page.locator("ul.search li").first.wait_for(timeout=20_000)
    assert (seen.errors, seen.foreign) == ([], [])


def test_search_from_disk_says_what_it_lacks(chrome, site, visit):
    page, errors = chrome.new_page(), []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(f"{(site / 'search.html').as_uri()}?q=Jacobian")
    page.locator("ul.search li").first.wait_for(timeout=20_000)
    assert page.get_by_text("opened from a disk").is_visible()
    assert errors == []
    page.close()
    assert not visit("search").page.get_by_text("opened from a disk").is_visible()


# ------------------------------------------------------------------- the ledger


@pytest.fixture
def ledger(visit):
    return visit("book/claims").page


SHOWN = "table.gahb-ledger tbody tr:not([hidden])"


def shown(page) -> list[str]:
    return page.locator(SHOWN).evaluate_all("rows => rows.map(row => row.id)")


def test_ledger_sorts_by_keyboard(ledger):
    original = shown(ledger)
    head = ledger.locator("table.gahb-ledger th", has_text="Measured")
    head.get_by_role("button").focus()
    ledger.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    values = ledger.evaluate(
        """[...document.querySelectorAll("table.gahb-ledger tbody tr td:nth-child(3)")]
            .map(cell => parseFloat(cell.dataset.text.replaceAll("−", "-")))"""
    )
    known = [value for value in values if value == value]
    assert known == sorted(known)
    assert known == values[: len(known)]
    ledger.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    ledger.locator("table.gahb-ledger th", has_text="Verdict").get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    said = ledger.locator("table.gahb-ledger .gahb-verdict").all_inner_texts()
    assert said == sorted(said, key=lambda text: said.index(text)), "claims of one verdict stand together"
    for _ in range(2):
        ledger.locator("table.gahb-ledger th", has_text="Verdict").get_by_role("button").click()
    assert shown(ledger) == original


def test_ledger_shows_its_verdicts_on_a_phone(visit):
    page = visit("book/claims", width=390, height=844).page
    row = page.locator(SHOWN).first
    places = [cell.bounding_box() for cell in (row.locator(".gahb-verdict"), row.locator("td").first)]
    assert places[0]["y"] < places[1]["y"] and all(p["x"] >= 0 and p["x"] + p["width"] <= 390 for p in places)


def test_ledger_filters(ledger):
    total = len(shown(ledger))
    ledger.get_by_label("Verdict").select_option("holds")
    holding = shown(ledger)
    assert 0 < len(holding) < total
    assert set(ledger.locator(f"{SHOWN} .gahb-verdict").all_inner_texts()) == {"✓ holds"}
    assert ledger.locator(".gahb-filters output").inner_text() == f"{len(holding)} of {total} claims"
    ledger.get_by_label("Search the claims").fill("SURE")
    assert 0 < len(shown(ledger)) < len(holding)
    ledger.get_by_label("Search the claims").fill("no such words")
    assert shown(ledger) == []
    ledger.get_by_label("Search the claims").fill("")
    ledger.get_by_label("Verdict").select_option("")
    ledger.get_by_label("Chapter").select_option("2")
    assert all("chapter 2" in text for text in ledger.locator(SHOWN).all_inner_texts())


def test_ledger_is_whole_without_scripts(chrome, address, ledger):
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/book/claims.html")
    assert page.locator("table.gahb-ledger tbody tr").count() == len(shown(ledger))
    context.close()


def test_book_prints_as_one_file(site, root, tmp_path):
    out = tmp_path / "gahb.pdf"
    command = [sys.executable, root / "book" / "web" / "pdf.py", "--site", site, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "links that lead nowhere: 0" in done.stdout
    written = out.read_bytes()
    assert written.startswith(b"%PDF")
    assert written.rstrip().endswith(b"%%EOF")
    assert b"/Outlines" in written
    assert len(re.findall(rb"/Type\s*/Page\b", written)) > 3 * len(PAGES)
    assert [path.name for path in tmp_path.iterdir()] == ["gahb.pdf"]


@pytest.fixture
def mixture(visit):
    seen = visit(CHAPTER_1)
    (widget,) = alive(seen.page, 1)
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


def of_widgets(requests: list[str]) -> list[str]:
    """Requests for a widget's file, or to run its code; and for a widget manager, which no page needs."""
    return [url for url in requests if re.search(r"^blob:|/_static/widgets/|embed-amd|require\.js|anywidget", url)]


@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_of_a_widget_is_there_before_it_is_near(visit, root, name):
    seen = visit(name)
    page, places = seen.page, seen.page.locator(".gahb-lazy")
    assert of_widgets(seen.requests) == []
    assert not re.search("export default|widget-state|widget-view", page.content())
    page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert page.evaluate("async () => (await axe.run('.gahb-lazy')).violations.map(fault => fault.id)") == []
    alive(page, WIDGETS[name])
    files = [url for url in of_widgets(seen.requests) if url.startswith(seen.address)]
    assert len(set(files)) == len(files) == places.count()
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_opened_below_a_widget_gets_it_on_the_way_back(visit, name):
    seen = visit(f"{name}#rerun-it-and-exercises", height=500)
    page, place = seen.page, seen.page.locator(".gahb-lazy").last
    assert page.evaluate("scrollY") > 0 and of_widgets(seen.requests) == []
    page.evaluate("node => scrollBy(0, node.getBoundingClientRect().bottom + 150)", place.element_handle())
    read = page.evaluate_handle("""() => [...document.querySelectorAll("article p")]
        .find(node => node.getBoundingClientRect().top > 200)""")
    before = read.evaluate("node => node.getBoundingClientRect().top")
    place.locator("[role=group] canvas, [role=group] svg").first.wait_for()
    page.wait_for_timeout(300)
    assert place.evaluate("node => node.getBoundingClientRect().bottom") < 0
    assert abs(read.evaluate("node => node.getBoundingClientRect().top") - before) <= 1, "what is being read has moved"
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_keyboard_brings_a_widget(visit, name):
    """Focus alone: the place stays far from the screen, so that nothing else can have called it."""
    seen = visit(name)
    place = seen.page.locator(".gahb-lazy").first
    assert place.get_attribute("aria-label")
    place.evaluate("node => node.focus({preventScroll: true})")
    seen.page.wait_for_function("document.activeElement.closest('.gahb-lazy [role=group]')")
    assert seen.page.evaluate("document.activeElement.matches('button, input, [role=slider]')")
    assert place.get_attribute("tabindex") is None
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


@pytest.mark.parametrize("name", WIDGETS)
def test_every_slider_of_every_widget_moves_its_picture(visit, name):
    seen = visit(name)
    for widget in alive(seen.page, WIDGETS[name]):
        widget.scroll_into_view_if_needed()
        assert moves(seen.page, widget) > 0
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


def test_live_widget_makes_a_picture_and_is_accessible_meanwhile(visit, root):
    seen = visit("book/live")
    (widget,) = alive(seen.page, 1)
    widget.get_by_text("make one from noise").click()
    widget.get_by_role("button", name="start").click()
    seen.page.wait_for_timeout(1500)
    widget.get_by_role("button", name="stop").click()
    before, step = picture_of(widget), widget.get_by_role("slider", name="step")
    assert int(step.get_attribute("max")) > 5
    step.press("Home")
    seen.page.wait_for_timeout(300)
    assert picture_of(widget) != before
    seen.page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert seen.page.evaluate(AXE, [SEVERE, None]) == []
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


def test_live_widget_takes_a_picture_a_pixel_and_a_button(visit):
    """On the page as it is served, by keyboard and pointer; tests/widgets says that what it shows is right."""
    seen = visit("book/live")
    page, (widget,) = seen.page, alive(seen.page, 1)
    drawn = [picture_of(widget)]
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "png")
    upload = widget.get_by_label("a picture of your own; it stays on this machine")
    upload.set_input_files({"name": "own.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.locator(".gl-own").wait_for()
    assert page.locator(".gl-thumb[aria-pressed=true]").count() == 0
    drawn.append(picture_of(widget))
    noisy = widget.get_by_role("application", name="noisy picture: arrow keys choose a pixel")
    for act in (lambda: noisy.press("ArrowDown"), lambda: noisy.click(position={"x": 20, "y": 30})):
        act()
        page.wait_for_timeout(300)
        drawn.append(picture_of(widget))
    widget.get_by_role("button", name="find them").press("Enter")
    page.wait_for_function("document.querySelector('.gahb-live progress').value > 0")
    widget.get_by_role("button", name="stop").press("Enter")
    widget.get_by_text("stopped after").wait_for()
    drawn.append(picture_of(widget))
    assert len(set(drawn)) == len(drawn)
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


def test_points_of_curves_answer_to_pointer_and_keys(visit):
    seen = visit("book/_executed/03_transition")
    page, (*_, widget) = seen.page, alive(seen.page, 2)
    tip, points = widget.locator(".gw-tip"), widget.get_by_role("slider", name="points of the curves")
    heard = []
    for _ in range(2):
        points.press("ArrowRight")
        page.wait_for_timeout(200)
        heard.append(points.get_attribute("aria-valuetext"))
    assert tip.is_visible() and "training images N" in heard[0] and heard[0] != heard[1]
    points.press("Escape")
    mark = widget.locator(".gw-plot .gw-mark").last.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    tip.get_by_text("training images N").wait_for()
    assert (seen.errors, seen.foreign, seen.failures) == ([], [], [])


def test_widget_left_alone_does_not_change(mixture):
    seen, widget = mixture
    before = picture_of(widget)
    seen.page.wait_for_timeout(300)
    assert picture_of(widget) == before
