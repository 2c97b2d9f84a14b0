"""Sphinx extension: executed chapters are brought up to date before the pages are built.

- At the start of a build every chapter whose code, parameters or `gahb`
  sources have changed is run with papermill into `book/_executed`, in the
  profile that GAHB_PROFILE names (default: book), two at a time where there
  are two cores, since one chapter gains little from a second thread. A failing
  cell ends the build there: the pages of the last good build stay as they are.
- The directive `{claims-ledger}` is the table of all claims, or of those with
  given `verdicts`; `{claims-count}` counts them by chapter; the role
  `` {claim}`id` `` is what was measured for one, with its verdict.
- What Jupyter Book adds for live cells on a remote server is taken out: this
  book's pages ask no other host for anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective, SphinxRole

from gahb import claims
from gahb._validate import InputError
from gahb.book import chapters, running


class ChapterError(SphinxError):
    category = "Chapter"


def run_chapters(app: Sphinx, config) -> None:
    root = Path(app.srcdir)
    profile = os.environ.get("GAHB_PROFILE") or "book"
    try:
        jobs = min(2, running.cores())
        ran = running.bring_up_to_date(root, executed_folder(root), profile, tell=say, jobs=jobs)
    except (running.ChapterFailed, InputError) as error:
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


def ledger(env) -> list[tuple[chapters.Chapter, claims.Expectation]]:
    """Every claim of the executed chapters, a `Claim` where it was measured; when one changes, so does the page."""
    if "gahb_ledger" in env.temp_data:  # of this page
        return env.temp_data["gahb_ledger"]
    root, entries = Path(env.srcdir), []
    env.note_dependency(str(root / "notebooks" / "claims.yaml"))
    for chapter in chapters.chapters(root):
        path = executed_folder(root) / f"{chapter.stem}.ipynb"
        if not path.exists():
            continue
        env.note_dependency(str(path))
        checked = running.claims_of(path)
        missing = {c.id: c for c in claims.load(root) if c.chapter == chapter.stem}
        for claim in checked:
            missing.pop(claim.id, None)
        entries += [(chapter, claim) for claim in (*checked, *missing.values())]
    env.temp_data["gahb_ledger"] = entries
    return entries


def verdict_of(claim: claims.Expectation) -> str:
    return claim.verdict if isinstance(claim, claims.Claim) else "not measured"


def place_of(env, chapter: chapters.Chapter, claim: claims.Expectation) -> str | None:
    """Where the claim was checked, as an address from the page that is being made."""
    page = f"book/_executed/{chapter.stem}"
    if page not in env.found_docs:
        return None
    anchor = f"#claim-{claim.id}" if isinstance(claim, claims.Claim) else ""
    return env.app.builder.get_relative_uri(env.docname, page) + anchor


class ClaimRole(SphinxRole):
    """`` {claim}`id` ``: measured value, standard error, and verdict, linked to where it was checked."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        known = {claim.id: (chapter, claim) for chapter, claim in ledger(self.env)}
        if self.text not in known:
            if self.text in {claim.id for claim in claims.load(Path(self.env.srcdir))}:
                return [nodes.Text("(not measured)")], []  # its chapter has not been run
            error = self.inliner.reporter.error(f"no claim {self.text!r} in claims.yaml", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, error)], [error]
        chapter, claim = known[self.text]
        verdict, uri = verdict_of(claim), place_of(self.env, chapter, claim)
        said = f"{claim.found}, {verdict}" if isinstance(claim, claims.Claim) else verdict
        return [nodes.reference("", said, refuri=uri, internal=True) if uri else nodes.Text(said)], []


class ClaimsCount(SphinxDirective):
    """How many claims of each chapter hold, fall short, are open: a row a chapter."""

    def run(self) -> list[nodes.Node]:
        entries = ledger(self.env)
        verdicts = [v for v in (*claims.VERDICTS, "not measured") if any(verdict_of(c) == v for _, c in entries)]
        if not verdicts:
            return [nodes.paragraph("", "No claim has been checked yet.")]
        lines = [["Chapter", *verdicts]]
        for chapter in dict.fromkeys(chapter for chapter, _ in entries):
            found = [verdict_of(claim) for at, claim in entries if at == chapter]
            lines.append([str(chapter.number), *(str(found.count(v)) for v in verdicts)])
        lines.append(["all", *(str(sum(verdict_of(c) == v for _, c in entries)) for v in verdicts)])
        rows = [nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in line)) for line in lines]
        group = nodes.tgroup(cols=len(lines[0]))
        group += [nodes.colspec(colwidth=1) for _ in lines[0]]
        group += [nodes.thead("", rows[0]), nodes.tbody("", *rows[1:])]
        return [nodes.table("", group)]


class ClaimsLedger(SphinxDirective):
    """The table of all claims, one row each, with a link to where it was checked; `verdicts` asks for some only."""

    columns = (("Claim", 38), ("Expected", 14), ("Measured", 15), ("Profile", 9), ("Verdict", 12), ("Where", 12))
    option_spec: ClassVar = {"verdicts": lambda text: [verdict.strip() for verdict in text.split(",")]}

    def run(self) -> list[nodes.Node]:
        entries = ledger(self.env)
        if not entries:
            return [nodes.paragraph("", "No claim has been checked yet.")]
        if "verdicts" in self.options:
            asked = [(at, claim) for at, claim in entries if verdict_of(claim) in self.options["verdicts"]]
            return [self.table([self.row(*entry) for entry in asked])] if asked else [nodes.paragraph("", "None.")]
        found = [claim for _, claim in entries if isinstance(claim, claims.Claim)]
        return [nodes.paragraph("", summary(found, len(entries))), self.table([self.row(*entry) for entry in entries])]

    def row(self, chapter: chapters.Chapter, claim: claims.Expectation) -> nodes.row:
        measured, verdict = isinstance(claim, claims.Claim), verdict_of(claim)
        text = [claim.expected, claim.found if measured else "–", claim.profile if measured else "–"]
        ids = [] if "verdicts" in self.options else [f"ledger-{claim.id}"]  # of the whole ledger alone
        said, uri = f"{claims.VERDICTS.get(verdict, '–')} {verdict}", place_of(self.env, chapter, claim)
        where: nodes.Node = nodes.Text(f"chapter {chapter.number}")
        if uri:
            where = nodes.reference("", f"chapter {chapter.number}", refuri=uri, internal=True)
        statement = self.prose(claim.statement)
        source = nodes.inline("", "", *self.prose(claim.source).children, classes=["gahb-source"])
        statement += [nodes.Text(" · "), source]
        first = nodes.entry("", statement)
        if claim.known:
            first += self.prose(f"known before: {claim.known}", "gahb-known")
        cells = [
            *(nodes.paragraph("", number) for number in text),
            nodes.paragraph("", "", nodes.inline("", said, classes=["gahb-verdict"])),
            nodes.paragraph("", "", where),
        ]
        entries = (nodes.entry("", cell) for cell in cells)
        return nodes.row("", first, *entries, classes=[f"gahb-claim-{verdict.replace(' ', '-')}"], ids=ids)

    def prose(self, text: str, *classes: str) -> nodes.paragraph:
        """Text with its mathematics, as the page's own parser reads it."""
        content, messages = self.state.inline_text(text, self.lineno)
        return nodes.paragraph("", "", *content, *messages, classes=[*classes])

    def table(self, rows: list[nodes.row]) -> nodes.table:
        group = nodes.tgroup(cols=len(self.columns))
        group += [nodes.colspec(colwidth=width) for _, width in self.columns]
        head = nodes.row("", *(nodes.entry("", nodes.paragraph("", column)) for column, _ in self.columns))
        group += [nodes.thead("", head), nodes.tbody("", *rows)]
        whole = [] if "verdicts" in self.options else ["gahb-sortable"]
        return nodes.table("", group, classes=["gahb-ledger", *whole])


def summary(found: list[claims.Claim], total: int) -> str:
    counts = {verdict: sum(claim.verdict == verdict for claim in found) for verdict in claims.VERDICTS}
    counts["not measured"] = total - len(found)
    parts = ", ".join(f"{verdict} {count}" for verdict, count in counts.items() if count)
    return f"Claims: {total} ({parts})."


def sort_script(app: Sphinx, pagename: str, templatename: str, context: dict, document) -> None:
    """The script that makes the whole ledger sortable goes to its page, and to no other."""
    if document is not None and any("gahb-sortable" in table["classes"] for table in document.findall(nodes.table)):
        app.add_js_file("ledger.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", run_chapters)
    app.connect("config-inited", drop_thebe)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.add_directive("claims-count", ClaimsCount)
    app.add_role("claim", ClaimRole())
    app.connect("html-page-context", sort_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
