"""A chapter in Sphinx: brought up to date before its page is built, and never lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tiny_chapters import write

SPHINX = """
import sys
sys.path.insert(0, {ext!r})
extensions = ["myst_nb", "papermill_pages"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["notebooks", "_build", "jupyter_execute", "**.failed.ipynb"]
root_doc = "index"
"""
INDEX = "# Book\n\n```{toctree}\nbook/_executed/01_tiny\n```\n\n```{claims-ledger}\n```\n"
SOME = "\n```{claims-ledger}\n:verdicts: open, falls short\n```\n"
COUNTS = f"\n```{{claims-count}}\n```\n{SOME}\nSee {{claim}}`x` and {{claim}}`y`.\n"


def test_a_failing_cell_fails_the_build_and_keeps_the_last_good_page(tree, root):
    (tree / "conf.py").write_text(SPHINX.format(ext=str(root / "book" / "_ext")))
    (tree / "index.md").write_text(INDEX + COUNTS)
    (tree / "notebooks" / "claims.yaml").write_text(
        "- {id: x, chapter: 01_tiny, statement: 'about $x^2$', source: eq. 3, at_most: 1}\n"
        "- {id: y, chapter: 01_tiny, statement: never checked, source: eq. 4, at_most: 1, known: '$y$ in a trial'}\n"
    )
    environment = {**os.environ, "GAHB_PROFILE": "book"}

    def build() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-b", "html", ".", "_build"]
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    code = (
        "from gahb import claims\nclaims.begin(chapter='01_tiny', profile=profile)\nclaims.check('x', 0.25)"
    )
    write(tree, "01_tiny", code)
    done = build()
    assert done.returncode == 0, done.stderr
    assert "chapters: ran 01_tiny" in done.stdout
    page, ledger = tree / "_build" / "book" / "_executed" / "01_tiny.html", tree / "_build" / "index.html"
    good = page.read_bytes()
    assert b'id="claim-x"' in good
    text = ledger.read_text()
    assert "Claims: 2 (holds 1, not measured 1)." in text
    assert 'href="book/_executed/01_tiny.html#claim-x"' in text
    assert re.search(r'See <a [^>]*#claim-x">0.25, holds</a> and <a [^>]*tiny.html">not measured</a>', text)
    assert re.search(r"<p>None.</p>", text)  # none is open, none falls short
    assert [re.findall(r"<p>(.+?)</p>", row) for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)[-3:]] == [
        ["Chapter", "holds", "not measured"], ["1", "1", "1"], ["all", "1", "1"],
    ]  # fmt: skip
    assert 'class="math' in text
    assert re.findall(r'<p class="gahb-known">known before: <span class="math.*?</span> in a trial</p>', text)
    assert text.count("known before") == 1  # nothing was, of the other claim

    write(tree, "01_tiny", code, prose="A new sentence.")
    done = build()
    assert done.returncode == 0, done.stderr
    assert "chapters: all up to date, none run" in done.stdout
    assert "A new sentence." in page.read_text()

    good = page.read_bytes()
    write(tree, "01_tiny", code, "raise RuntimeError('as planned')")
    done = build()
    assert done.returncode != 0
    assert "raised RuntimeError: as planned; the half-run notebook is" in done.stderr
    assert (tree / "book" / "_executed" / "01_tiny.failed.ipynb").exists()
    assert page.read_bytes() == good

    environment["GAHB_PROFILE"] = "vast"
    done = build()
    assert done.returncode != 0
    assert "unknown profile 'vast'; there are: book, paper, smoke" in done.stderr
