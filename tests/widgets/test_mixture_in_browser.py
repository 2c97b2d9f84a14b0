"""The mixture widget in a real browser: drawn, dragged, slid, tapped, steered by keys, in both themes."""

from __future__ import annotations

import numpy as np
import pytest
from bare_page import opened, rest, served

from gahb.widgets import mixture

pytestmark = pytest.mark.browser

COUNTED = """
window.drawings = 0;
window.frame = window.requestAnimationFrame;
window.requestAnimationFrame = (f) => frame((t) => { f(t); drawings++; });"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    line = np.outer([0.8, 0.6], [0.8, 0.6])
    means, covariances = [[-1.5, 1.0], [1.2, -1.0], [-1.8, -1.4]], [0.3 * np.eye(2), line, 0 * line]
    widget = mixture([0.5, 0.3, 0.2], means, covariances, y=(0.25, 0.5))
    with served(widget, tmp_path_factory.mktemp("mixture")) as address:
        yield address


@pytest.fixture
def page(chrome, address, request):
    """The widget on an empty page; `request.param` overrides the browser context."""
    with opened(chrome, address, before=COUNTED, **getattr(request, "param", {})) as page:
        yield page


def density(page) -> str:
    return page.evaluate("document.querySelector('.gahb-mixture canvas').toDataURL()")


def drawn(page) -> dict:
    """Where y, f*(y) and its ellipse are drawn, in pixels of the picture."""
    return page.evaluate(
        """() => {
            const find = (selector) => document.querySelector(selector);
            const at = (selector, ...names) => names.map((n) => +find(selector).getAttribute(n));
            return {
                y: at('.gm-scene .gm-dot', 'cx', 'cy'), mean: at('.gm-scene .gm-mean', 'cx', 'cy'),
                ellipse: at('.gm-scene .gm-ellipse', 'rx', 'ry'), noise: at('.gm-scene .gm-noise', 'r'),
                field: find('.gm-field').getAttribute('d').length,
            };
        }"""
    )


def test_picture_agrees_with_the_numbers(page):
    at, (left, right, _, top) = page.evaluate(
        """async () => {
            const m = await import('./widget.js');
            const mix = m.prepare(...['weights', 'means', 'covariances'].map(model.get));
            return [m.posterior(mix, model.get('y'), 0.5), model.get('extent')];
        }"""
    )
    width = page.locator(".gm-plot").bounding_box()["width"]
    scale = width / (right - left)
    shown = drawn(page)
    mean = [(at["mean"][0] - left) * scale, (top - at["mean"][1]) * scale]
    assert shown["mean"] == pytest.approx(mean, abs=0.5)
    assert shown["ellipse"] == pytest.approx([0.5 * np.sqrt(v) * scale for v in at["eigenvalues"]], abs=0.5)
    assert shown["noise"] == pytest.approx([0.5 * scale], abs=0.5)
    text = page.locator(".gm-f").inner_text().replace("−", "-").strip("()").split(",")
    assert [float(t) for t in text] == pytest.approx(at["mean"], abs=0.006)


def test_slider_changes_the_density(page):
    before, first = density(page), drawn(page)
    slider = page.get_by_role("slider", name="noise level sigma")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    rest(page)
    assert page.evaluate("model.get('sigma')") > 0.6
    assert density(page) != before
    after = drawn(page)
    assert after["noise"] > first["noise"]
    assert after["mean"] != first["mean"]
    assert after["y"] == first["y"]


def test_mouse_drags_the_point(page):
    before, first = density(page), drawn(page)
    box = page.locator(".gm-plot").bounding_box()
    x, y = (box[side] + at for side, at in zip("xy", first["y"]))
    page.mouse.move(x + 6, y)  # off centre: the point does not jump under the hand
    page.mouse.down()
    page.mouse.move(x + 46, y - 30, steps=4)
    page.mouse.up()
    page.mouse.move(x - 80, y)  # let go: no more moves
    rest(page)
    after = drawn(page)
    assert after["y"] == pytest.approx([first["y"][0] + 40, first["y"][1] - 30], abs=0.5)
    assert after["mean"] != first["mean"]
    assert density(page) == before  # the density does not depend on y
    page.mouse.click(box["x"] + 50, box["y"] + 60)
    rest(page)
    assert drawn(page)["y"] == pytest.approx([50, 60], abs=1)
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] - 200, box["y"] + 60)
    page.mouse.up()
    rest(page)
    assert drawn(page)["y"][0] == pytest.approx(0, abs=1e-6)  # stays in the picture


def test_keys_move_the_point(page):
    handle = page.get_by_role("slider", name="arrow keys")
    start = page.evaluate("model.get('y')")
    page.evaluate("document.addEventListener('keydown', (e) => { window.last = e.key; })")
    handle.focus()
    handle.press("ArrowRight")
    handle.press("Shift+ArrowUp")
    rest(page)
    moved = page.evaluate("model.get('y')")
    assert moved[0] - start[0] == pytest.approx(0.1, abs=0.05)
    assert moved[1] - start[1] > 4 * (moved[0] - start[0])
    assert page.evaluate("window.last") == "Shift"  # no arrow got out: the page may turn at those
    assert handle.get_attribute("aria-valuetext") == f"({moved[0]:.2f}, {moved[1]:.2f})"
    page.get_by_role("slider", name="coordinate 1").press("End")
    right = page.evaluate("model.get('extent')")[1]
    assert page.evaluate("model.get('y')")[0] == pytest.approx(right, rel=1e-6)


def test_score_field_can_be_switched_off(page):
    assert drawn(page)["field"] > 1000
    page.get_by_role("checkbox").uncheck()
    rest(page)
    assert drawn(page)["field"] == 0
    assert page.evaluate("model.get('show_score')") is False


def test_spoken_once_the_hand_rests(page):
    page.clock.install()
    page.evaluate("""() => {
        window.said = [];
        new MutationObserver(() => said.push(document.querySelector('.gm-said').textContent))
            .observe(document.querySelector('.gm-said'), { childList: true });
    }""")
    page.clock.run_for(5000)
    assert page.evaluate("said") == []  # silent when the page opens
    handle = page.get_by_role("slider", name="arrow keys")
    for _ in range(5):
        handle.press("ArrowLeft")
    page.clock.run_for(5000)
    (sentence,) = page.evaluate("said")
    assert "effective dimension" in sentence


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True)
def test_follows_the_theme(page):
    root = page.locator(".gahb-mixture")
    assert root.get_attribute("data-theme") == "light"  # the page's choice, before the system's
    light = density(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    rest(page)
    assert root.get_attribute("data-theme") == "dark"
    assert density(page) != light
    page.evaluate("delete document.documentElement.dataset.theme")
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    rest(page)
    assert root.get_attribute("data-theme") == "light"  # JupyterLab's
    assert density(page) == light
    page.evaluate("delete document.body.dataset.jpThemeLight; document.body.className = 'x'")
    rest(page)
    assert root.get_attribute("data-theme") == "dark"  # the system's
    page.emulate_media(color_scheme="light")
    rest(page)
    assert root.get_attribute("data-theme") == "light"


PHONE = {"viewport": {"width": 340, "height": 700}, "has_touch": True, "device_scale_factor": 3}


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 340
    box = page.locator(".gm-plot").bounding_box()
    assert box["width"] > 250
    pixels = page.evaluate("document.querySelector('.gahb-mixture canvas').width")
    assert pixels == pytest.approx(3 * box["width"], abs=3)
    page.touchscreen.tap(box["x"] + 60, box["y"] + 80)
    rest(page)
    assert drawn(page)["y"] == pytest.approx([60, 80], abs=1)

    touch = page.context.new_cdp_session(page)

    def drag(x, y, to_x, to_y):
        for kind, t in (("touchStart", 0), ("touchMove", 0.5), ("touchMove", 1), ("touchEnd", None)):
            at = [] if t is None else [{"x": x + t * (to_x - x), "y": y + t * (to_y - y)}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
        rest(page)

    drag(box["x"] + 60, box["y"] + 80, box["x"] + 140, box["y"] + 150)  # the point itself
    assert drawn(page)["y"] == pytest.approx([140, 150], abs=2)
    assert page.evaluate("scrollY") == 0
    drag(box["x"] + 40, box["y"] + 200, box["x"] + 40, box["y"] + 60)  # elsewhere: the page scrolls
    assert drawn(page)["y"] == pytest.approx([140, 150], abs=2)
    assert page.evaluate("scrollY") > 0


def test_a_change_is_one_drawing(page):
    """How long it takes is measured in tests/benchmarks/bench_widgets.py."""
    page.evaluate("drawings = 0")
    for name, value in (("sigma", 0.3), ("sigma", 0.31), ("y", [0, 0.3]), ("y", [0.1, 0.3])):
        page.evaluate(f"model.set('{name}', {value})")
        page.evaluate("new Promise((done) => frame(() => frame(() => frame(done))))")  # frames that don't count
    assert page.evaluate("drawings") == 4


def test_leaves_nothing_behind(page):
    assert page.evaluate("model.listeners()") > 0
    page.evaluate("close_widget()")
    assert page.evaluate("model.listeners()") == 0
    assert page.locator(".gahb-mixture").count() == 0
