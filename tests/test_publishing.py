"""What readers find around the chapters: valid pages, heads, ledger, run times, typeface, ways to run elsewhere."""

from __future__ import annotations

import ast
import json
import math
import re
import stat
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from bs4 import BeautifulSoup
from matplotlib import font_manager

from gahb import figures
from gahb.book import chapters, running


def executed(root: Path) -> list[chapters.Chapter]:
    contents = (root / "_toc.yml").read_text()
    return [chapter for chapter in chapters.chapters(root) if f"_executed/{chapter.stem}\n" in contents]


def chapter_file(clone: Path, chapter: chapters.Chapter) -> Path:
    return clone / "book" / "_executed" / f"{chapter.stem}.ipynb"


def claims_and_record(clone: Path, chapter: chapters.Chapter) -> tuple:
    path = chapter_file(clone, chapter)
    return running.claims_of(path), running.record_of(path)


def is_check(claim) -> bool:
    return claim.kind == "check"


def soup(site: Path, page: str) -> BeautifulSoup:
    """The article of a page; the widgets' state after it takes long to read."""
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    text = re.sub(r'<script type="application/.*?</script>', "", text, flags=re.DOTALL)
    return BeautifulSoup(text[text.index("<article") : text.index("</article>") + 10], "html.parser")


# ------------------------------------------------------------------ the pages


def test_no_link_depends_on_where_the_site_lies(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"""\b(?:href|src|action)=["']/[^"']*""", text), path.name
        assert "file://" not in text, path.name


def test_head_of_each_chapter_says_what_its_notebook_says(site, clone):
    for chapter in executed(clone):
        page = soup(site, f"book/_executed/{chapter.stem}")
        head = page.select_one("aside.gahb-head")
        found, about = claims_and_record(clone, chapter)
        claims = [claim for claim in found if not is_check(claim)]
        rerun = head.select_one("pre").text
        assert rerun.split()[:3] == ["gahb", "rerun", chapter.name]
        assert ("--profile" in rerun) == (about["profile"] != "book")

        verdicts = [a.text.split(maxsplit=1)[1] for a in head.select("li a.gahb-verdict")]
        assert verdicts == [claim.verdict for claim in claims]
        ids = {node["id"] for node in page.select("[id]")}
        assert {a["href"][1:] for a in head.select("li a.gahb-verdict")} <= ids
        checks = [claim.id for claim in found if is_check(claim)]
        assert [row["id"] for row in head.select(".gahb-checks tbody tr")] == [f"claim-{name}" for name in checks]
        assert [node["id"] for node in page.select("details.gahb-claim")] == [f"claim-{claim.id}" for claim in claims]
        said = head.select_one(".gahb-verdicts summary").text
        assert said.startswith(f"{len(claims)} claim")
        assert sum(map(int, re.findall(r"(\d+) (?!claim)", said))) == len(claims)

        minutes = int(re.match(r"(\d+) min", head.select_one(".gahb-byline").text.strip())[1])
        # a rough count of our own: text and captions that a reader sees, without code, outputs, formulas and the head
        article = page.select_one("article")
        captions = sum(len(caption.text.split()) for caption in article.select("div.cell figcaption"))
        for node in article.select("aside.gahb-head, pre, .math, div.cell, .headerlink, script, .prev-next-footer"):
            node.decompose()
        assert abs(minutes - math.ceil((captions + len(article.text.split())) / 200)) <= 1


# ----------------------------------------------------- claims, run times, introduction


def test_ledger_has_every_claim_once_and_links_to_its_cell(site, clone):
    page = soup(site, "book/claims")
    found = [claim for chapter in executed(clone) for claim in claims_and_record(clone, chapter)[0]]
    rows = page.select("table.gahb-ledger tbody tr")

    def is_measured(row) -> bool:
        return not row.select("td")[4].text.strip().endswith(("replaced", "not measured"))

    measured = [row for row in rows if is_measured(row)]
    expected = sorted(found, key=is_check)  # claims first
    assert [row["id"] for row in measured] == [f"ledger-{claim.id}" for claim in expected]
    for row, claim in zip(measured, expected, strict=True):
        cells = [" ".join(cell.text.split()) for cell in row.select("td")]
        assert cells[1:4] == [claim.expected, claim.found, claim.profile]
        assert cells[4].endswith(claim.verdict)
        assert row.select_one("td:last-child a")["href"] == f"_executed/{claim.chapter}.html#claim-{claim.id}"


def test_run_times_are_those_of_the_notebooks(site, clone):
    page = soup(site, "book/reproducing")
    table = next(t for t in page.select("table") if "memory at its peak" in t.text)
    rows = [[cell.text.strip() for cell in row.select("td")] for row in table.select("tbody tr")]
    for chapter, row in zip(executed(clone), rows):
        about = claims_and_record(clone, chapter)[1]
        assert row[0].startswith(f"{chapter.number} ")
        assert row[1] == about["profile"]
        number, unit = row[2].split()
        assert float(number) * {"s": 1, "min": 60}[unit] == pytest.approx(about["seconds"], abs=3.1)
    assert rows[-1][0] == "all chapters"


def test_map_leads_to_every_chapter(site, root):
    page = soup(site, "book/intro")
    links = [a["href"] for a in page.select(".gahb-map a")]
    assert links == [f"_executed/{chapter.stem}.html" for chapter in executed(root)]
    assert len(page.select(".gahb-map li")) >= len(links)


def test_numbers_of_the_story_are_measured(site):
    """Its images do what the words say: denoised is closer to clean than noisy was, twins nearly agree."""
    text = soup(site, "book/intro").select_one(".gahb-story").text
    before, after = map(int, re.search(r"from (\d+) to (\d+) dB", text).groups())
    assert after > before + 8
    assert float(re.search(r"similarity ([\d.]+)", text)[1]) > 0.9


# ------------------------------------------------------------------- run elsewhere


def test_binder_installs_what_the_lock_pins(root):
    lines = (root / "binder" / "requirements.txt").read_text().splitlines()
    assert "-c ../requirements.lock" in lines
    assert "-e .[lab]" in lines
    postbuild = root / "binder" / "postBuild"
    assert postbuild.stat().st_mode & stat.S_IXUSR
    assert subprocess.run(["bash", "-n", str(postbuild)], check=False).returncode == 0
    lowest = re.search(r'requires-python = ">=([\d.]+)"', (root / "pyproject.toml").read_text())[1]
    runtime = (root / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert tuple(map(int, runtime.split("."))) >= tuple(map(int, lowest.split(".")))


def test_lab_opens_the_text_of_a_chapter_as_a_notebook(root, tmp_path):
    """What `make lab` sets: markdown goes to jupytext's notebook viewer, and a pair is kept in step."""
    folder = root / "book" / "lab"
    settings = json.loads((folder / "labconfig" / "default_setting_overrides.json").read_text())
    viewers = settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers["markdown"] == viewers["myst"] == "Jupytext Notebook"
    assert "JUPYTER_CONFIG_PATH" in (root / "Makefile").read_text()

    script = """if True:
        import sys
        from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class
        from jupyter_server.services.contents.largefilemanager import LargeFileManager
        manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=sys.argv[1])
        model = manager.get("01_tiny.md", content=True, type="notebook")
        assert model["type"] == "notebook", model["type"]
        cells = model["content"]["cells"]
        next(c for c in cells if c["cell_type"] == "code")["source"] = "b = 2"
        manager.save(model, "01_tiny.md")
    """
    (tmp_path / "jupytext.toml").write_text((root / "notebooks" / "jupytext.toml").read_text())
    header = (root / "notebooks" / "01_miyasawa.md").read_text().split("\n---\n")[0] + "\n---\n"
    (tmp_path / "01_tiny.md").write_text(header + "\n# Tiny\n\n```{code-cell} ipython3\na = 1\n```\n")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "b = 2" in (tmp_path / "01_tiny.md").read_text()
    assert "b = 2" in (tmp_path / "01_tiny.ipynb").read_text()


# ------------------------------------------------------------------ the typeface of figures


def strings_of(code: str) -> set[str]:
    return {n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_figures_have_every_sign_that_chapters_write(root):
    """matplotlib takes no second font within a label that has a formula: it would draw a box, and warn."""
    with matplotlib.rc_context():
        figures.use_style()
        family = matplotlib.rcParams["font.family"]
        path = font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
    known = font_manager.get_font(path).get_charmap()
    sources = [cell.source for chapter in chapters.chapters(root) for cell in chapters.source(chapter).cells
               if cell.cell_type == "code"]  # fmt: skip
    sources += [path.read_text(encoding="utf-8") for path in Path(figures.__file__).parent.glob("*.py")]
    strings = set().union(*map(strings_of, sources))
    signs = {sign for text in strings for sign in text if sign.isprintable()}
    assert "σ" in signs
    assert {sign for sign in signs if ord(sign) not in known} == set()
