"""What a page carries of its widgets, out of an executed notebook; tests/browser looks at them there."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
import torch

import gahb
from gahb.widgets.lazy import carried, height, place, placed, script

CODE = """
import torch, ipywidgets, gahb
from IPython.display import display
display(gahb.widgets.frames(torch.arange(8.0).reshape(2, 1, 2, 2) / 8, {"k": [1, 2]}, alt="Two & <pictures>"))
display(ipywidgets.IntSlider(3))
gahb.widgets.mixture(gahb.GaussianMixture([1.0], [[0.0, 0.0]], torch.eye(2)[None]), sigma=0.4)
"""


@pytest.fixture(scope="module")
def notebook():
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    NotebookClient(notebook, kernel_name="python3").execute()
    return json.loads(nbformat.writes(notebook))


def outputs(notebook: dict) -> list[dict]:
    return [output["data"] for output in notebook["cells"][0]["outputs"]]


def test_a_notebook_carries_what_its_widgets_do(notebook):
    kept = []
    changed = json.loads(json.dumps(notebook))
    assert placed(changed, lambda about: kept.append(about) or f"place {len(kept)}")
    frames = gahb.widgets.frames(torch.arange(8.0).reshape(2, 1, 2, 2) / 8, {"k": [1, 2]}, alt="Two & <pictures>")
    assert kept[0] == carried(frames)
    assert list(kept[0]["bytes"]) == ["pixels"] and kept[0]["state"]["value"] == [0]
    assert kept[1]["state"]["sigma"] == 0.4 and kept[1]["alt"].startswith("A noisy point")
    assert [data.get("text/html") for data in outputs(changed)] == ["place 1", None, "place 2"]
    assert not any("widget" in kind for data in outputs(changed) for kind in data)
    assert outputs(changed)[1] == {"text/plain": ["IntSlider(value=3)"]}  # it needs a kernel: its text is left
    assert "widgets" not in changed["metadata"]
    assert not placed(changed, None)  # once is enough


def test_a_script_may_stand_inside_a_page():
    about = {"esm": "</script><!-- <script>", "state": {"alt": "\u2028"}}
    text = script("a.b", about)
    assert "<" not in text
    name, given = re.search(r"\[(.*?)\] = (\{.*\});\n$", text).groups()
    assert (json.loads(name), json.loads(given)) == ("a.b", about)


def test_a_place_says_what_will_be_there():
    text = place("../_static/widgets/a.js", 'Two & <"pictures">')
    assert 'data-widget="../_static/widgets/a.js"' in text
    assert 'data-alt="Two &amp; &lt;&quot;pictures&quot;&gt;"></div>\n<script>' in text


def test_a_place_is_as_high_as_its_panels_and_sliders():
    """Measured on pages of the book, in a column of 672 pixels: 276, 442 and 908."""
    panels = {(4, 2): 276, (9, 2): 442, (16, 3): 908}
    for (count, sliders), measured in panels.items():
        state = {"shape": [1, count, 32, 32], "names": ["k"] * sliders}
        assert abs(height({"state": state}) - measured) < 40
    assert height({"state": {}}) == 384 and "--gahb-height: 384px" in place("a.js", "words")


def test_a_widget_gets_a_cell_apart_from_a_figure(monkeypatch, root):
    pytest.importorskip("sphinx", reason="the pages are built with Sphinx, and this is one of their extensions")
    monkeypatch.syspath_prepend(root / "book")
    from _ext import lazy_widgets

    there = {"output_type": "display_data", "data": {"text/html": place("a.js", "A widget's words")}, "metadata": {}}
    drawn = {"output_type": "display_data", "data": {"image/png": "…"}, "metadata": {}}
    figure = {"cell_type": "code", "id": "a", "metadata": {"mystnb": {"figure": {"name": "fig-a"}}}, "source": "draw()"}
    plain = figure | {"id": "b", "metadata": {}, "outputs": [there, drawn]}
    cells = [plain, figure | {"outputs": [there, drawn]}, figure | {"id": "c", "outputs": [drawn]}]
    lazy_widgets.set_apart(cells)
    assert [cell["id"] for cell in cells] == ["b", "a-widget", "a", "c"]
    assert [cell["outputs"] for cell in cells] == [[there, drawn], [there], [drawn], [drawn]]
    assert cells[1]["source"] and cells[1]["metadata"] == {"tags": ["remove-input"]}
