"""Sphinx extension: claims and checks as the pages show them.

- In a chapter, a claim is one line where it was checked: verdict, sentence, and
  measured value; it folds open for the rest. A *check*, a record whose `kind` is
  `check`, is taken out of the flow: `chapter_head` has one folded table of them.
- The directive `{claims-ledger}` is the table of all claims, and of all checks
  after them; with `verdicts` it is the table of the records that have these.
- `{claims-count}` counts the claims by chapter and verdict.
- The role `` {claim}`id` `` is what was measured for one, with its verdict.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from gahb import claims
from gahb.book import chapters, running

from .run_chapters import executed_folder

UNMEASURED = ("not measured", "replaced")
PLURAL = {"holds": "hold", "falls short": "fall short"}


def is_check(record: claims.Expectation) -> bool:
    """Whether a record tests the instrument, and says nothing about the world."""
    return record.kind == "check"


def verdict_of(record: claims.Expectation) -> str:
    if isinstance(record, claims.Claim):
        return record.verdict
    return "replaced" if record.replaced_by else "not measured"


def style_of(record: claims.Expectation) -> str:
    """The class that gives a record the colour of its verdict."""
    return f"gahb-claim-{verdict_of(record).replace(' ', '-')}"


def counted(records: Iterable[claims.Expectation]) -> str:
    """Verdicts in words: `12 hold, 1 falls short`."""
    counts = Counter(map(verdict_of, records))
    order = (*claims.VERDICTS, *UNMEASURED)
    return ", ".join(f"{n} {PLURAL.get(v, v) if n > 1 else v}" for v in order if (n := counts[v]))


def sign_and_word(record: claims.Claim) -> str:
    return f'<span aria-hidden="true">{claims.VERDICTS[record.verdict]}</span> {record.verdict}'


# ---------------------------------------------------------------- in a chapter


def claim_line(claim: claims.Claim) -> str:
    """A claim as one line that folds open, in HTML."""
    basis = f"{claim.basis} · " if claim.basis else ""  # degrees of freedom, number of looks
    numbers = f"{basis}expected {claim.expected} · profile {claim.profile}"
    known = f'<p class="gahb-numbers">known before: {claims.inline(claim.known)}</p>' if claim.known else ""
    return (
        f'<details class="gahb-claim {style_of(claim)}" id="claim-{html.escape(claim.id)}">'
        f'<summary><span class="gahb-verdict">{sign_and_word(claim)}</span> '
        f'<span class="gahb-statement">{claims.inline(claim.statement)}</span> '
        f'<span class="gahb-found">{html.escape(claim.found)}</span></summary>'
        f'<p class="gahb-numbers">{html.escape(numbers)} · {claims.inline(claim.source)}</p>{known}</details>'
    )


def checks_table(checks: list[claims.Claim]) -> str:
    """All checks of a chapter as one folded table, in HTML; nothing if there is none."""
    if not checks:
        return ""
    rows = "\n".join(
        f'<tr id="claim-{html.escape(check.id)}" class="{style_of(check)}"><td>{claims.inline(check.statement)}</td>'
        f"<td>{html.escape(check.expected)}</td><td>{html.escape(check.found)}</td>"
        f'<td><span class="gahb-verdict">{sign_and_word(check)}</span></td></tr>'
        for check in checks
    )
    said = f"{len(checks)} check{'s' * (len(checks) > 1)} of the instruments: {counted(checks)}"
    head = "".join(f'<th scope="col">{name}</th>' for name in ("check", "expected", "measured", "verdict"))
    return (
        f'<details class="gahb-checks"><summary>{said}</summary><table class="table"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></details>\n"
    )


def fold_records(app: Sphinx, docname: str, source: list[str]) -> None:
    """Handler of source-read: in an executed chapter, claims become lines, and checks are taken out."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook, changed = json.loads(source[0]), False
    for cell in notebook["cells"]:
        shown = []
        for output in cell.get("outputs", ()):
            if record := output.get("metadata", {}).get(claims.KEY):
                changed, claim = True, claims.from_json(record)
                if is_check(claim):
                    continue
                output["data"]["text/html"] = claim_line(claim)
            shown.append(output)
        if "outputs" in cell:
            cell["outputs"] = shown
    if changed:
        source[0] = json.dumps(notebook)


# --------------------------------------------------------------- on other pages


def ledger(env) -> list[tuple[chapters.Chapter, claims.Expectation]]:
    """Every record of the executed chapters, a `Claim` where it was measured; when one changes, so does the page."""
    if "gahb_ledger" in env.temp_data:  # of this page
        return env.temp_data["gahb_ledger"]
    root, entries = Path(env.srcdir), []
    env.note_dependency(str(root / "notebooks" / "claims.yaml"))
    for chapter in chapters.chapters(root):
        path = executed_folder(root) / f"{chapter.stem}.ipynb"
        if not path.exists():
            continue
        env.note_dependency(str(path))
        measured = running.claims_of(path)
        missing = {entry.id: entry for entry in claims.load(root) if entry.chapter == chapter.stem}
        for claim in measured:
            missing.pop(claim.id, None)
        entries += [(chapter, record) for record in (*measured, *missing.values())]
    env.temp_data["gahb_ledger"] = entries
    return entries


def place_of(env, chapter: chapters.Chapter, record: claims.Expectation) -> str | None:
    """Where the record was measured, as an address from the page that is being made."""
    page = f"book/_executed/{chapter.stem}"
    if page not in env.found_docs:
        return None
    anchor = f"#claim-{record.id}" if isinstance(record, claims.Claim) else ""
    return env.app.builder.get_relative_uri(env.docname, page) + anchor


class ClaimRole(SphinxRole):
    """`` {claim}`id` ``: measured value, standard error, and verdict, linked to where it was checked."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        known = {record.id: (chapter, record) for chapter, record in ledger(self.env)}
        if self.text not in known:
            if self.text in {entry.id for entry in claims.load(Path(self.env.srcdir))}:
                return [nodes.Text("(not measured)")], []  # its chapter has not been run
            error = self.inliner.reporter.error(f"no claim {self.text!r} in claims.yaml", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, error)], [error]
        chapter, record = known[self.text]
        verdict, uri = verdict_of(record), place_of(self.env, chapter, record)
        said = f"{record.found}, {verdict}" if isinstance(record, claims.Claim) else verdict
        return [nodes.reference("", said, refuri=uri, internal=True) if uri else nodes.Text(said)], []


class ClaimsCount(SphinxDirective):
    """How many claims of each chapter hold, fall short, are open: a row a chapter."""

    def run(self) -> list[nodes.Node]:
        entries = [(chapter, record) for chapter, record in ledger(self.env) if not is_check(record)]
        verdicts = [v for v in (*claims.VERDICTS, *UNMEASURED) if any(verdict_of(c) == v for _, c in entries)]
        if not verdicts:
            return [nodes.paragraph("", "No claim has been checked yet.")]
        lines = [["Chapter", *verdicts]]
        for chapter in dict.fromkeys(chapter for chapter, _ in entries):
            found = [verdict_of(record) for at, record in entries if at == chapter]
            name = f"{chapter.number} {chapter.name.replace('_', ' ')}"
            lines.append([name, *(str(found.count(v)) for v in verdicts)])
        lines.append(["all", *(str(sum(verdict_of(c) == v for _, c in entries)) for v in verdicts)])
        rows = [nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in line)) for line in lines]
        group = nodes.tgroup(cols=len(lines[0]))
        group += [nodes.colspec(colwidth=1) for _ in lines[0]]
        group += [nodes.thead("", rows[0]), nodes.tbody("", *rows[1:])]
        return [nodes.table("", group)]


class ClaimsLedger(SphinxDirective):
    """The table of all claims, one row each, linked to where it was checked, and that of all checks after it."""

    columns = (("Claim", 38), ("Expected", 14), ("Measured", 15), ("Profile", 9), ("Verdict", 12), ("Where", 12))
    option_spec: ClassVar = {"verdicts": lambda text: [verdict.strip() for verdict in text.split(",")]}

    def run(self) -> list[nodes.Node]:
        entries = ledger(self.env)
        if not entries:
            return [nodes.paragraph("", "No claim has been checked yet.")]
        if "verdicts" in self.options:
            asked = [(at, record) for at, record in entries if verdict_of(record) in self.options["verdicts"]]
            return [self.table(asked)] if asked else [nodes.paragraph("", "None.")]
        stated = [(at, record) for at, record in entries if not is_check(record)]
        checks = [(at, record) for at, record in entries if is_check(record)]
        shown = [self.summary("Claims", stated), self.table(stated, "gahb-sortable")]
        if checks:
            shown += [nodes.rubric("", "Checks of the instruments"), self.summary("Checks", checks), self.table(checks)]
        return shown

    def summary(self, name: str, entries: list) -> nodes.paragraph:
        counts = Counter(verdict_of(record) for _, record in entries)
        order = (*claims.VERDICTS, *UNMEASURED)
        parts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in order if counts[verdict])
        return nodes.paragraph("", f"{name}: {len(entries)} ({parts}).")

    def row(self, chapter: chapters.Chapter, record: claims.Expectation) -> nodes.row:
        measured, verdict = isinstance(record, claims.Claim), verdict_of(record)
        text = [record.expected, record.found if measured else "–", record.profile if measured else "–"]
        ids = [] if "verdicts" in self.options else [f"ledger-{record.id}"]  # of the whole ledger alone
        said, uri = f"{claims.VERDICTS.get(verdict, '–')} {verdict}", place_of(self.env, chapter, record)
        where: nodes.Node = nodes.Text(f"chapter {chapter.number}")
        if uri:
            where = nodes.reference("", f"chapter {chapter.number}", refuri=uri, internal=True)
        statement = self.prose(record.statement)
        source = nodes.inline("", "", *self.prose(record.source).children, classes=["gahb-source"])
        statement += [nodes.Text(" · "), source]
        first = nodes.entry("", statement)
        if record.known:
            first += self.prose(f"known before: {record.known}", "gahb-known")
        if record.replaced_by:
            first += self.prose(f"replaced by {record.replaced_by}", "gahb-known")
        cells = [
            *(nodes.paragraph("", number) for number in text),
            nodes.paragraph("", "", nodes.inline("", said, classes=["gahb-verdict"])),
            nodes.paragraph("", "", where),
        ]
        entries = (nodes.entry("", cell) for cell in cells)
        return nodes.row("", first, *entries, classes=[style_of(record)], ids=ids)

    def prose(self, text: str, *classes: str) -> nodes.paragraph:
        """Text with its mathematics, as the page's own parser reads it."""
        content, messages = self.state.inline_text(text, self.lineno)
        return nodes.paragraph("", "", *content, *messages, classes=[*classes])

    def table(self, entries: list, *classes: str) -> nodes.table:
        group = nodes.tgroup(cols=len(self.columns))
        group += [nodes.colspec(colwidth=width) for _, width in self.columns]
        head = nodes.row("", *(nodes.entry("", nodes.paragraph("", column)) for column, _ in self.columns))
        group += [nodes.thead("", head), nodes.tbody("", *(self.row(*entry) for entry in entries))]
        return nodes.table("", group, classes=["gahb-ledger", *classes])


def sort_script(app: Sphinx, pagename: str, templatename: str, context: dict, document) -> None:
    """The script that makes the whole ledger sortable goes to its page, and to no other."""
    if document is not None and any("gahb-sortable" in table["classes"] for table in document.findall(nodes.table)):
        app.add_js_file("ledger.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    app.connect("source-read", fold_records)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.add_directive("claims-count", ClaimsCount)
    app.add_role("claim", ClaimRole())
    app.connect("html-page-context", sort_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
