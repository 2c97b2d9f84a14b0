"""Figures: what is drawn is what was given; no window, nothing left open, no style needed."""

from __future__ import annotations

import importlib

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import gahb
from gahb import figures


@pytest.fixture(autouse=True)
def _style_of_their_own():
    plt.close("all")
    with matplotlib.rc_context():
        yield
    assert plt.get_fignums() == []  # a notebook shows what a cell returns, and only that


def drawn(figure: Figure) -> Figure:
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("styled", [False, True])
def test_image_grid(styled):
    if styled:
        figures.use_style()
    rows = [
        [torch.full((1, 8, 12), 0.25), torch.randn(1, 8, 12, requires_grad=True), np.ones((8, 12))],
        [torch.zeros(1, 8, 12), torch.randn(8, 12)],
    ]
    figure = drawn(
        figures.image_grid(
            rows, ["a", "b", "c"], ["first", "second"], signed=[1], captions=[["x", "", "z"], ["u", "v"]]
        )
    )
    axes = figure.axes
    assert len(axes) == 6
    images = [axis.get_images() for axis in axes]
    assert [len(i) for i in images] == [1, 1, 1, 1, 1, 0]
    for i, row in enumerate(rows):
        for j, given in enumerate(row):
            (image,) = images[3 * i + j]
            np.testing.assert_allclose(image.get_array(), np.asarray(torch.as_tensor(given).detach()).squeeze())
            assert image.get_cmap().name == ("RdBu_r" if j == 1 else "gray")
    assert images[0][0].get_clim() == (0, 1)
    low, high = images[1][0].get_clim()
    assert low == -high < 0 and images[4][0].get_clim() == (low, high)  # one scale, about zero
    assert [axis.get_title() for axis in axes[:3]] == ["a", "b", "c"]
    assert [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["first", "second"]
    assert [axis.get_xlabel() for axis in axes[:5]] == ["x", "", "z", "u", "v"]


@pytest.mark.parametrize("styled", [False, True])
def test_curves(styled):
    if styled:
        figures.use_style()
    x = [0.1, 1.0, 10.0]
    series = {
        "tensors": (torch.tensor(x), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3])),
        "numbers": (x, [3.0, 2.0, 1.0]),
        "scalars": (x, tuple(torch.tensor(v) for v in (1.0, 1.0, 2.0))),
    }
    figure = drawn(figures.curves(series, xlabel="σ", ylabel="error", logx=True, logy=True, reference=("line", x, x)))
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale(), axis.get_yscale()) == ("σ", "error", "log", "log")
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["line", *series]
    containers = axis.containers
    assert [c.get_label() for c in containers] == list(series)
    np.testing.assert_allclose(containers[0].lines[0].get_ydata(), [1, 2, 3])
    assert len({c.lines[0].get_color() for c in containers}) == len({c.lines[0].get_marker() for c in containers}) == 3
    (bars,) = containers[0].lines[2]
    np.testing.assert_allclose([s[1, 1] - s[0, 1] for s in bars.get_segments()], [0.2, 0.4, 0.6], rtol=1e-6)
    assert containers[1].lines[2] == ()


def test_more_curves_than_colours():
    figure = drawn(figures.curves({str(k): ([0, 1], [k, k]) for k in range(9)}, xlabel="x", ylabel="y"))
    assert len(figure.axes[0].containers) == 9


def test_estimates():
    values = {"a": (1.0, 0.25), "b": (torch.tensor(-2.0), torch.tensor(0.5))}
    (axis,) = drawn(figures.estimates(values, xlabel="bias", truth=0.5)).axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    assert axis.get_xlabel() == "bias" and list(axis.lines[0].get_xdata()) == [0.5, 0.5]
    segments = [c.lines[2][0].get_segments()[0] for c in axis.containers]
    np.testing.assert_allclose(segments[0][:, 0], [0.5, 1.5])  # ± two standard errors
    np.testing.assert_allclose(segments[1][:, 0], [-3, -1])
    assert segments[0][0, 1] > segments[1][0, 1]  # the first on top


def test_mixture_fields():
    mixture = gahb.GaussianMixture(torch.ones(1), torch.tensor([[0.8, -0.4]]), torch.eye(2)[None] / 9)
    figure = drawn(figures.mixture_fields(mixture, [0.2, 1.0], extent=2.0, arrows=5))
    assert [axis.get_title() for axis in figure.axes] == ["σ = 0.2", "σ = 1"]
    for axis, sigma in zip(figure.axes, (0.2, 1.0)):
        (image,), (quiver,) = axis.get_images(), [c for c in axis.collections if hasattr(c, "U")]
        array = np.asarray(image.get_array())
        row, column = np.unravel_index(array.argmax(), array.shape)
        place = -2 + 4 * np.array([column, row]) / 159
        np.testing.assert_allclose(place, [0.8, -0.4], atol=0.03)  # x to the right, y upwards
        assert image.origin == "lower"
        y = torch.from_numpy(np.array(quiver.get_offsets())).double()
        assert len(y) == 25
        expected = sigma * gahb.score(mixture, y, sigma)
        np.testing.assert_allclose(np.stack([quiver.U, quiver.V], axis=1), expected, atol=1e-12)


def test_style_is_set_when_asked_and_not_on_import():
    before = dict(matplotlib.rcParams)
    importlib.reload(figures)
    assert dict(matplotlib.rcParams) == before
    figures.use_style()
    assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(figures.COLOURS)
    assert len(set(figures.COLOURS)) == len(set(figures.MARKERS)) == len(figures.COLOURS) == len(figures.MARKERS)


def test_cells_of_a_table_are_written_alike():
    html = figures.table(["a", "b", "c", "d"], [[1234.5, (9501.7, 772.0), None, -0.25]]).data
    assert "<td>1,234.50</td><td>9,502 ± 772</td><td>–</td><td>−0.25</td>" in html


def test_table():
    html = figures.table(
        ["name", "σ", "a", "b"],
        [["x", "0.1", 1.0, 2.345], ["y", "9", 3.0, float("-inf")]],
        caption="PSNR",
        bold_best=True,
    ).data
    assert html.count("<tr>") == 3 and html.count('<th scope="col">') == 4 and "<caption>PSNR</caption>" in html
    assert "<td>x</td><td>0.1</td><td>1.00</td><td><strong>2.35</strong></td>" in html.replace("2.34<", "2.35<")
    assert "<td><strong>3.00</strong></td>" in html and html.count("<strong>") == 2
    shown = figures.table(["a < b"], [["> 10"]], caption="R&D").data
    assert all(text in shown for text in ("<caption>R&amp;D<", ">a &lt; b<", "<td>&gt; 10<"))
    plain = figures.table(["a"], [[1.0]]).data
    assert "<strong>" not in plain and "caption" not in plain


def test_signals_are_lines_without_markers():
    panels = {"a": {"clean": ([0, 1, 2], [0.0, 1.0, 0.0])}}
    for markers, sign in ((True, "o"), (False, "")):
        (axis,) = drawn(figures.curve_panels(panels, xlabel="t", ylabel="x", markers=markers)).axes
        assert axis.lines[0].get_marker() == sign


def test_curve_panels_share_axes_and_one_legend():
    a, b = ([1, 2, 3], [1.0, 4.0, 9.0]), ([1, 2, 3], [2.0, 3.0, 5.0], [0.1, 0.1, 0.1])
    panels = {"train": {"N = 1": a, "N = 10": b}, "test": {"N = 10": a}}
    for ordered in (False, True):
        figure = drawn(figures.curve_panels(panels, xlabel="in", ylabel="out", logx=True, ordered=ordered))
        left, right = figure.axes
        assert [left.get_title(), right.get_title()] == ["train", "test"]
        assert left.get_xscale() == "log" and left.get_yscale() == "linear"
        assert left.get_ylim() == right.get_ylim() and right.get_ylabel() == ""
        assert len(left.containers) == 2 and len(right.containers) == 1
        np.testing.assert_allclose(left.containers[1].lines[0].get_ydata(), b[1])
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["N = 1", "N = 10"]
        colour = [axis.containers[-1].lines[0].get_color() for axis in (left, right)]
        assert colour[0] == colour[1]  # one label, one colour, in whatever panel


def test_many_panels_stand_in_rows_of_three():
    panels = {name: {"own": ([1, 2], [0.0, height])} for name, height in zip("abcdef", range(1, 7))}
    for count, shown in ((4, (1, 4)), (5, (2, 3)), (6, (2, 3))):
        figure = drawn(figures.curve_panels(dict(list(panels.items())[:count]), xlabel="k", ylabel="v"))
        seen = [axis for axis in figure.axes if axis.get_visible()]
        assert [axis.get_title() for axis in seen] == list("abcdef")[:count]
        assert figure.axes[0].get_gridspec().get_geometry() == shown
        assert len({axis.get_ylim() for axis in seen}) == 1
        assert seen[0].get_ylim()[1] >= count  # the highest curve is on the page
        assert [axis.get_ylabel() for axis in seen[::shown[1]]] == ["v"] * shown[0]


def test_curve_grid_has_one_look_for_each_label():
    up, down = ([1, 2, 3], [1.0, 4.0, 9.0]), ([1, 2, 3], [20.0, 3.0, 5.0])
    rows = {"frequency": {"left": {"own": up, "null": down}, "right": {"own": up}}, "share": {"left": {"null": up}}}
    figure = drawn(figures.curve_grid(rows, xlabel="k", logx=True))
    assert [axis.get_ylabel() for axis in figure.axes] == ["frequency", "", "share", ""]
    assert [axis.get_title() for axis in figure.axes] == ["left", "right", "", ""]
    assert [axis.get_xlabel() for axis in figure.axes] == ["", "k", "k", ""]  # where nothing is below
    assert [axis.get_visible() for axis in figure.axes] == [True, True, True, False]
    limits = [axis.get_ylim() for axis in figure.axes]
    assert limits[0] == limits[1] != limits[2]  # a row is one quantity
    above, below = (figure.axes[i].containers[-1].lines[0] for i in (0, 2))
    assert (above.get_color(), above.get_marker()) == (below.get_color(), below.get_marker())
    assert above.get_marker() != figure.axes[0].containers[0].lines[0].get_marker()
    pairs = [(label, {"": {"own": series}}) for label, series in (("rate", up), ("rate", down), ("share", up))]
    limits = [axis.get_ylim() for axis in drawn(figures.curve_grid(pairs, xlabel="k")).axes]
    assert limits[0] == limits[1] != limits[2]  # so are rows of one label
    long = {f"a long label, number {k}": up for k in range(6)}
    figure = drawn(figures.curve_panels({"one": long}, xlabel="k", ylabel="v"))
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1  # the legend is not cut off


def test_distributions_are_shares():
    panels = {"few": {"twins": [0.05, 0.05, 0.95], "nearest": [0.95]}, "many": {"twins": [0.5]}}
    figure = drawn(figures.distributions(panels, xlabel="cosine", limits=(0, 1), bins=10))
    left, right = figure.axes
    heights = [sorted({round(v, 6) for v in patch.get_xy()[:, 1]}) for patch in left.patches]
    assert heights == [[0, round(1 / 3, 6), round(2 / 3, 6)], [0, 1]]
    assert len(right.patches) == 1 and left.get_xlim() == right.get_xlim()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["twins", "nearest"]


def test_areas_are_filled_over_log_sigma():
    x = [0.1, 1.0, 10.0]
    both = {"bound": (x, [0.0, 4.0, 0.0]), "slack": (x, [0.0, 1.0, 0.0])}
    panels = {"one": {"bound": (x, [1.0, 2.0, 0.0])}, "two": both}
    figure = drawn(figures.areas(panels, ylabel="nats", notes=["area 1", "area 2"]))
    left, right = figure.axes
    assert left.get_xscale() == "log" and left.get_ylim()[0] == 0 and left.get_ylabel() == "nats"
    assert [len(axis.collections) for axis in (left, right)] == [1, 2]
    assert [axis.texts[0].get_text() for axis in (left, right)] == ["area 1", "area 2"]
    (path,) = left.collections[0].get_paths()
    assert path.vertices[:, 1].max() == 2 and path.vertices[:, 1].min() == 0  # down to the base
    assert left.lines[0].get_color() == right.lines[0].get_color() != right.lines[1].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["bound", "slack"]
