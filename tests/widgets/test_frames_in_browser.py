"""The frames widget in a real browser: its pixels, sliders, keys, play button, on a phone, in both themes."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from bare_page import contrasts, opened, rest, served

from gahb.figures import DIVERGING
from gahb.widgets import frames

pytestmark = pytest.mark.browser

H, W, PANELS = 6, 8, 4
PICTURES = np.random.default_rng(1).uniform(size=(5, 3, PANELS, H, W))
PICTURES[:, :, 3] = 2 * PICTURES[:, :, 3] - 1
WIDGET = frames(
    PICTURES, {"N": [1, 10, 100, 1000, 10000], "noise": ["little", "some", "much"]},
    alt="Four panels of noise", titles=["noisy", "denoised", "clean", "difference of the two"], signed=[3],
    captions=[[["", f"{10 * i + j} dB", "", ""] for j in range(3)] for i in range(5)],
)  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(WIDGET, tmp_path_factory.mktemp("frames")) as address:
        yield address


@pytest.fixture
def page(chrome, address, request):
    """The widget on an empty page; `request.param` overrides the browser context."""
    with opened(chrome, address, **getattr(request, "param", {})) as page:
        yield page


def shown(page) -> np.ndarray:
    """(panels, H, W, 4), of 255."""
    pixels = page.evaluate(
        """[...document.querySelectorAll("canvas")].map((c) =>
            [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data])"""
    )
    return np.array(pixels).reshape(PANELS, H, W, 4)


def assert_shows(page, i: int, j: int) -> None:
    got = shown(page)
    assert (got[..., 3] == 255).all()
    for k in range(3):
        for channel in range(3):
            np.testing.assert_array_equal(got[k, ..., channel], np.rint(255 * PICTURES[i, j, k]))
    share = (PICTURES[i, j, 3] / WIDGET.limit).clip(-1, 1)
    colours = 255 * matplotlib.colormaps[DIVERGING]((share + 1) / 2)
    np.testing.assert_allclose(got[3], colours, atol=5)  # matplotlib has 256 colours, we 255, so that zero is one
    assert page.locator(".gw-caption").all_inner_texts() == ["", f"{10 * i + j} dB", "", ""]


def value(page) -> list[int]:
    rest(page)
    return page.evaluate("model.get('value')")


def test_sliders_choose_the_frame(page):
    assert_shows(page, 0, 0)
    box = page.get_by_role("slider", name="noise").bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    assert value(page) == [0, 1]  # while it is dragged
    assert_shows(page, 0, 1)
    page.mouse.up()
    page.evaluate("model.set('value', [3, 2])")  # as a kernel does
    rest(page)
    assert_shows(page, 3, 2)
    assert page.locator("output").all_inner_texts() == ["1000", "much"]
    assert page.get_by_role("slider", name="N", exact=True).get_attribute("aria-valuetext") == "1000"


def test_zero_has_the_colour_of_zero(page):
    middle = page.evaluate("import('./widget.js').then((m) => [...m.diverging()].map((c) => c >>> 0))")
    assert middle[128] == 0xFFF7F7F7
    channels = np.array(middle)[:, None] >> np.array([0, 8, 16]) & 255
    assert (channels[1] == [5, 48, 97]).all() and (channels[255] == [103, 0, 31]).all()  # ends of RdBu


def test_keys_move_the_sliders(page):
    page.evaluate("document.addEventListener('keydown', (e) => { window.last = e.key; })")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")  # past the play button
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert value(page) == [2, 0]
    assert_shows(page, 2, 0)
    assert page.evaluate("window.last") == "Tab"  # no arrow got out: the page may turn at those
    page.keyboard.press("End")
    assert value(page) == [4, 0]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert value(page) == [4, 1]
    assert_shows(page, 4, 1)


def test_play_goes_through_the_frames_and_stops(page):
    page.evaluate("""() => {
        window.seen = [];
        model.on("change:value", () => seen.push(model.get("value")[0]));
    }""")
    page.clock.install()
    play = page.get_by_role("button", name="play N", exact=True)
    play.click()
    pause = page.get_by_role("button", name="pause N", exact=True)
    for _ in range(2):
        page.clock.run_for(750)
    pause.click()
    page.clock.run_for(3000)
    assert page.evaluate("seen") == [1, 2]
    play.press("Enter")
    page.clock.run_for(5000)
    assert page.evaluate("seen") == [1, 2, 3, 4]  # and no further
    play.press("Space")
    page.clock.run_for(750)
    assert page.evaluate("seen")[4:] == [0, 1]  # from the start again
    page.get_by_role("slider", name="noise").press("ArrowRight")  # a hand on a slider stops it
    page.clock.run_for(5000)
    assert page.evaluate("model.get('value')") == [1, 1]
    assert_shows(page, 1, 1)


@pytest.mark.parametrize("page", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_by_itself_where_motion_is_reduced(page):
    page.clock.install()
    step = page.get_by_role("button", name="next noise")
    for want in (1, 2, 0):
        step.click()
        page.clock.run_for(5000)
        assert page.evaluate("model.get('value')") == [0, want]


def test_spoken_once_the_hand_rests(page):
    page.clock.install()
    page.evaluate("""() => {
        window.said = [];
        new MutationObserver(() => said.push(document.querySelector('.gw-said').textContent))
            .observe(document.querySelector('.gw-said'), { childList: true });
    }""")
    page.clock.run_for(5000)
    assert page.evaluate("said") == []  # silent when the page opens
    slider = page.get_by_role("slider", name="N", exact=True)
    for _ in range(3):
        slider.press("ArrowRight")
    page.clock.run_for(5000)
    assert page.evaluate("said") == ["N 1000, noise little: denoised 30 dB"]


def test_named_for_who_cannot_see(page):
    assert page.get_by_role("group", name="Four panels of noise").count() == 1
    names = [canvas.get_attribute("aria-label") for canvas in page.locator("canvas[role=img]").all()]
    assert names == ["noisy", "denoised, 0 dB", "clean", "difference of the two"]


@pytest.mark.parametrize("page", [{"device_scale_factor": 1}, {"device_scale_factor": 1.5}], indirect=True)
def test_pixels_are_enlarged_alike_and_crisp(page):
    assert page.evaluate("getComputedStyle(document.querySelector('canvas')).imageRendering") == "pixelated"
    boxes = [canvas.bounding_box() for canvas in page.locator("canvas").all()]
    scale = boxes[0]["width"] * page.evaluate("devicePixelRatio") / W
    assert scale == pytest.approx(round(scale), abs=0.02) and scale > 10
    assert boxes[0]["height"] == pytest.approx(boxes[0]["width"] * H / W, abs=0.5)
    assert len({round(box["y"], 2) for box in boxes}) == 1  # one row, though one title may wrap


@pytest.mark.parametrize("page", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_wraps_on_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [canvas.bounding_box() for canvas in page.locator("canvas").all()]
    assert len({round(box["x"]) for box in boxes}) == len({round(box["y"]) for box in boxes}) == 2
    assert min(box["width"] for box in boxes) > 130


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_in_both_themes(page, theme):
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    rest(page)
    assert page.locator(".gahb-frames").get_attribute("data-theme") == theme
    found = contrasts(page, [".gw-title", ".gw-caption", ".gw-scale", ".gw-slider label span", "output"])
    assert min(found.values()) > 4.5, found


def test_a_click_on_a_picture_sets_its_row_and_column(chrome, tmp_path):
    rows, columns = [1, 3, 5], [0, 4, 7]
    pictures = np.random.default_rng(2).uniform(size=(3, 3, 2, H, W))
    widget = frames(pictures, {"column": columns, "row": rows}, alt="A pixel", place=("row", "column"))
    with served(widget, tmp_path) as address, opened(chrome, address) as page:
        for panel, pixel, expected in ((0, (3, 7), [2, 1]), (1, (0, 1), [0, 0]), (1, (5, 3), [1, 2])):
            box = page.locator("canvas").nth(panel).bounding_box()
            at = ((pixel[1] + 0.5) / W * box["width"], (pixel[0] + 0.5) / H * box["height"])
            page.mouse.click(box["x"] + at[0], box["y"] + at[1])
            assert value(page) == expected
        page.mouse.down()  # at row 5
        page.mouse.move(box["x"] + at[0], box["y"] + 1, steps=5)
        page.mouse.up()
        assert value(page) == [1, 0]


def test_leaves_nothing_behind(page):
    page.clock.install()
    assert page.evaluate("model.listeners()") > 0
    page.get_by_role("button", name="play N", exact=True).click()
    page.evaluate("close_widget()")
    page.clock.run_for(5000)
    assert page.evaluate("model.get('value')") == [0, 0]
    assert page.evaluate("model.listeners()") == 0
    assert page.locator(".gahb-widget").count() == 0
