"""A chapter in Sphinx: brought up to date before its page is built, and never lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import small_book
from sphinx.errors import SphinxError
from tiny_chapters import write

import gahb
from gahb.book import running

INDEX = "# Book\n\n```{toctree}\nbook/_executed/01_tiny\n```\n\n```{claims-ledger}\n```\n"
SOME = "\n```{claims-ledger}\n:verdicts: open, falls short\n```\n"
COUNTS = f"\n```{{claims-count}}\n```\n{SOME}\nSee {{claim}}`x` and {{claim}}`y`.\n"


def test_a_failing_cell_fails_the_build_and_keeps_the_last_good_page(tree, monkeypatch, capsys):
    (tree / "index.md").write_text(INDEX + COUNTS)
    (tree / "notebooks" / "claims.yaml").write_text(
        "- {id: x, chapter: 01_tiny, statement: 'about $x^2$', source: eq. 3, at_most: 1}\n"
        "- {id: y, chapter: 01_tiny, statement: never checked, source: eq. 4, at_most: 1, known: '$y$ in a trial'}\n"
    )
    monkeypatch.setattr(running, "PACKAGE", Path(gahb.__file__).parent)  # the real one, not the stand-in
    monkeypatch.setenv("GAHB_PROFILE", "book")

    def build() -> str:
        small_book.build(tree, "index", ["run_chapters", "claims_display"])
        return capsys.readouterr().out

    code = "from gahb import claims\nclaims.begin(chapter='01_tiny', profile=profile)\nclaims.check('x', 0.25)"
    write(tree, "01_tiny", code)
    assert "chapters: ran 01_tiny" in build()
    page, text = tree / "_build" / "book" / "_executed" / "01_tiny.html", (tree / "_build" / "index.html").read_text()
    assert '<details class="gahb-claim gahb-claim-holds" id="claim-x">' in page.read_text()
    assert "Claims: 2 (holds 1, not measured 1)." in text
    assert 'href="book/_executed/01_tiny.html#claim-x"' in text
    assert re.search(r'See <a [^>]*#claim-x">0.25, holds</a> and <a [^>]*tiny.html">not measured</a>', text)
    assert re.search(r"<p>None.</p>", text)  # none is open, none falls short
    assert [re.findall(r"<p>(.+?)</p>", row) for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)[-3:]] == [
        ["Chapter", "holds", "not measured"], ["1 tiny", "1", "1"], ["all", "1", "1"],
    ]  # fmt: skip
    assert 'class="math' in text
    assert re.findall(r'<p class="gahb-known">known before: <span class="math.*?</span> in a trial</p>', text)
    assert text.count("known before") == 1  # nothing was, of the other claim

    write(tree, "01_tiny", code, prose="A new sentence.")
    assert "chapters: all up to date, none run" in build()
    good = page.read_bytes()
    assert b"A new sentence." in good
    write(tree, "01_tiny", code, "raise RuntimeError('as planned')")
    with pytest.raises(SphinxError, match="raised RuntimeError: as planned; the half-run notebook is"):
        build()
    assert (tree / "book" / "_executed" / "01_tiny.failed.ipynb").exists()
    assert page.read_bytes() == good
    monkeypatch.setenv("GAHB_PROFILE", "vast")
    with pytest.raises(SphinxError, match="unknown profile 'vast'; there are: book, paper, smoke"):
        build()
