"""Sphinx extension: executed chapters are brought up to date before the pages are built.

- At the start of a build every chapter whose code, parameters or `gahb`
  sources have changed is run with papermill into `book/_executed`, in the
  profile that GAHB_PROFILE names (default: book). A failing cell ends the
  build there: the pages of the last good build stay as they are.
- The directive `{claims-ledger}` is the table of all claims.
- What Jupyter Book adds for live cells on a remote server is taken out: this
  book's pages ask no other host for anything.
"""

from __future__ import annotations

import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective

from gahb import claims, notebooks


class ChapterError(SphinxError):
    category = "Chapter"


def run_chapters(app: Sphinx, config) -> None:
    root = Path(app.srcdir)
    profile = os.environ.get("GAHB_PROFILE") or "book"
    try:
        ran = notebooks.bring_up_to_date(root, executed_folder(root), profile, tell=say)
    except (notebooks.ChapterFailed, notebooks.InputError) as error:
        raise ChapterError(str(error)) from None
    say(f"chapters: ran {', '.join(ran)}" if ran else "chapters: all up to date, none run")


def say(line: str) -> None:
    """To the terminal, under `jupyter-book build -q` too: chapters take minutes."""
    print(line, flush=True)


def executed_folder(root: Path) -> Path:
    return root / "book" / "_executed"


def drop_thebe(app: Sphinx, config) -> None:
    """Jupyter Book turns sphinx-thebe on; its script names a CDN and declares a constant twice."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    app.registry.css_files[:] = [
        (name, attrs) for name, attrs in app.registry.css_files if "thebe" not in name
    ]


class ClaimsLedger(SphinxDirective):
    """The table of all claims, one row each, with a link to where it was checked."""

    headings = ("Claim", "Source", "Expected", "Measured", "Profile", "Verdict")

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        self.env.note_dependency(str(root / "notebooks" / "claims.yaml"))
        rows, found = [], []
        for chapter in notebooks.chapters(root):
            path = executed_folder(root) / f"{chapter.stem}.ipynb"
            if not path.exists():
                continue
            self.env.note_dependency(str(path))
            checked = notebooks.claims_of(path)
            found += checked
            rows += [self.row(chapter, claim) for claim in checked]
            missing = {c.id: c for c in claims.load(root) if c.chapter == chapter.stem}
            for claim in checked:
                missing.pop(claim.id, None)
            rows += [self.row(chapter, expectation) for expectation in missing.values()]
        if not rows:
            return [nodes.paragraph("", "No claim has been checked yet.")]
        return [nodes.paragraph("", summary(found, len(rows))), self.table(rows)]

    def row(self, chapter: notebooks.Chapter, claim: claims.Expectation) -> nodes.row:
        measured = isinstance(claim, claims.Claim)
        verdict = claim.verdict if measured else "not measured"
        text = [claim.expected, claim.found if measured else "–", claim.profile if measured else "–"]
        row = nodes.row(classes=[f"gahb-claim-{verdict.replace(' ', '-')}"], ids=[f"ledger-{claim.id}"])
        for content in (
            self.prose(claim.statement),
            self.prose(claim.source),
            *(nodes.Text(t) for t in text),
        ):
            row += nodes.entry(
                "", content if isinstance(content, nodes.paragraph) else nodes.paragraph("", "", content)
            )
        said = f"{claims.VERDICTS.get(verdict, '–')} {verdict}"
        page = f"book/_executed/{chapter.stem}"
        link = nodes.Text(f"chapter {chapter.number}")
        if page in self.env.found_docs:
            anchor = f"#claim-{claim.id}" if measured else ""
            uri = self.env.app.builder.get_relative_uri(self.env.docname, page) + anchor
            link = nodes.reference("", f"chapter {chapter.number}", refuri=uri, internal=True)
        row += nodes.entry(
            "",
            nodes.paragraph("", "", nodes.inline("", said, classes=["gahb-verdict"]), nodes.Text(", "), link),
        )
        return row

    def prose(self, text: str) -> nodes.paragraph:
        """Text with its mathematics, as the page's own parser reads it."""
        content, messages = self.state.inline_text(text, self.lineno)
        return nodes.paragraph("", "", *content, *messages)

    def table(self, rows: list[nodes.row]) -> nodes.table:
        group = nodes.tgroup(cols=len(self.headings))
        group += [nodes.colspec(colwidth=width) for width in (34, 16, 14, 14, 10, 12)]
        head = nodes.row()
        head += [nodes.entry("", nodes.paragraph("", text)) for text in self.headings]
        group += [nodes.thead("", head), nodes.tbody("", *rows)]
        return nodes.table("", group, classes=["gahb-ledger"])


def summary(found: list[claims.Claim], total: int) -> str:
    counts = {verdict: sum(claim.verdict == verdict for claim in found) for verdict in claims.VERDICTS}
    counts["not measured"] = total - len(found)
    parts = ", ".join(f"{verdict} {count}" for verdict, count in counts.items() if count)
    return f"Claims: {total} ({parts})."


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", run_chapters)
    app.connect("config-inited", drop_thebe)
    app.add_directive("claims-ledger", ClaimsLedger)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
