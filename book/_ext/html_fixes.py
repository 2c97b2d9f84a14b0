"""Sphinx extension: corrections of what the tools around this book write into its pages.

- Each entry of FIXES names a fault, which makes a page invalid or unusable for
  some, and the tool that has it; tests/browser runs axe-core, and `make lint`
  html-validate, over what comes out.
- Pictures are fetched when the reader comes near.
- What Jupyter Book adds for live cells on a remote server is taken out: this
  book's pages ask no other host for anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

Replacement = str | Callable[[re.Match], str]

FROM_DISK = """<p class="gahb-from-disk">This book was opened from a disk: the pages that hold your words are listed,
without the lines that do. Over http, from any server, they are quoted too.</p>
<script>
  if (location.protocol === "file:") {
    document.documentElement.classList.add("gahb-on-disk");
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }
</script>
"""
FIXES: tuple[tuple[str, Replacement], ...] = (
    # myst-nb: a label that says less than the words it covers, and paragraphs where only phrases may stand
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'(?<=<summary>\n)<p class="(collapsed|expanded) admonition-title">(.*?)</p>',
     r'<span class="\1 admonition-title">\2</span>'),
    (r'(?<=</span>\n)<p class="expanded admonition-title">(.*?)</p>(?=\n</summary>)',
     r'<span class="expanded admonition-title">\1</span>'),
    # docutils: a list of citations whose children are no list items
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r'(<div class="citation" id="[^"]*") role="doc-biblioentry">', r"\1>"),
    # pydata-sphinx-theme: names of buttons that leave out what can be read on them
    (r'(<button class="btn search-button-field[^>]*) aria-label="Search"', r"\1"),
    (r'<span class="search-button__kbd-shortcut">', '<span class="search-button__kbd-shortcut" aria-hidden="true">'),
    # Sphinx: a page opened from a disk may not read others, so that a search can't quote what it finds
    (r'(?=<div id="search-results"></div>)', FROM_DISK),
    # pydata-sphinx-theme: 1.5 MB of script for a dozen icons, which the theme's style sheet draws as well
    (r'\n\s*<script defer src="[^"]*scripts/fontawesome\.js[^"]*"></script>', ""),
    (r'(<i class="theme-switch [^>]*?) title="[^"]*"></i>', r'\1 aria-hidden="true"></i>'),
)  # fmt: skip
PICTURE = r'<img (?P<rest>(?![^>]*\b(?:loading|width)=)[^>]*\bsrc="(?P<src>[^":]*_images/[^"]*\.(?:png|webp))"[^>]*)>'
REDIRECT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={url}">
</head>
<body><p><a href="{url}">{title}</a></p></body>
</html>
"""


def fixed(page: str) -> str:
    """The page with every entry of FIXES applied and no id of a proof given twice; what is fixed stays as it is."""
    for fault, replacement in FIXES:
        page = re.sub(fault, replacement, page)
    for name in ("proof", "proof-content"):  # sphinx-proof's: one id for all proofs, another for all theorems' bodies
        first, *others = page.split(f' id="{name}"')
        page = first + "".join(f' id="{name}{f"-{k}" if k else ""}"{text}' for k, text in enumerate(others))
    return page


def lazy_pictures(page: str, folder: Path) -> str:
    """The page with each picture of `_images` fetched when it comes near, its place kept by its width and height."""

    def tag(match: re.Match) -> str:
        with Image.open(folder / match["src"]) as picture:
            width, height = picture.size
        return f'<img loading="lazy" width="{width}" height="{height}" {match["rest"]}>'

    return re.sub(PICTURE, tag, page)


def without_dead_backlinks(page: str, folder: Path) -> str:
    """The page without links from source code to documentation that is not there.

    sphinx.ext.viewcode takes all names of a module for attributes of one package, and ours are documented
    as attributes of several.
    """

    def link(match: re.Match) -> str:
        target = folder / match["page"]
        return match[0] if target.is_file() and f'id="{match["id"]}"' in target.read_text(encoding="utf-8") else ""

    return re.sub(r'<a class="viewcode-back" href="(?P<page>[^"#]*)#(?P<id>[^"]*)">\[docs\]</a>', link, page)


def valid_source_code(page: str) -> str:
    """A page of sphinx.ext.viewcode, whose blocks stand where only phrases may, and whose lists stand in lists."""

    def phrases(match: re.Match) -> str:
        return match[0].replace("<div class=", "<span class=").replace("</div>", "</span>")

    def one_list(match: re.Match) -> str:
        return match[0][:4] + re.sub(r"</?ul>", "", match[0][4:]) + "</ul>"

    page = re.sub(r"<pre>.*?</pre>", phrases, page, flags=re.DOTALL)
    return re.sub(r"<ul>(?:</?ul>|<li><a [^>]*>[^<]*</a></li>|\s)*</ul>(?=\s*</article>)", one_list, page)


def fix_pages(app: Sphinx, error: Exception | None) -> None:
    """Handler of build-finished: every page is fixed in place, and the book's front door gets a title."""
    if error or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for path in out.rglob("*.html"):
        if "_static" in path.relative_to(out).parts:
            continue
        page, place = path.read_text(encoding="utf-8"), path.parent
        better = without_dead_backlinks(lazy_pictures(fixed(page), place), place)
        if "_modules" in path.relative_to(out).parts:
            better = valid_source_code(better)
        if better != page:
            path.write_text(better, encoding="utf-8")
    if (root := app.config.root_doc) != "index":
        door = REDIRECT.format(title=app.config.html_title, url=app.builder.get_target_uri(root))
        (out / "index.html").write_text(door, encoding="utf-8")


def drop_thebe(app: Sphinx, config) -> None:
    """Jupyter Book turns sphinx-thebe on; its script names a CDN and declares a constant twice."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    app.registry.css_files[:] = [
        (name, attrs) for name, attrs in app.registry.css_files if "thebe" not in name
    ]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", drop_thebe)
    app.connect("build-finished", fix_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
