"""The built pages in a browser, each opened once for all that is looked at there; then what readers do with widgets."""

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
from browsing import STILL, alive, browser, changes, frames, moves, serve, settle, why_not
from PIL import Image

REQUIRED = os.environ.get("GAHB_REQUIRE_BROWSER") == "1"
REASON = why_not()
CONTENTS = yaml.safe_load((Path(__file__).resolve().parents[2] / "_toc.yml").read_text())
PAGES = [CONTENTS["root"]] + [page["file"] for part in CONTENTS["parts"] for page in part["chapters"]]
OTHERS = ["genindex", "search", "prf-prf", "_modules/gahb/figures/curves"]  # made by Sphinx and its extensions
CHAPTER_1 = "book/_executed/01_miyasawa"

SEVERE = ["serious", "critical"]
COLOURS = ["color-contrast", "link-in-text-block"]  # the rules that depend on the theme
AXE = """async ([severe, rules]) =>
    (await axe.run(document, {resultTypes: ["violations"], ...(rules && {runOnly: rules})})).violations
    .filter(fault => severe.includes(fault.impact))
    .flatMap(fault => fault.nodes.map(node => `${fault.id} ${node.target}: ${node.html.slice(0, 200)}`)).sort()"""
# for axe, which takes a minute for 30,000 nodes: the first cells, formulas, functions and claims, since all are alike
THIN = """() => {
    const rest = (selector, n) => [...document.querySelectorAll(selector)].slice(n);
    for (const entry of [...rest("dl.py", 40), ...rest("table.gahb-ledger tbody tr", 40)]) entry.remove();
    for (const cell of rest("div.highlight pre", 4)) cell.textContent = cell.textContent;
    for (const formula of rest("mjx-container", 12)) formula.textContent = "formula";
}"""
DESK = {"width": 1280, "height": 900}
FIRST_LOAD = 1_500_000  # bytes over the wire
SHIFT = 0.1  # of what is on the screen, while one scrolls: called good (Core Web Vitals); a late widget makes 0.02

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
        self.page.add_style_tag(content=STILL)
        settle(self.page)

    @property
    def troubles(self) -> list[str]:
        """Errors in the console, requests to other hosts, and requests that failed."""
        here = (self.address + "/", "data:", "blob:")
        return self.errors + [url for url in self.requests if not url.startswith(here)] + self.failures


@pytest.fixture
def visit(chrome, address):
    """Opens pages, in a fresh context each."""
    contexts = []

    def open_page(name: str, width: int = 1280, height: int = 900) -> Visit:
        contexts.append(chrome.new_context(viewport={"width": width, "height": height}, color_scheme="light"))
        return Visit(contexts[-1], address, name)

    yield open_page
    for context in contexts:
        context.close()


# ------------------------------------------------------------- a visit to each page

RAW = """() => {
    const article = (document.querySelector("article") ?? document.body).cloneNode(true);
    for (const node of article.querySelectorAll("pre, code, script, mjx-container, .gahb-mixture")) node.remove();
    const text = article.textContent;
    return ["\\\\(", "\\\\[", "\\\\frac", "$$", "{eq}", "{cite", "{numref"].filter(sign => text.includes(sign));
}"""
# the theme's style sheet draws its icons, in place of the script that html_fixes leaves out
BLANK_ICONS = """() => [...document.querySelectorAll("i[class*='fa-'], span[class*='fa-']")]
    .filter(icon => getComputedStyle(icon, "::before").content === "none").map(icon => icon.className)"""
BAD_PICTURES = """() => Promise.all([...document.images].map(async image => {
    image.loading = "eager";
    await image.decode().catch(() => {});
    const alt = image.alt.trim();
    return image.naturalWidth > 0 && alt && !/[.](png|webp|svg)$/.test(alt) ? "" : image.outerHTML.slice(0, 200);
})).then(found => found.filter(Boolean))"""
WATCH_SHIFTS = """() => {
    window.shifted = 0;
    const add = list => { for (const entry of list) window.shifted += entry.value; };
    window.shifts = new PerformanceObserver(list => add(list.getEntries()));
    window.shifts.observe({ type: "layout-shift" });
    window.total = () => { add(window.shifts.takeRecords()); return window.shifted; };
}"""
CUT_CELLS = """() => [...document.querySelectorAll("div.cell_input pre")]
    .filter(pre => pre.scrollWidth > pre.clientWidth + 1)
    .map(pre => pre.textContent.split("\\n").reduce((a, b) => a.length > b.length ? a : b))"""
# what a cell shows by accident: None, a list of it, or an object without a picture of its own
STRAY = """() => [...document.querySelectorAll("div.cell_output pre")].map(pre => pre.textContent.trim())
    .filter(text => /^[(\\[{]?(None|<[^>]* at 0x|<[\\w.]+(:| object|>))/.test(text)).map(text => text.slice(0, 200))"""
# formulas in a line of text whose end can't be seen, nor be reached by scrolling
CUT = """() => [...document.querySelectorAll("mjx-container:not([display]) > mjx-math")].filter(math => {
    const frame = math.closest("span.math");
    return frame && math.getBoundingClientRect().right > frame.getBoundingClientRect().right + 2
        && getComputedStyle(frame).overflowX !== "auto";
}).map(math => math.parentElement.textContent)"""
LONG = """() => [...document.querySelectorAll("main mjx-container[display]")]
    .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.textContent)"""


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
    CHAPTER_1: ["figcaption p", ".gahb-verdict", ".gahb-statement", ".gahb-found", "details.hide summary"],
    "book/claims": ["table.gahb-ledger td p", "table.gahb-ledger .gahb-known", "table.gahb-ledger .gahb-verdict"],
}


@pytest.mark.parametrize("name", [*PAGES, *OTHERS])
def test_page(visit, site, root, name):
    """As it comes, scrolled through, folded open, with its widgets moved, in the dark, and on a phone."""
    seen, faults = visit(name), {}
    page = seen.page
    faults["heavy"] = heavy(site, seen)
    families = page.evaluate("[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)")
    faults["without its typeface"] = [] if any("Source Serif 4" in family for family in families) else [families]
    if name != "book/live":  # there it is near from the start
        early = re.findall("export default|widget-state|widget-view", page.content())
        faults["a widget before it is near"] = of_widgets(seen.requests) + early

    places = page.locator(".gahb-lazy").count()
    if places:
        page.evaluate(WATCH_SHIFTS)
        scroll_through(page, places)
    widgets = alive(page, places)
    files = [url for url in of_widgets(seen.requests) if url.startswith(seen.address)]
    faults["files of widgets"] = [] if len(files) == len(set(files)) == len(widgets) else files
    if widgets and name != "book/live":
        faults["moved while one scrolls"] = [] if (shift := page.evaluate("total()")) < SHIFT else [shift]

    page.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    settle(page)
    formulas, typeset = page.locator("main .math").count(), page.locator("main .math mjx-container").count()
    faults["formulas not set"] = [] if typeset >= formulas else [formulas, typeset]
    sizes = page.locator("mjx-container").evaluate_all("found => [...new Set(found.map(node => node.style.fontSize))]")
    faults["formulas of several sizes"] = sizes if len(sizes) > 1 else []  # else it depends on when fonts arrive
    faults["formulas with an error"] = page.locator("mjx-merror, [data-mml-node=merror]").all_inner_texts()
    faults["formulas longer than a line"] = page.evaluate(LONG)
    faults["TeX in the text"] = page.evaluate(RAW)
    faults["icons not drawn"] = page.evaluate(BLANK_ICONS)
    faults["pictures"] = page.evaluate(BAD_PICTURES)
    faults["stray outputs"] = page.evaluate(STRAY)
    faults["cells cut off"] = page.evaluate(CUT_CELLS)
    faults["sliders"] = [k for k, widget in enumerate(widgets) if moves(page, widget) == 0]

    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    wide = page.evaluate("document.documentElement.scrollWidth")
    faults["wider than a phone"] = [] if wide <= 390 or name in OTHERS else [wide]
    faults["formulas cut off on a phone"] = page.evaluate(CUT)

    page.set_viewport_size(DESK)
    page.evaluate(THIN)
    page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    for theme, rules in (("light", None), ("dark", COLOURS)):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        frames(page)
        faults[f"axe, {theme}"] = page.evaluate(AXE, [SEVERE, rules])
        contrasts = page.evaluate(CONTRAST, INKS.get(name, []))
        faults[f"pale, {theme}"] = [(ink, contrast) for ink, contrast in contrasts.items() if contrast < 4.5]
    faults["troubles"] = seen.troubles
    assert {what: found for what, found in faults.items() if found} == {}


def heavy(site: Path, seen: Visit) -> list:
    """What a page asks for before the reader moves, if it is too much; text as most hosts send it, compressed."""
    sizes = {}
    for url in {url for url in seen.requests if url.startswith(seen.address)}:
        path = site / urlsplit(url).path.partition("/some/path/")[2]
        content = path.read_bytes()
        text = path.suffix in (".html", ".css", ".js", ".svg")
        sizes[path.name] = len(gzip.compress(content, 6)) if text else len(content)
    assert len(sizes) > 10
    return sorted(sizes.items(), key=lambda item: -item[1])[:8] if sum(sizes.values()) > FIRST_LOAD else []


def of_widgets(requests: list[str]) -> list[str]:
    """Requests for a widget's file, or to run its code; and for a widget manager, which no page needs."""
    return [url for url in requests if re.search(r"^blob:|/_static/widgets/|embed-amd|require\.js|anywidget", url)]


def scroll_through(page, places: int) -> None:
    """To the end, as a reader does it, with the widgets that come on the way."""
    for _ in range(page.evaluate("Math.ceil(document.documentElement.scrollHeight / 800)")):
        page.mouse.wheel(0, 800)
        frames(page, 1)
    page.wait_for_function("n => document.querySelectorAll('.gahb-lazy > style').length === n", arg=places)


def test_the_front_door_leads_to_the_introduction(visit, site):
    page = visit("book/intro").page
    page.goto(page.url.replace("book/intro.html", "index.html"), wait_until="commit")
    page.wait_for_url("**/intro.html")
    assert page.title()


def test_axe_finds_what_it_should(chrome, root):
    page = chrome.new_page()
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src=''><p style='color:#ccc'>pale</p></main>")
    page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert [fault.split(" ")[0] for fault in page.evaluate(AXE, [SEVERE, None])] == ["color-contrast", "image-alt"]
    page.close()


def test_cut_cells_and_stray_outputs_are_found(chrome):
    page = chrome.new_page()
    outputs = ["None", "[None, None]", "(<a.B object at 0x7f>,)", "<Axes: title>", "3.5", "a table: None"]
    page.set_content(
        "<style>pre { width: 9em; overflow: auto }</style><div class=cell_input><pre>short</pre></div>"
        f"<div class=cell_input><pre>{'long ' * 30}</pre></div><div class=cell_output>"
        + "".join(f"<pre>{text.replace('<', '&lt;')}</pre>" for text in outputs) + "</div>"
    )  # fmt: skip
    assert page.evaluate(CUT_CELLS) == ["long " * 30]
    assert page.evaluate(STRAY) == outputs[:4]
    page.close()


# ------------------------------------------------------------- from a disk, searched, printed


def test_pages_work_from_a_disk(chrome, site):
    context = chrome.new_context(viewport={"width": 1280, "height": 900})
    page, errors, requests = context.new_page(), [], []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{(site / CHAPTER_1).as_uri()}.html")
    page.locator("main mjx-container").first.wait_for(state="attached")
    (widget,) = alive(page, 1)
    assert widget.locator("canvas").first.is_visible()
    page.goto(f"{(site / 'search.html').as_uri()}?q=Jacobian")
    page.locator("ul.search li").first.wait_for()
    assert page.get_by_text("opened from a disk").is_visible()  # so that a search quotes nothing
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    context.close()


def test_search_needs_no_network(visit):
    seen = visit("search")
    assert not seen.page.get_by_text("opened from a disk").is_visible()
    seen.page.goto(f"{seen.address}/search.html?q=Jacobian")
    seen.page.locator("ul.search li").first.wait_for()
    assert seen.troubles == []


def test_book_prints_as_one_file(site, root, tmp_path):
    """All pages are set and their links followed; three are printed, since each takes seconds (.ci/run prints all)."""
    out, few = tmp_path / "gahb.pdf", ["intro", "07_leaks", "bibliography"]
    command = [sys.executable, root / "book" / "web" / "pdf.py", "--site", site, "--out", out, "--only", *few]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "links that lead nowhere: 0" in done.stdout
    written = out.read_bytes()
    assert written.startswith(b"%PDF")
    assert written.rstrip().endswith(b"%%EOF")
    assert b"/Outlines" in written
    assert 3 * len(few) < len(re.findall(rb"/Type\s*/Page\b", written)) < 3 * len(PAGES)
    assert [path.name for path in tmp_path.iterdir()] == ["gahb.pdf"]


# ------------------------------------------------------------- the ledger

HEADS = ("Claim", "Expected", "Measured", "Profile", "Verdict", "Where")
RECORDS = (
    ("SURE is unbiased", "0 ± 0.1", "−2.5", "book", "✓ holds", "chapter 1"),
    ("the score is exact", "≤ 1e−10", "3e−12", "book", "✓ holds", "chapter 1"),
    ("twins agree", "≥ 0.9", "0.7 ± 0.1", "book", "✗ falls short", "chapter 3"),
    ("a slope", "1 ± 0.1", "–", "–", "– not measured", "chapter 12"),
    ("a price", "≤ 40", "12", "book", "✓ holds", "chapter 2"),
)
SHOWN = "table.gahb-sortable tbody tr:not([hidden])"


@pytest.fixture
def table(chrome, root):
    """A small table of claims, with the script that sorts and filters it."""
    page = chrome.new_page()
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in record)}</tr>" for record in RECORDS)
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    page.set_content(f"<table class=gahb-sortable><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    page.add_script_tag(path=root / "book" / "_static" / "ledger.js")
    yield page
    page.close()


def shown(page) -> list[str]:
    """The claims that can be seen, in order."""
    return page.locator(f"{SHOWN} td:first-child").all_inner_texts()


def test_ledger_sorts_by_keyboard(table):
    original = shown(table)
    head = table.locator("th", has_text="Measured")
    head.get_by_role("button").focus()
    table.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    by_number = ["SURE is unbiased", "the score is exact", "twins agree", "a price", "a slope"]
    assert shown(table) == by_number
    table.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert shown(table) == [*by_number[3::-1], "a slope"]  # what was not measured stays last
    table.locator("th", has_text="Where").get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert shown(table)[2:] == ["a price", "twins agree", "a slope"]
    for _ in range(2):
        table.locator("th", has_text="Where").get_by_role("button").click()
    assert shown(table) == original


def test_ledger_filters(table):
    table.get_by_label("Verdict").select_option("holds")
    assert shown(table) == ["SURE is unbiased", "the score is exact", "a price"]
    assert table.locator(".gahb-filters output").inner_text() == "3 of 5 claims"
    table.get_by_label("Search the claims").fill("sure")
    assert shown(table) == ["SURE is unbiased"]
    table.get_by_label("Search the claims").fill("no such words")
    assert shown(table) == []
    table.get_by_label("Search the claims").fill("")
    table.get_by_label("Verdict").select_option("")
    table.get_by_label("Chapter").select_option("1")
    assert shown(table) == ["SURE is unbiased", "the score is exact"]  # and not chapter 12


def test_ledger_of_the_book_on_a_phone_and_without_scripts(chrome, address, visit):
    page = visit("book/claims", width=390, height=844).page
    row, total = page.locator(SHOWN).first, page.locator(SHOWN).count()
    places = [cell.bounding_box() for cell in (row.locator(".gahb-verdict"), row.locator("td").first)]
    assert places[0]["y"] < places[1]["y"] and all(p["x"] >= 0 and p["x"] + p["width"] <= 390 for p in places)
    assert page.locator(".gahb-filters output").inner_text() == f"{total} claims"
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/book/claims.html")
    assert page.locator("table.gahb-sortable tbody tr").count() == total > 50
    context.close()


# ------------------------------------------------------------- widgets


def last_section(site: Path, name: str) -> str:
    return re.findall(r'<section [^>]*\bid="([^"]+)"', (site / f"{name}.html").read_text(encoding="utf-8"))[-1]


def test_a_page_opened_below_a_widget_gets_it_on_the_way_back(visit, site):
    name = "book/_executed/03_transition"
    seen = visit(f"{name}#{last_section(site, name)}", height=500)
    page, place = seen.page, seen.page.locator(".gahb-lazy").last
    assert page.evaluate("scrollY") > 0 and of_widgets(seen.requests) == []
    page.evaluate("node => scrollBy(0, node.getBoundingClientRect().bottom + 150)", place.element_handle())
    read = page.evaluate_handle("""() => [...document.querySelectorAll("article p")]
        .find(node => node.getBoundingClientRect().top > 200)""")
    before = read.evaluate("node => node.getBoundingClientRect().top")
    place.locator("[role=group] canvas, [role=group] svg").first.wait_for()
    settle(page)
    assert place.evaluate("node => node.getBoundingClientRect().bottom") < 0
    assert abs(read.evaluate("node => node.getBoundingClientRect().top") - before) <= 1, "what is being read has moved"
    assert seen.troubles == []


def test_the_keyboard_brings_a_widget(visit, root):
    """Focus alone: the place stays far from the screen, so that nothing else can have called it."""
    seen = visit(CHAPTER_1)
    place = seen.page.locator(".gahb-lazy").first
    assert place.get_attribute("aria-label")
    seen.page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert seen.page.evaluate("async () => (await axe.run('.gahb-lazy')).violations.map(fault => fault.id)") == []
    place.evaluate("node => node.focus({preventScroll: true})")
    seen.page.wait_for_function("document.activeElement.closest('.gahb-lazy [role=group]')")
    assert seen.page.evaluate("document.activeElement.matches('button, input, [role=slider]')")
    assert place.get_attribute("tabindex") is None
    assert seen.troubles == []


def test_mixture_follows_sigma_and_the_point(visit):
    seen = visit(CHAPTER_1)
    page, (widget,) = seen.page, alive(seen.page, 1)
    said = widget.inner_text()
    slider = widget.get_by_role("slider", name=re.compile("noise level"))
    slider.focus()
    for _ in range(8):
        changes(page, widget, lambda: slider.press("ArrowRight"))
    assert widget.inner_text() != said
    said, handle = widget.inner_text(), widget.locator(".gm-handle").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    changes(page, widget, lambda: page.mouse.move(x + 60, y - 50, steps=5))
    page.mouse.up()
    assert widget.inner_text() != said
    assert seen.troubles == []


def test_live_widget_makes_a_picture_and_is_accessible_meanwhile(visit, root):
    seen = visit("book/live")
    page, (widget,) = seen.page, alive(seen.page, 1)
    widget.get_by_text("make one from noise").click()
    widget.get_by_role("button", name="start").click()
    step = widget.get_by_role("slider", name="step")
    page.wait_for_function("node => +node.max > 5", arg=step.element_handle())
    widget.get_by_role("button", name="stop").click()
    changes(page, widget, lambda: step.press("Home"))
    page.evaluate((root / "book" / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert page.evaluate(AXE, [SEVERE, None]) == []
    assert seen.troubles == []


def test_live_widget_takes_a_picture_a_pixel_and_a_button(visit):
    """On the page as it is served, by keyboard and pointer; tests/widgets says that what it shows is right."""
    seen = visit("book/live")
    page, (widget,) = seen.page, alive(seen.page, 1)
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "png")
    own = {"name": "own.png", "mimeType": "image/png", "buffer": file.getvalue()}
    upload = widget.get_by_label("a picture of your own; it stays on this machine")
    changes(page, widget, lambda: upload.set_input_files(own))
    page.locator(".gl-own").wait_for()
    assert page.locator(".gl-thumb[aria-pressed=true]").count() == 0
    noisy = widget.get_by_role("application", name="noisy picture: arrow keys choose a pixel")
    changes(page, widget, lambda: noisy.press("ArrowDown"))
    changes(page, widget, lambda: noisy.click(position={"x": 20, "y": 30}))
    widget.get_by_role("button", name="find them").press("Enter")
    page.wait_for_function("document.querySelector('.gahb-live progress').value > 0")
    widget.get_by_role("button", name="stop").press("Enter")
    widget.get_by_text("stopped after").wait_for()
    assert seen.troubles == []


def test_points_of_curves_answer_to_pointer_and_keys(visit):
    seen = visit("book/_executed/03_transition")
    page, (*_, widget) = seen.page, alive(seen.page, 2)
    tip, points = widget.locator(".gw-tip"), widget.get_by_role("slider", name="points of the curves")
    heard = [None]
    for _ in range(2):
        points.press("ArrowRight")
        page.wait_for_function("([node, said]) => node.getAttribute('aria-valuetext') !== said",
                               arg=[points.element_handle(), heard[-1]])
        heard.append(points.get_attribute("aria-valuetext"))
    tip.get_by_text("training images N").wait_for()
    assert "training images N" in heard[1]
    points.press("Escape")
    widget.locator(".gw-plot .gw-mark:visible").last.hover(force=True)
    tip.get_by_text("training images N").wait_for()
    assert seen.troubles == []
