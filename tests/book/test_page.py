"""The page of a re-run: one file that is whole anywhere, offline, and without JavaScript."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from tiny_chapters import write

from gahb.book import chapters, page, running

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
import browsing

FIRST = """```{prf:theorem} Miyasawa
:label: thm-first

$$
x = y
$$ (eq-first)
```"""
SECOND = """See {prf:ref}`thm-first`, {eq}`eq-first`, {numref}`fig-second`, {cite:t}`one` and
[the notation](../notation.md). It gains {glue:text}`gain:.2f` dB, $\\lambda < 1$.

$$
\\begin{gathered} \\|f\\|^2 = 1, \\dots \\\\[1ex] a = b \\end{gathered}
$$ (eq-second)"""
FIGURE = """```{code-cell} ipython3
---
mystnb:
  figure: {name: fig-second, caption: "A line, $x^2$."}
  image: {alt: A line that rises}
---
figure, axis = plt.subplots(figsize=(2, 1))
axis.plot([0, 1])
plt.close(figure)
figure
```

"""
CODE = """from myst_nb import glue
import matplotlib.pyplot as plt
import numpy as np
import gahb
gahb.claims.begin(chapter="02_tiny", profile=profile)
gahb.claims.check("tiny", 0.5)
glue("gain", 2.346, display=False)
widget = gahb.widgets.frames(np.linspace(0, 1, 192).reshape(3, 1, 8, 8), {"k": range(3)}, alt="Three ramps")
print("size", size)"""
LEDGER = "- {id: tiny, chapter: 02_tiny, statement: $x$ is small, source: equation (3), at_most: 1}"
BIBLIOGRAPHY = "@misc{one, author = {Peyr{\\'e}, Gabriel}, title = {On a line}, year = {2008}}\n"


@pytest.fixture(scope="module")
def clone_of_two(tmp_path_factory, root):
    """A clone with the book's machinery and two chapters of its own; the second has run, with a size of 3."""
    clone = tmp_path_factory.mktemp("clone")
    (clone / "notebooks" / "profiles").mkdir(parents=True)
    for profile in ("smoke", "book", "paper"):
        (clone / "notebooks" / "profiles" / f"{profile}.yaml").write_text("")
    (clone / "notebooks" / "claims.yaml").write_text(LEDGER)
    (clone / "book").mkdir()
    (clone / "_config.yml").symlink_to(root / "_config.yml")
    for name in ("_ext", "_static"):
        (clone / "book" / name).symlink_to(root / "book" / name)
    (clone / "book" / "references.bib").write_text(BIBLIOGRAPHY)
    write(clone, "01_tiny", "print(1)", prose=FIRST)
    chapter = write(clone, "02_tiny", CODE, "widget", prose=SECOND)
    chapter.path.write_text(chapter.path.read_text() + FIGURE)
    values = chapters.parameters(chapter) | {"size": 3, "profile": "book, with size=3"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAHB_ROOT", str(clone))
        running.execute(chapter, clone / "runs" / "02_other.ipynb", values, progress=False)
        yield clone


@pytest.fixture(scope="module")
def made(clone_of_two) -> str:
    return page.html(clone_of_two / "runs" / "02_other.ipynb")


def text_of(made: str) -> str:
    """What a reader reads, roughly: the article without its tags."""
    article = re.search(r"<article.*?</article>", made, flags=re.DOTALL)[0]
    bare = re.sub(r"<(script|style).*?</\1>|<[^>]*>", "", article, flags=re.DOTALL)
    return " ".join(bare.split())


def test_numbers_and_references_are_those_of_the_book(made):
    said = text_of(made)
    assert "2. 02_tiny" in said
    found = said.replace("[ ", "[").replace(" ]", "]")
    assert "See Theorem 1.1, (1.1), Fig. 2.1, Peyré [2008] and the notation." in found
    assert "It gains 2.35 dB" in said and "size 3" in said
    assert "Fig. 2.1 A line," in said and "On a line. 2008." in said
    assert re.search(r'<details class="gahb-claim gahb-claim-holds" id="claim-tiny">', made)
    assert "gahb rerun tiny --out runs/ # with size=3" in said
    assert not re.search(r"\{(eq|cite|numref|glue|prf)", said)


def test_it_leads_to_nothing_beside_it(made, clone_of_two, root):
    """No address on this machine, none beside the file, and none that is loaded from a network."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", made, flags=re.DOTALL)
    addresses = re.findall(r'\b(?:src|href|data-widget)="([^"]*)"', bare)
    assert [a for a in addresses if not re.match(r"#|data:|https?://|widget|02_tiny\.", a)] == []
    loaded = re.findall(r'<(?:img|script|link|source)\b[^>]*(?:src|href)="(?!data:)([^"]*)', bare)
    assert loaded == []
    for place in (root, clone_of_two, Path.home()):
        assert str(place) not in made


def test_without_mathjax_formulas_are_mathml(clone_of_two, monkeypatch):
    monkeypatch.setattr(page, "MATHJAX", "vendor/nowhere.js")
    monkeypatch.setitem(page.SETTINGS, "mathjax_path", "vendor/nowhere.js")
    made = page.html(clone_of_two / "runs" / "02_other.ipynb")
    said = text_of(made)
    assert "\\(" not in said and "\\[" not in said
    assert made.count("<math ") >= 4 and "<mtable" in made and "(2.1)" in said


needs_browser = pytest.mark.skipif(
    browsing.why_not() is not None and os.environ.get("GAHB_REQUIRE_BROWSER") != "1", reason=str(browsing.why_not())
)


def opened(chrome, path: Path, **options):
    context = chrome.new_context(offline=True, viewport={"width": 1280, "height": 900}, **options)
    tab, troubles = context.new_page(), []
    tab.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda r: None if r.url.startswith((path.as_uri(), "data:", "blob:")) else troubles.append(r.url))
    tab.goto(path.as_uri())
    return tab, troubles


@pytest.mark.browser
@needs_browser
def test_in_a_browser_far_from_here(made, tmp_path):
    path = tmp_path / "moved.html"
    path.write_text(made, encoding="utf-8")
    with browsing.browser() as chrome:
        tab, troubles = opened(chrome, path)
        browsing.settle(tab)
        assert tab.locator("mjx-container").count() >= 5 and tab.locator("mjx-merror").count() == 0
        assert [browsing.moves(tab, widget) for widget in browsing.alive(tab, 1)] == [1]
        tab, silent = opened(chrome, path, java_script_enabled=False)
        assert tab.locator("figure img").is_visible() and tab.get_by_text("It gains 2.35 dB").is_visible()
        assert troubles == silent == []


@pytest.mark.browser
@needs_browser
@pytest.mark.slow
def test_a_chapter_of_the_book(smoke_run, root, tmp_path, monkeypatch):
    """The third, which has two widgets: alive in the page, and pictures in their sections where no script runs."""
    monkeypatch.setenv("GAHB_ROOT", str(root))
    path = tmp_path / "03_transition.html"
    path.write_text(page.html(smoke_run("03_transition")), encoding="utf-8")
    with browsing.browser() as chrome:
        tab, troubles = opened(chrome, path)
        browsing.settle(tab)
        assert tab.locator("mjx-container").count() > 10 and tab.locator("mjx-merror").count() == 0
        assert all(browsing.moves(tab, widget) > 0 for widget in browsing.alive(tab, 2))
        tab, silent = opened(chrome, path, java_script_enabled=False)
        for place in tab.locator(".gahb-lazy").all():
            assert place.locator("xpath=ancestor::section[1]").locator("img").first.is_visible()
        assert troubles == silent == []
