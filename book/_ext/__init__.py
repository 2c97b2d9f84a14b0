"""The Sphinx extensions of the book.

| module | what it adds |
|---|---|
| `run_chapters` | brings `book/_executed/*.ipynb` up to date before the pages are built |
| `claims_display` | claims and checks in the chapters, the table of all, `{claims-count}`, `` {claim}`id` `` |
| `chapter_head` | reading time, verdicts, and how to rerun a chapter, below its title |
| `introduction` | the pictures of the introduction: `{story}`, `{argument-map}` |
| `zoo_page`, `live_page` | the networks that ship: `{zoo}`, `{live-denoiser}` |
| `worked_example` | code with what it prints and draws: `{worked-example}` |
| `lazy_widgets` | widgets of the chapters, fetched once they are near the screen |
| `run_times` | how long chapters and training took, with which versions |
| `docstrings` | formulas in gahb's docstrings, for autodoc and napoleon |
| `html_fixes` | pages as valid and accessible HTML |
| `cache` | results that take long to compute, stored under a hash of their sources |
"""

from sphinx.application import Sphinx

MODULES = ("run_chapters", "claims_display", "chapter_head", "introduction", "zoo_page", "live_page", "worked_example",
           "lazy_widgets", "run_times", "docstrings", "html_fixes")  # fmt: skip


def setup(app: Sphinx) -> dict:
    for module in MODULES:
        app.setup_extension(f"{__name__}.{module}")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
