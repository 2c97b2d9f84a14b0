"""The book's Sphinx extensions, one by one: corrections of pages, heads of chapters, claims and checks, docstrings."""

from __future__ import annotations

import importlib
import json
from types import SimpleNamespace

import pytest
from docutils import nodes
from PIL import Image

from gahb import claims


@pytest.fixture(scope="module")
def ext(root):
    """A module of the extensions, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "book"))
        yield lambda name: importlib.import_module(f"_ext.{name}")


# ---------------------------------------------------------------- html_fixes


def test_a_page_that_is_fixed_stays_as_it_is(ext):
    fixed = ext("html_fixes").fixed
    faulty = (
        '<summary aria-label="Toggle hidden content">\n<p class="collapsed admonition-title">Show</p>\n'
        '<p class="expanded admonition-title">Hide</p>\n</summary><div id="proof"></div><div id="proof"></div>'
    )
    better = fixed(faulty)
    assert better == (
        '<summary>\n<span class="collapsed admonition-title">Show</span>\n'
        '<span class="expanded admonition-title">Hide</span>\n</summary><div id="proof"></div><div id="proof-1"></div>'
    )
    assert fixed(better) == better


def test_pictures_wait_for_the_reader_and_keep_their_place(ext, tmp_path):
    lazy_pictures = ext("html_fixes").lazy_pictures
    (tmp_path / "_images").mkdir()
    (tmp_path / "book").mkdir()
    Image.new("L", (30, 20)).save(tmp_path / "_images" / "a.png")
    page = '<img alt="a" src="../_images/a.png" /><img src="../_static/logo.svg"><img width="9" src="../_images/b.png">'
    better = lazy_pictures(page, tmp_path / "book")
    assert better == page.replace("<img alt", '<img loading="lazy" width="30" height="20" alt')
    assert lazy_pictures(better, tmp_path / "book") == better


def test_links_from_source_to_documentation_lead_somewhere(ext, tmp_path):
    (tmp_path / "api.html").write_text('<dt id="gahb.there">')
    there, gone = (f'<a class="viewcode-back" href="../api.html#gahb.{name}">[docs]</a>' for name in ("there", "gone"))
    (tmp_path / "_modules").mkdir()
    assert ext("html_fixes").without_dead_backlinks(f"{there} and {gone}.", tmp_path / "_modules") == f"{there} and ."


def test_source_code_is_valid_html(ext):
    page = """<ul><li><a href="a.html">a</a></li>
<li><a href="b.html">b</a></li>
<ul><li><a href="b/c.html">b.c</a></li>
</ul></ul>

</article><div><pre>
<div class="viewcode-block" id="f">
<span>def</span></div>
</pre></div>"""
    better = ext("html_fixes").valid_source_code(page)
    assert better.count("<ul>") == better.count("</ul>") == 1 and better.count("<li>") == 3
    assert '<pre>\n<span class="viewcode-block" id="f">\n<span>def</span></span>\n</pre></div>' in better
    assert better.count("<div>") == better.count("</div>") == 1


# -------------------------------------------------------------- chapter_head


def test_words_are_those_of_the_prose(ext):
    document = nodes.section(
        "", nodes.title("", "Two words"), nodes.paragraph("", "three more words", nodes.math("", "x = 1")),
        nodes.literal_block("", "not this code"),
        nodes.container("", nodes.paragraph("", "nor this output"), nodes.caption("", "a caption"), classes=["cell"]),
    )  # fmt: skip
    assert ext("chapter_head").words(document) == 2 + 3 + 2


@pytest.mark.parametrize(
    ("config", "links"),
    [
        ("title: x", 0),
        ("repository: {branch: main}", 0),
        ("repository: {url: 'https://gitlab.com/me/book'}", 0),  # neither Colab nor Binder's address is for it
        ("repository: {url: 'https://github.com/me/book.git', branch: trunk}", 2),
    ],
)
def test_a_chapter_can_be_opened_elsewhere_if_a_repository_is_named(ext, tmp_path, config, links):
    (tmp_path / "_config.yml").write_text(config)
    shown, first = ext("chapter_head").elsewhere(SimpleNamespace(srcdir=tmp_path), "01_tiny")
    assert shown.count("<a ") == links and bool(first) == bool(links)
    if links:
        assert 'href="https://colab.research.google.com/github/me/book/blob/trunk/notebooks/01_tiny.ipynb"' in shown
        assert 'href="https://mybinder.org/v2/gh/me/book/trunk?urlpath=lab/tree/notebooks/01_tiny.ipynb"' in shown
        assert "git clone -q --depth 1 -b trunk https://github.com/me/book\n%cd book\n" in first


def test_the_config_names_no_placeholder(root):
    assert "gahb-book" not in (root / "_config.yml").read_text()


# ------------------------------------------------------------- claims_display

CLAIM = claims.Claim(
    id="tiny.claim", chapter="01_tiny", statement="$x^2$ is < 1", source="eq. 3", at_most=1.0, known="a trial",
    measured=0.25, stderr=None, profile="book", verdict="holds",
)  # fmt: skip


def test_a_claim_is_one_line_that_folds_open(ext):
    html = ext("claims_display").claim_line(CLAIM)
    line, rest = html.split("</summary>")
    assert line.startswith('<details class="gahb-claim gahb-claim-holds" id="claim-tiny.claim"><summary>')
    assert "holds" in line and r"\(x^2\)" in line and "is &lt; 1" in line and "0.25" in line
    assert "expected ≤ 1" in rest and "known before: a trial" in rest and "eq. 3" in rest and "0.25" not in rest


def test_checks_stand_in_one_table_and_not_in_the_flow(ext, monkeypatch):
    display = ext("claims_display")
    check = claims.Claim(**(vars(CLAIM) | {"id": "tiny.check", "kind": "check", "verdict": "open"}))
    html = display.checks_table([check, check])
    assert "<summary>2 checks of the instruments: 2 open</summary>" in html
    assert html.count('<tr id="claim-tiny.check" class="gahb-claim-open">') == 2
    assert display.checks_table([]) == ""

    def output(claim) -> dict:
        return {"data": {"text/html": "as the notebook has it"}, "metadata": {claims.KEY: {"id": claim.id}}}

    by_id = {claim.id: claim for claim in (CLAIM, check)}
    monkeypatch.setattr(claims, "from_json", lambda record: by_id[record["id"]])
    other = {"data": {"text/plain": "3"}, "metadata": {}}
    cells = [{"source": "text"}, {"outputs": [output(CLAIM), other, output(check)]}, {"outputs": [output(check)]}]
    source = [json.dumps({"cells": cells})]
    app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda name: f"{name}.ipynb"))
    display.fold_records(app, "01_tiny", source)
    left = json.loads(source[0])["cells"]
    assert [len(cell.get("outputs", ())) for cell in left] == [0, 2, 0]
    assert left[1]["outputs"][0]["data"]["text/html"] == display.claim_line(CLAIM)
    assert left[1]["outputs"][1] == other


def test_counts_are_in_words(ext):
    counted = ext("claims_display").counted
    fallen = claims.Claim(**(vars(CLAIM) | {"verdict": "falls short"}))
    assert counted([CLAIM, CLAIM, fallen]) == "2 hold, 1 falls short"


def test_a_claim_that_was_replaced_is_counted_as_such(ext):
    kept = {name: getattr(CLAIM, name) for name in ("id", "chapter", "statement", "source", "at_most", "known")}
    replaced = claims.Expectation(**kept, replaced_by="tiny.other")
    assert ext("claims_display").counted([CLAIM, replaced]) == "1 holds, 1 replaced"


# ----------------------------------------------------------------- docstrings


def converted(ext, text: str) -> str:
    from sphinx.ext.napoleon import Config, NumpyDocstring

    lines = text.split("\n")
    ext("docstrings").process(None, "function", "f", None, None, lines)
    config = Config(napoleon_use_param=False, napoleon_use_rtype=False)
    return str(NumpyDocstring(lines, config, what="function"))


def test_docstrings_become_what_sphinx_reads(ext):
    text = r"""Costs ``$5``, and $\sigma$-noise; $$a
 = b$$

Parameters
----------
x, y : points, $x_k$
    of any shape.

Returns
-------
One number, and $x$
where it stands.

Raises
------
ValueError : if $x_k$ is
    negative.
TypeError where `y` is no tensor;
or `x` is none.
KeyError
    for a name.

Examples
--------
>>> print("$a$ : b", 2)
... # $c$
2
"""
    out = converted(ext, text)
    assert out.startswith(r"Costs ``$5``, and \ :math:`\sigma`\ -noise;")
    assert ".. math::\n\n    a\n    = b\n" in out
    assert r"**x, y** -- points, \ :math:`x_k`" in out and "of any shape." in out
    assert ":returns: One number, and \\ :math:`x`\\  where it stands." in out
    assert r":raises ValueError: if \ :math:`x_k`\  is" in out and "negative." in out
    assert ":raises TypeError: where `y` is no tensor;" in out and "\n    or `x` is none." in out
    assert ":raises KeyError: for a name." in out
    assert '>>> print("$a$ : b", 2)\n... # $c$' in out
    assert "----" not in out


# ---------------------------------------------------------------- worked_example


def test_a_worked_example_shows_its_code_what_it_prints_and_its_figure(ext, tmp_path, monkeypatch):
    module = ext("worked_example")
    monkeypatch.setattr(module, "code_of", lambda path: [])
    code = "import matplotlib.pyplot as plt\nprint('seen', 1 + 1)\nfigure, axes = plt.subplots()\nplt.close(figure)"
    text = module.made(tmp_path, code, "A caption.", "In words.")
    assert text.startswith(f"```python\n{code}\n```\n\n```text\nseen 2\n```\n\n:::{{figure}} /")
    assert ":alt: In words.\n" in text and text.endswith("\n\nA caption.\n:::\n")
    assert len(list(tmp_path.glob("*.png"))) == 1
    monkeypatch.setattr("builtins.exec", lambda *_: pytest.fail("it was run again"))
    assert module.made(tmp_path, code, "A caption.", "In words.") == text
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError):
        module.made(tmp_path, "1 / 0", "", "")
    assert "```text\nword word" in module.made(tmp_path, "print(40 * 'word ')", "", "")  # in several lines
    env = SimpleNamespace(found_docs={"book/copies"})
    assert module.outdated(None, env, *[None] * 3) == ["book/copies"]
    assert module.outdated(None, env, *[None] * 3) == []
