"""One widget on an empty page of a real browser, behind a model that keeps what a kernel would."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gahb.widgets.lazy import carried

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
import browsing  # shared with the tests of the built pages

PAGE = """<!doctype html><html data-theme="light">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><style>CSS</style><body style="margin: 8px"><div id="here"></div>
<script type="module">
import widget from "./widget.js";
const state = STATE, heard = {};
for (const [name, text] of Object.entries(BYTES))
  state[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
window.model = {
  get: (name) => state[name],
  set(name, value) { state[name] = value; (heard["change:" + name] ?? []).forEach((f) => f()); },
  save_changes() {},
  on: (name, f) => (heard[name] ??= []).push(f),
  off: (name, f) => { heard[name] = heard[name].filter((g) => g !== f); },
  listeners: () => Object.values(heard).flat().length,
};
window.close_widget = await widget.render({ model: window.model, el: document.querySelector("#here") });
</script></body></html>"""


@contextmanager
def browser() -> Iterator:
    """A browser, or the test is skipped."""
    reason = browsing.why_not()
    if reason and os.environ.get("GAHB_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with browsing.browser() as chrome:
        yield chrome


@contextmanager
def served(widget, folder: Path) -> Iterator[str]:
    """The address of a page that holds `widget`."""
    about = carried(widget)
    html = PAGE.replace("CSS", about["css"]).replace("STATE", json.dumps(about["state"]))
    html = html.replace("BYTES", json.dumps(about["bytes"]))
    (folder / "index.html").write_text(html, encoding="utf-8")
    (folder / "widget.js").write_text(about["esm"], encoding="utf-8")
    with browsing.serve(folder) as address:
        yield address


@contextmanager
def opened(chrome, address: str, *, before: str | None = None, **options) -> Iterator:
    """The page at `address`, drawn, the script `before` run first; in the end no console error, no foreign request."""
    context = chrome.new_context(**({"viewport": {"width": 760, "height": 700}} | options))
    page = context.new_page()
    if before:
        page.add_init_script(before)
    troubles = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    here = (address, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(here) else troubles.append(r.url))
    page.goto(address)
    page.wait_for_function("window.close_widget !== undefined")
    rest(page)
    yield page
    assert troubles == []
    context.close()


def rest(page) -> None:
    """Two frames, so that a change asked for has been drawn."""
    page.evaluate("() => new Promise((done) => { const r = requestAnimationFrame; r(() => r(() => r(done))); })")


def contrasts(page, selectors: list[str]) -> dict[str, float]:
    """Least contrast (as WCAG 2 defines it) of the ink of what each selector finds with the widget's ground."""
    return page.evaluate(
        """(selectors) => {
            const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const ground = luminance(getComputedStyle(document.querySelector(".gahb-widget")).backgroundColor);
            const contrast = (node) => {
                const style = getComputedStyle(node);
                const ink = luminance(node.localName === "text" ? style.fill : style.color);
                return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
            };
            return Object.fromEntries(selectors.map((selector) =>
                [selector, Math.min(...[...document.querySelectorAll(selector)].map(contrast))]));
        }""",
        selectors,
    )
