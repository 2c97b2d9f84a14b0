"""Sphinx extension: what stands below a chapter's title.

How long it takes to read, what its claims came to, its checks, the line that
runs it again, and where its notebook can be opened. Everything is taken from
the page and from its executed notebook when the page is written, so that the
notebooks hold none of it.
"""

from __future__ import annotations

import html
import math
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from gahb import claims
from gahb.book import chapters, running

from .claims_display import checks_table, counted, is_check, sign_and_word, style_of
from .run_chapters import executed_folder

WORDS_A_MINUTE = 200
UNREAD = (nodes.math, nodes.math_block, nodes.literal_block, nodes.raw, nodes.comment, nodes.substitution_definition)
IN_COLAB = """!git clone -q --depth 1 -b {branch} {url}
%cd {folder}
%pip install -q . "myst-nb>=1.3,<2" "anywidget>=0.9.18,<0.12\""""


def words(document: nodes.Node) -> int:
    """Words of prose: titles, text and captions; no code, no outputs, no formulas."""
    said = (text.astext() for text in document.findall(nodes.Text) if _is_prose(text))
    return sum(any(map(str.isalnum, word)) for text in said for word in text.split())


def _is_prose(text: nodes.Text) -> bool:
    node, caption = text.parent, False
    while node is not None:
        caption = caption or isinstance(node, nodes.caption)
        if isinstance(node, UNREAD) or ("cell" in node.get("classes", ()) and not caption):
            return False
        node = node.parent
    return True


def opened_in(url: str, branch: str, stem: str) -> dict[str, str]:
    """Where the committed notebook can be opened, by name; only a repository on GitHub can."""
    host, _, path = url.partition("github.com/")
    if host not in ("https://", "http://") or not path:
        return {}
    return {
        "Colab": f"https://colab.research.google.com/github/{path}/blob/{branch}/notebooks/{stem}.ipynb",
        "Binder": f"https://mybinder.org/v2/gh/{path}/{branch}?urlpath=lab/tree/notebooks/{stem}.ipynb",
    }


def elsewhere(app: Sphinx, stem: str) -> tuple[str, str]:
    """HTML of the links that open the notebook elsewhere, and of what Colab needs first; empty without a repository."""
    named = chapters.repository(app.srcdir)
    places = opened_in(*named, stem) if named else {}
    if not places:
        return "", ""
    url, branch = named
    hints = {"Colab": ' title="its first cell needs the lines of “Rerun this chapter”"'}
    links = "".join(
        f'<a class="gahb-open" href="{address}"{hints.get(name, "")}>Open in {name}</a>'
        for name, address in places.items()
    )
    first = IN_COLAB.format(url=url, branch=branch, folder=url.rpartition("/")[2])
    return links, (
        "<p>Binder brings everything along. In Colab, which opens a notebook without its repository, "
        f"run these lines in a cell of their own first:</p>\n{code(first)}"
    )


def head(app: Sphinx, chapter: chapters.Chapter, length: int) -> str:
    """The box below the title, as HTML."""
    path = executed_folder(app.srcdir) / f"{chapter.stem}.ipynb"
    found, about = running.claims_of(path), running.record_of(path)
    minutes = math.ceil(length / WORDS_A_MINUTE)
    profile, _, changes = about["profile"].partition(", with ")  # a re-run says what it was given
    again = f"gahb rerun {chapter.name}{f' --profile {profile}' * (profile != 'book')} --out runs/"
    links, colab = elsewhere(app, chapter.stem)
    stated, checks = [c for c in found if not is_check(c)], [c for c in found if is_check(c)]
    return f"""<aside class="gahb-head" aria-label="About this chapter">
<p class="gahb-byline"><span>{minutes} min to read</span> <span>ran in {duration(about["seconds"])}</span> {links}</p>
{verdicts(stated)}{checks_table(checks)}<details class="gahb-rerun"><summary>Rerun this chapter</summary>
{code(again + (f"  # with {changes}" if changes else ""))}
<p>In a clone of the repository; <code>-p NAME VALUE</code> changes a parameter of the first cell.</p>
{colab}</details>
</aside>"""


def verdicts(found: list[claims.Claim]) -> str:
    """The claims, folded under their count."""
    if not found:
        return ""
    items = "\n".join(
        f'<li class="{style_of(claim)}"><a class="gahb-verdict" href="#claim-{claim.id}">{sign_and_word(claim)}</a> '
        f"<span>{claims.inline(claim.statement)}</span></li>"
        for claim in found
    )
    total = f"{len(found)} claim{'s' * (len(found) > 1)}"
    return f'<details class="gahb-verdicts"><summary>{total}: {counted(found)}</summary><ul>{items}</ul></details>\n'


def code(text: str) -> str:
    """A block of code that the page gives a copy button."""
    return f'<div class="highlight notranslate"><pre>{html.escape(text)}</pre></div>'


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def put_head(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Handler of doctree-resolved."""
    if app.builder.format != "html":
        return
    for chapter in chapters.chapters(Path(app.srcdir)):
        if docname == f"book/_executed/{chapter.stem}":
            title = document.next_node(nodes.title)
            below = title.parent.index(title) + 1
            title.parent.insert(below, nodes.raw("", head(app, chapter, words(document)), format="html"))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", put_head)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
