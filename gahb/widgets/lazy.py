"""Widgets on a page without a kernel: what the page carries of each, and the place where `lazy.js` brings it to life.

Nothing of a widget is read or run before its place is near the screen. A page
needs no widget manager: an anywidget asks its model for no more than traits
that can be read, set and listened to, and `lazy.js` keeps them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from anywidget import AnyWidget

LOADER = Path(__file__).with_name("lazy.js")
_STATE = "application/vnd.jupyter.widget-state+json"
_VIEW = "application/vnd.jupyter.widget-view+json"
_OURS = ("layout", "tooltip", "tabbable")  # of ipywidgets; no trait of the widget itself


def carried(widget: AnyWidget) -> dict[str, Any]:
    """What a page carries of a widget: code (`esm`), style (`css`), `state`, `bytes` in base64, words (`alt`)."""
    state = widget.get_state()
    binary = {name: base64.b64encode(value).decode() for name, value in state.items() if isinstance(value, bytes)}
    return _carried({name: value for name, value in state.items() if name not in binary}, binary)


def _carried(state: Mapping[str, Any], binary: dict[str, str]) -> dict[str, Any]:
    plain = {name: value for name, value in state.items() if name[0] != "_" and name not in _OURS}
    return dict(esm=state["_esm"], css=state.get("_css", ""), state=plain, bytes=binary, alt=state["alt"])


def script(name: str, about: dict[str, Any]) -> str:
    """JavaScript that hands `about`, of `carried`, to `lazy.js` under `name`; it may stand inside a page too."""
    text = f"(window.gahbWidgets ??= {{}})[{json.dumps(name)}] = {json.dumps(about)};\n"
    return text.replace("<", r"\u003c")  # no end of a script, no comment


def place(address: str, alt: str, height: int = 384) -> str:
    """HTML of a widget's place: `address` is its name, or that of the file NAME.js with its `script`.

    So many pixels of height are kept for it until it comes.
    """
    return (
        f'<div class="gahb-lazy" data-widget="{escape(address)}" style="--gahb-height: {height}px" '
        f'data-alt="{escape(alt)}"></div>\n'
        f"<script>\n{LOADER.read_text(encoding='utf-8')}</script>\n"
    )


def height(about: dict[str, Any]) -> int:
    """About how high a widget, `about` of `carried`, is in a column of text, pixels."""
    state = about["state"]
    if len(state.get("shape", ())) != 4:
        return 384
    _, panels, rows, columns = state["shape"]  # of gahb.widgets.frames, which puts up to five panels side by side
    lines = math.ceil(panels / 5)
    side = min(250, 654 / math.ceil(panels / lines) - 14)
    return round(lines * (side * rows / columns + 40) + 60 * math.ceil(len(state["names"]) / 2) + 50)


def placed(notebook: dict[str, Any], keep: Callable[[dict[str, Any]], str]) -> bool:
    """Put places into an executed notebook, where its outputs show widgets, and take their state out of it.

    `keep` is called with what the page carries of each widget, and returns the
    HTML of its place. A widget that is no anywidget needs its kernel: what is
    left of it is its text. Returns whether the notebook has changed.
    """
    models = notebook["metadata"].pop("widgets", {}).get(_STATE, {}).get("state")
    if models is None:
        return False
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", ())):
        if view := output.get("data", {}).pop(_VIEW, None):
            model = models.get(view["model_id"], {})
            if model.get("model_module") == "anywidget":
                binary = {part["path"][0]: part["data"] for part in model.get("buffers", ())}
                output["data"]["text/html"] = keep(_carried(model["state"], binary))
    return True
