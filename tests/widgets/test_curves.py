"""The curves widget: what is handed over, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import traitlets

from gahb.figures import COLOURS
from gahb.widgets import CurvesWidget, curves

X = [0.1, 0.2, 0.4]
NAMES = {"xlabel": "σ", "ylabel": "MSE"}
SLIDERS = {"N": [1, 10], "α": [1.0, 2.5]}
STACK = np.arange(1.0, 13).reshape(2, 2, 3)


def test_takes_what_the_figure_takes():
    series = {"network": (X, torch.tensor([1.0, 2, 3], requires_grad=True), np.array([0.1, 0.2, 0.3])), 2: (X, X)}
    widget = curves(series, **NAMES, reference=("slope", X, X), logx=True)
    assert isinstance(widget, CurvesWidget)
    assert widget.lines == [
        {"label": "network", "x": [X], "y": [[1, 2, 3]], "stderr": [[0.1, 0.2, 0.3]]},
        {"label": "2", "x": [X], "y": [X]},
    ]
    assert widget.reference == {"label": "slope", "x": [X], "y": [X]}
    assert (widget.logx, widget.logy, widget.value, widget.hidden) == (True, False, [], [])


def test_what_changes_with_the_sliders_lies_by_position():
    widget = curves({"a": (X, STACK, [0.1, 0.1, 0.1])}, **NAMES, sliders=SLIDERS)
    (line,) = widget.lines
    assert (len(line["x"]), len(line["y"]), len(line["stderr"])) == (1, 4, 1)
    assert line["y"][1 * 2 + 0] == STACK[1, 0].tolist()
    assert (widget.labels, widget.value) == ([["1", "10"], ["1", "2.5"]], [0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": {}}, r"series must map at least one label to \(x, y\) or \(x, y, stderr\), got {}"),
        ({"series": {"a": (X,)}}, r"series\['a'\] must be \(x, y\) or \(x, y, stderr\)"),
        ({"series": {"a": (X, X[:2])}}, r"series\['a'\] y must have shape \(3,\), got \(2,\)"),
        ({"series": {"a": (X, STACK)}}, r"series\['a'\] y must have shape \(3,\), got \(2, 2, 3\)"),
        ({"series": {"a": (0.1, 0.2)}}, r"series\['a'\] x must have shape \(n,\), got \(\)"),
        ({"series": {"a": ([], [])}}, r"series\['a'\] x must have shape \(n,\), got \(0,\)"),
        ({"series": {"a": (X, STACK[0])}, "sliders": SLIDERS},
         r"series\['a'\] y must have shape \(3,\) or \(2, 2, 3\), got \(2, 3\)"),
        ({"series": {"a": (X, [1, np.inf, 2])}}, r"series\['a'\] y must be finite, got 1 of 3"),
        ({"series": {"a": (X, X, [-0.1, 0, 0])}}, r"series\['a'\] stderr must not be negative, got -0.1"),
        ({"series": {"a": (X, [0, 1, 2])}, "logy": True}, r"series\['a'\] y must be positive on a log.*, got 0"),
        ({"reference": ("line", X, [-1, 1, 1]), "logy": True}, r"reference y must be positive"),
        ({"reference": ("line", X, [[1]])}, r"reference y must have shape \(3,\), got \(1, 1\)"),
        ({"sliders": {name: [1] for name in "abcd"}}, r"sliders must map one, two or three .* got 4 of them"),
        ({"series": {"a": (X, np.full((200, 200, 3), 1 / 3))}, "sliders": {"a": range(200), "b": range(200)}},
         r"series must take at most 1.5 MB on the page, got \d.\d\d MB: give fewer"),
        ({"xlabel": ""}, r"xlabel must be a text that says what is shown, got ''"),
        ({"alt": ""}, r"alt must be a text that says what is shown, got ''"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        curves(**({"series": {"a": (X, X)}} | NAMES | change))


def test_traits_can_be_set_and_are_checked():
    widget = curves({"a": (X, STACK)}, **NAMES, sliders=SLIDERS)
    widget.value, widget.hidden = [1, 0], ["a"]
    with pytest.raises(ValueError, match=r"an index for each slider, N in 0 … 1, α in 0 … 1; got \[2, 0\]"):
        widget.value = [2, 0]
    with pytest.raises(traitlets.TraitError, match="lines"):
        widget.lines = []
    with pytest.raises(ValueError, match=r"value must be an index for each slider, nothing; got \[0\]"):
        curves({"a": (X, X)}, **NAMES).value = [0]


def test_says_in_text_what_it_shows():
    assert repr(curves({"a": (X, X)}, **NAMES)) == "<MSE against σ>"
    widget = curves({"a": (X, STACK)}, **NAMES, sliders=SLIDERS, alt="Errors")
    assert repr(widget) == "<Errors; sliders: N (2) × α (2)>"


def test_colours_are_those_of_the_figures():
    for k, colour in enumerate(COLOURS):
        assert f"--gw-c{k}: {colour.lower()};" in CurvesWidget._css
