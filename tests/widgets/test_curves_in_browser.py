"""The curves widget in a real browser: points where the numbers are, pointer, keys, legend, sliders, themes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from bare_page import contrasts, opened, rest, served

from gahb.widgets import curves

pytestmark = pytest.mark.browser

SIGMAS = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
NETWORK = np.stack([scale * SIGMAS**1.5 for scale in (0.5, 0.3, 0.2)])
WAVELET = 0.6 * SIGMAS**1.2
STDERR = np.array([2e-5, 2e-4, 1e-3, 1e-2, 0.05])
LOGARITHMIC = curves(
    {"network": (SIGMAS, NETWORK, STDERR), "wavelet": (SIGMAS, WAVELET)}, xlabel="σ", ylabel="MSE",
    logx=True, logy=True, reference=("σ²", SIGMAS, SIGMAS**2), sliders={"N": [1, 10, 100]},
)  # fmt: skip
LINEAR = curves(
    {"train": ([10, 20, 30], [14.2, 23.1, 31.6], [0.4, 0.21, 0.05]), "test": ([30, 20, 10], [30.0, 21.0, 12.5])},
    xlabel="input PSNR (dB)", ylabel="output PSNR (dB)",
)  # fmt: skip


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    with (
        served(LOGARITHMIC, tmp_path_factory.mktemp("log")) as logarithmic,
        served(LINEAR, tmp_path_factory.mktemp("linear")) as linear,
    ):
        yield {"log": logarithmic, "linear": linear}


@pytest.fixture
def page(chrome, addresses, request):
    """The logarithmic widget; `request.param` overrides the browser context."""
    with opened(chrome, addresses["log"], **getattr(request, "param", {})) as page:
        yield page


@pytest.fixture
def linear(chrome, addresses):
    with opened(chrome, addresses["linear"]) as page:
        yield page


def marks(page) -> np.ndarray:
    """Centres of the points in the order drawn, in pixels of the plot."""
    found = page.evaluate(
        "[...document.querySelectorAll('.gw-plot .gw-mark')].map((m) => m.getAttribute('transform'))"
    )
    return np.array([[float(v) for v in re.findall(r"-?\d[\d.]*", text)] for text in found])


def ticks(page, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and places of one axis's tick labels."""
    anchor, place, shift = {"x": ("middle", "x", 0), "y": ("end", "y", 4)}[axis]
    found = page.evaluate(
        f"[...document.querySelectorAll('.gw-tick[text-anchor={anchor}]')]"
        f".map((t) => [t.textContent, +t.getAttribute('{place}') - {shift}])"
    )
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")
    values = []
    for text, _ in found:
        whole, power = re.fullmatch(r"(?:([\d.]+)·)?10([⁻⁰¹²³⁴-⁹]+)|.+", text).groups()
        power = power and 10 ** int(power.translate(digits))
        values.append(float(whole or 1) * power if power else float(text.translate(digits)))
    return np.array(values), np.array([place for _, place in found])


def scale(values: np.ndarray, places: np.ndarray, log: bool):
    """The map from values to places that the tick labels promise."""
    to = np.log10 if log else np.asarray
    slope, offset = np.polyfit(to(values), places, 1)
    np.testing.assert_allclose(slope * to(values) + offset, places, atol=0.5)  # the labels lie on a line
    return lambda v: slope * to(v) + offset


def test_points_lie_where_the_axes_say(page, linear):
    x, y = (scale(*ticks(page, axis), log=True) for axis in "xy")
    got = marks(page)
    np.testing.assert_allclose(got[:, 0], np.tile(x(SIGMAS), 2), atol=0.7)
    np.testing.assert_allclose(got[:, 1], y(np.concatenate([NETWORK[0], WAVELET])), atol=0.7)
    x, y = (scale(*ticks(linear, axis), log=False) for axis in "xy")
    got = marks(linear)
    np.testing.assert_allclose(got[:, 0], x([10, 20, 30, 30, 20, 10]), atol=0.7)
    np.testing.assert_allclose(got[:, 1], y([14.2, 23.1, 31.6, 30.0, 21.0, 12.5]), atol=0.7)
    bars = linear.evaluate("[...document.querySelectorAll('.gw-error')].map((e) => e.getAttribute('d'))")
    ends = np.array([[float(v) for v in re.match(r"M\S+ (\S+)V([\d.]+)", bar).groups()] for bar in bars])
    want = y(np.add.outer([14.2, 23.1, 31.6], [0, 0]) + np.outer([0.4, 0.21, 0.05], [1, -1]))
    np.testing.assert_allclose(ends, want, atol=0.7)


def test_a_slider_moves_the_points_and_not_the_axes(page):
    before, axis = marks(page), ticks(page, "y")
    page.get_by_role("slider", name="N", exact=True).press("End")
    rest(page)
    after = marks(page)
    y = scale(*ticks(page, "y"), log=True)
    np.testing.assert_allclose(after[:5, 1], y(NETWORK[2]), atol=0.7)
    np.testing.assert_array_equal(after[5:], before[5:])
    np.testing.assert_array_equal(ticks(page, "y"), axis)


def test_an_error_bar_past_zero_ends_at_the_axis(chrome, tmp_path):
    widget = curves({"a": ([1, 2], [0.1, 1.0], [0.2, 0.1])}, xlabel="x", ylabel="y", logy=True)
    with served(widget, tmp_path) as address, opened(chrome, address) as page:
        bar = page.locator(".gw-error").first.get_attribute("d")
        assert "NaN" not in bar and "Infinity" not in bar
        frame = page.locator(".gw-axis").get_attribute("d")
        assert re.search(r"V([\d.]+)", bar)[1] == re.search(r"V([\d.]+)", frame)[1]


AXES = [  # values, logarithmic
    ([0.0, 1.0], False), ([-0.37, 0.002], False), ([12.1, 38.7], False), ([5.0, 5.0], False), ([0.0, 0.0], False),
    ([1e5, 3e7], False), ([1e-6, 4e-6], False), ([1e-4, 1.0], True), ([1, 1e5], True), ([0.02, 0.2], True),
    ([3.0, 3.4], True), ([7.0, 7.0], True), ([1e-9, 1e9], True),
]  # fmt: skip


@pytest.mark.parametrize("most", [3, 7])
def test_ticks_are_round_and_few(page, most):
    found = page.evaluate(
        f"""import("./widget.js").then((m) => {json.dumps(AXES)}.map(([values, log]) => {{
            const {{ at, ticks }} = m.axis(values, log, {most});
            return {{ ends: values.map(at), ticks }};
        }}))"""
    )
    for (values, _), got in zip(AXES, found):
        places, texts = [tick["at"] for tick in got["ticks"]], [tick["text"] for tick in got["ticks"]]
        assert 2 <= len(texts) <= 2.2 * most, (values, texts)
        assert len(set(texts)) == len(texts), texts
        assert all(-1e-6 <= place <= 1 + 1e-6 for place in [*got["ends"], *places]), (values, places)
        assert places == sorted(places)


def test_numbers_are_written_with_their_error(page):
    cases = [
        ([26.12345, 0.0213], "26.123 ± 0.021"), ([26.12345, 3.7], "26.1 ± 3.7"), ([1234.5, 210], "1235 ± 210"),
        ([-0.5, None], "−0.5"), ([-1e-9, 0.1], "0.00 ± 0.10"), ([1.0, 0], "1 ± 0"),
        ([1.5e-5, 2e-7], "1.5·10⁻⁵ ± 2·10⁻⁷"), ([0.0123456, None], "0.01235"), ([1e6, None], "10⁶"),
    ]  # fmt: skip
    arguments = json.dumps([case for case, _ in cases])
    got = page.evaluate(
        f'import("./widget.js").then((m) => {arguments}.map(([y, error]) => m.measured(y, error ?? undefined)))'
    )
    assert got == [text for _, text in cases]


def test_pointer_reads_the_nearest_point(linear):
    tip = linear.locator(".gw-tip")
    assert not tip.is_visible()
    box = linear.locator(".gw-plot").bounding_box()
    x, y = marks(linear)[1]
    linear.mouse.move(box["x"] + x + 5, box["y"] + y - 4)
    rest(linear)
    assert tip.inner_text().split("\n") == ["train", "input PSNR (dB)", "20", "output PSNR (dB)", "23.10 ± 0.21"]
    ring = linear.locator(".gw-chosen").get_attribute("transform")
    assert [float(v) for v in re.findall(r"[\d.]+", ring)] == pytest.approx([x, y])
    inside = tip.bounding_box()
    assert inside["x"] >= box["x"] and inside["x"] + inside["width"] <= box["x"] + box["width"]
    linear.mouse.move(box["x"] + x, box["y"] + y - 100)  # far from every point
    rest(linear)
    assert not tip.is_visible()
    linear.mouse.move(box["x"] + x, box["y"] + y)
    linear.mouse.move(box["x"] + x, box["y"] + box["height"] + 60)  # outside
    rest(linear)
    assert not tip.is_visible()


def test_keys_walk_along_the_curves(linear):
    linear.evaluate("document.addEventListener('keydown', (e) => { window.last = e.key; })")
    plot = linear.get_by_role("slider", name="points of the curves")
    linear.keyboard.press("Tab")
    assert plot.evaluate("node => node === document.activeElement")
    heard = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp", "End"):
        linear.keyboard.press(key)
        rest(linear)
        heard.append(plot.get_attribute("aria-valuetext"))
    say = "{}, input PSNR (dB) {}, output PSNR (dB) {}".format
    assert heard == [
        say("train", 10, "14.20 ± 0.40"), say("train", 20, "23.10 ± 0.21"), say("test", 20, "21"),
        say("test", 10, "12.5"), say("test", 10, "12.5"),  # the last one to the left
        say("train", 10, "14.20 ± 0.40"), say("train", 30, "31.600 ± 0.050"),
    ]  # fmt: skip
    assert linear.evaluate("window.last") == "Tab"  # no key got out: the page may turn at those
    assert linear.locator(".gw-tip").is_visible()
    linear.keyboard.press("Escape")
    rest(linear)
    assert not linear.locator(".gw-tip").is_visible()


def test_legend_switches_curves_off(page):
    assert len(marks(page)) == 10
    axis = ticks(page, "y")
    network = page.get_by_role("button", name="network")
    assert network.get_attribute("aria-pressed") == "true"
    network.click()
    rest(page)
    assert (len(marks(page)), page.evaluate("model.get('hidden')")) == (5, ["network"])
    assert network.get_attribute("aria-pressed") == "false"
    np.testing.assert_array_equal(ticks(page, "y"), axis)
    page.get_by_role("button", name="σ²").press("Enter")
    page.get_by_role("button", name="wavelet").press("Space")
    rest(page)
    assert page.locator(".gw-plot .gw-line").count() == 0
    page.get_by_role("slider", name="points").press("ArrowRight")  # nothing to choose
    network.click()
    rest(page)
    assert len(marks(page)) == 5


@pytest.mark.parametrize("page", [{"viewport": {"width": 390, "height": 844}, "has_touch": True}], indirect=True)
def test_on_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator(".gw-plot").bounding_box()
    x, y = marks(page)[9]
    page.touchscreen.tap(box["x"] + x, box["y"] + y)
    rest(page)
    tip = page.locator(".gw-tip").bounding_box()
    assert box["x"] <= tip["x"] and tip["x"] + tip["width"] <= box["x"] + box["width"]
    assert "wavelet" in page.locator(".gw-tip").inner_text()
    labels = [t.bounding_box() for t in page.locator(".gw-tick[text-anchor=middle]").all()]
    assert all(a["x"] + a["width"] < b["x"] for a, b in zip(labels, labels[1:]))  # none on another


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_is_readable_in_both_themes(page, theme):
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    page.get_by_role("button", name="wavelet").click()
    page.locator(".gw-plot").press("ArrowRight")
    rest(page)
    found = contrasts(page, [".gw-tick", ".gw-name", ".gw-key", ".gw-tip span", ".gw-slider label span", "output"])
    assert min(found.values()) > 4.5, found
    if theme == "dark":  # in the light, the colours are those of the figures
        page.evaluate(
            "for (let k = 0; k < 7; k++) document.querySelector('.gahb-curves .gw-body').append("
            "Object.assign(document.createElement('i'), { className: `ink gw-c${k}` }))"
        )
        assert contrasts(page, [".ink"])[".ink"] > 5


def test_leaves_nothing_behind(page):
    assert page.evaluate("model.listeners()") > 0
    page.evaluate("close_widget()")
    assert page.evaluate("model.listeners()") == 0
    assert page.locator(".gahb-widget").count() == 0
