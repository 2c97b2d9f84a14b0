r"""A re-run chapter as one HTML file.

Sphinx builds it with the configuration and the extensions of the book. The
other chapters are read with it, as they are committed, so that numbers and
references are those of the book; only the page of the re-run chapter is
written. Then everything that it loads is put into the file itself: style,
scripts, pictures, widgets, MathJax. The page needs neither network nor
neighbours, on any machine. Without JavaScript every widget has its pictures.

Where MathJax has not been fetched (`make vendor`), formulas become MathML,
which browsers set themselves, less well.
"""

from __future__ import annotations

import base64
import html as entities
import io
import mimetypes
import re
import sys
import tempfile
import warnings
from pathlib import Path
from urllib.parse import unquote

from .._files import root
from .chapters import Chapter, chapters
from .running import record_of

MATHJAX = "vendor/mathjax/tex-svg.js"  # below book/_static; it carries its letters with it
EXTENSIONS = ("_ext.claims_display", "_ext.chapter_head", "_ext.lazy_widgets", "_ext.html_fixes")
REFERENCES = "## References\n\n```{bibliography}\n:filter: docname in docnames\n```\n"
SETTINGS = {
    "nb_execution_mode": "off",
    "html_theme_options": {
        "search_bar_text": "", "article_header_start": [], "article_header_end": [], "navbar_persistent": [],
        "footer_content_items": [], "show_prev_next": False, "secondary_sidebar_items": ["page-toc"],
    },
    "html_sidebars": {"**": []},
    "html_copy_source": False,
    "mathjax_path": MATHJAX,
}  # fmt: skip


def html(path: Path) -> str:
    """The executed notebook at `path` as one HTML file."""
    clone = root()
    with tempfile.TemporaryDirectory() as folder:
        source, stem = Path(folder), record_of(path).get("chapter", path.stem)
        _gather(clone, source, stem, path)
        _build(clone, source, f"book/_executed/{stem}")
        page = source / "_build" / "book" / "_executed" / f"{stem}.html"
        text = _alone(page.read_text(encoding="utf-8"), page.name)
        if not (clone / "book" / "_static" / MATHJAX).is_file():
            text = _with_mathml(text)
        return _inlined(text, page.parent)


# ------------------------------------------------------------------ the build


def _gather(clone: Path, source: Path, stem: str, path: Path) -> None:
    """The chapters of the book as the sources of a small one, the notebook at `path` in the place of its chapter."""
    import nbformat

    place = source / "book" / "_executed"
    place.mkdir(parents=True)
    every = chapters(clone)
    for chapter in every:
        notebook = nbformat.read(path, 4) if chapter.stem == stem else _unexecuted(chapter)
        if chapter.stem == stem and "{cite" in "".join(cell.source for cell in notebook.cells):
            notebook.cells.append(nbformat.v4.new_markdown_cell(REFERENCES))
        nbformat.write(notebook, place / f"{chapter.stem}.ipynb")
    (source / "notebooks").symlink_to(clone / "notebooks")
    for name in ("_config.yml", "book/references.bib", "book/_static"):
        if (clone / name).exists():
            (source / name).symlink_to(clone / name)
    (source / "index.md").write_text("# Book\n\n" + "\n".join(_contents(clone, every)), encoding="utf-8")


def _contents(clone: Path, every: list[Chapter]) -> list[str]:
    """Tables of contents with the chapters in the order of the book, numbered where it numbers them."""
    import yaml

    path, left = clone / "_toc.yml", [f"book/_executed/{chapter.stem}" for chapter in every]
    parts = yaml.safe_load(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else []
    found = [(part.get("numbered"), [page["file"] for page in part["chapters"]]) for part in parts]
    listed = {name for _, names in found for name in names}
    found.append((True, [name for name in left if name not in listed]))
    return [
        "```{toctree}\n" + ":numbered:\n" * bool(numbered) + "\n" + "\n".join(n for n in names if n in left) + "\n```\n"
        for numbered, names in found if any(name in left for name in names)
    ]


def _unexecuted(chapter: Chapter):
    from .chapters import source

    return source(chapter)


def _build(clone: Path, source: Path, page: str) -> None:
    """Read all chapters and write `page` into _build; warnings are about what lies outside of this small book."""
    from jupyter_book.config import get_final_config
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    known = clone / "_config.yml"
    config, _ = get_final_config(user_yaml=known if known.is_file() else {}, cli_config=_cli(), use_external_toc=False)
    left_out = ("_ext", "sphinx_thebe", "sphinx_external_toc", "sphinx.ext.autodoc", "sphinx.ext.viewcode")
    config["extensions"] = [name for name in config["extensions"] if name not in left_out] + list(EXTENSIONS)
    config |= SETTINGS | {"root_doc": "index", "exclude_patterns": ["_build", "notebooks", "book/_static"]}
    config.pop("external_toc_path", None)
    before = list(sys.path)
    sys.path.insert(0, str(clone / "book"))
    try:
        with patch_docutils(), docutils_namespace(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out, silent = source / "_build", io.StringIO()
            app = Sphinx(source, None, out, out / ".doctrees", "html", config, status=None, warning=silent)
            app.build(filenames=[str(source / f"{page}.ipynb")])
    finally:
        sys.path[:] = before


def _cli() -> dict:
    return {"latex_individualpages": False}


# ------------------------------------------------------------- one file of it


def _alone(page: str, name: str) -> str:
    """The page without ways to others: links that lead to them become text, buttons that need them go."""
    page = re.sub(r"<link [^>]*\brel=\"(?:index|search|next|prev|author|canonical)\"[^>]*>\s*", "", page)
    page = re.sub(r"<html\b[^>]*>", '<html lang="en" data-theme="light">', page, count=1)  # a script may darken it

    def text_of(match: re.Match) -> str:
        address = match["address"]
        if address.startswith(f"{name}#"):  # to a place on the page itself
            return match[0].replace(address, address[len(name) :])
        outside = re.match(r"#|https?:|mailto:|data:", address)
        return match[0] if outside else f"<span>{match['text']}</span>"

    return re.sub(r'<a\b[^>]*\bhref="(?P<address>[^"]*)"[^>]*>(?P<text>.*?)</a>', text_of, page, flags=re.DOTALL)


def _inlined(page: str, folder: Path) -> str:
    """The page with all that it loads from files below `folder` inside it."""
    late: list[str] = []  # scripts that wait for the end of the page

    def content(address: str) -> str:
        return (folder / unquote(address.partition("?")[0])).read_text(encoding="utf-8")

    def local(address: str) -> bool:
        return not re.match(r"[a-z]+:|//|#", address)

    def link(match: re.Match) -> str:
        tag, address = match[0], match["address"]
        if 'rel="stylesheet"' not in tag or not local(address) or "fontawesome" in address:
            return ""
        file = folder / unquote(address.partition("?")[0])
        return f"<style>{_style(content(address), file.parent)}</style>"

    def script(match: re.Match) -> str:
        file = folder / unquote(match["address"].partition("?")[0])
        if not (local(match["address"]) and file.is_file()):  # MathJax, where it has not been fetched
            return ""
        code = content(match["address"]).replace("</script", r"<\/script").replace("<!--", r"<\!--")
        if re.search(r"\b(?:defer|async)\b", match[0]):
            late.append(f"<script>{code}</script>")
            return ""
        return f"<script>{code}</script>"

    def widget(match: re.Match) -> str:
        name = Path(match["address"]).stem
        return f"<script>{content(match['address'])}</script>\n" + match[0].replace(match["address"], name)

    page = re.sub(r'<div class="gahb-lazy" data-widget="(?P<address>[^"]+\.js)"', widget, page)
    page = re.sub(r'<link\b[^>]*\bhref="(?P<address>[^"]*)"[^>]*>', link, page)
    page = re.sub(r'<script\b[^>]*\bsrc="(?P<address>[^"]*)"[^>]*>\s*</script>', script, page)
    page = re.sub(
        r'(?P<before><(?:img|source)\b[^>]*\bsrc=")(?P<address>[^"]*)"',
        lambda m: f'{m["before"]}{_data(folder / unquote(m["address"]))}"' if local(m["address"]) else m[0], page,
    )  # fmt: skip
    return page.replace("</body>", "\n".join([*late, "</body>"]))


def _style(css: str, folder: Path) -> str:
    """A style sheet with its fonts and pictures inside; of what is not there nothing is asked for."""

    def imported(match: re.Match) -> str:
        file = folder / match["address"]
        return _style(file.read_text(encoding="utf-8"), file.parent) if file.is_file() else ""

    def url(match: re.Match) -> str:
        if match["address"].startswith("data:"):
            return match[0]
        file = folder / unquote(re.split("[?#]", match["address"])[0])
        icons = file.name.startswith("fa-")  # 1.2 MB, for a few buttons that this page does not have
        return f'url("{_data(file)}")' if file.is_file() and not icons else 'url("data:,")'

    css = re.sub(r'@import\s+(?:url\()?["\']?(?P<address>[^"\')]+)["\']?\)?[^;]*;', imported, css)
    return re.sub(r"url\(\s*[\"']?(?P<address>[^\"')]*)[\"']?\s*\)", url, css).replace("</style", r"<\/style")


def _data(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


# ------------------------------------------------------------- without MathJax

# TeX that docutils does not know, and what says the same to it
_KNOWN_TEX = (
    (r"\{(split|gathered)\}", r"{aligned}"), (r"\\dots\b", r"\\ldots"), (r"\\\\\[[^\]]*\]", r"\\\\"),
)  # fmt: skip


def _with_mathml(page: str) -> str:
    r"""The page with every `\(…\)` and `\[…\]` of Sphinx's formulas as MathML."""

    def set_formula(match: re.Match) -> str:
        from docutils.utils.math import MathError, latex2mathml

        tex = entities.unescape(match["block"] or match["inline"]).strip()
        for unknown, known in _KNOWN_TEX:
            tex = re.sub(unknown, known, tex)
        try:
            return match["open"] + latex2mathml.tex2mathml(tex, as_block=bool(match["block"]))
        except MathError:
            return f"{match['open']}<code>{entities.escape(tex)}</code>"

    opened = r'(?P<open><(?:span|div) class="math notranslate nohighlight"[^>]*>(?:\s*<span class="eqno">.*?</span>)?)'
    return re.sub(
        opened + r"\s*(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])", set_formula, page, flags=re.DOTALL
    )
