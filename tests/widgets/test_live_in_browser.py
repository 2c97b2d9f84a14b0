"""The live denoiser in a real browser: its numbers against torch, its tools, its keys, on a phone, in both themes."""

from __future__ import annotations

import io
import re

import matplotlib
import numpy as np
import pytest
import torch
from bare_page import contrasts, opened, rest, served
from PIL import Image

import gahb
from gahb.figures import DIVERGING
from gahb.jacobian import Jacobian
from gahb.widgets.live import flat_state, live

pytestmark = pytest.mark.browser

SIZES = {"first": 24, "second": 16}
PICTURES = {"disk": gahb.images.disks(1, 24, seed=3)[0], "leaves": gahb.images.dead_leaves(1, 24, seed=1)[0]}


def denoiser(width: int, depth: int, seed: int) -> gahb.UNet:
    """As good as trained, for what is tested: gains and deviations of their own, and a residual that is the smaller."""
    torch.manual_seed(seed)
    network = gahb.UNet(width, depth).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("gain", "running_sd")):
                value.uniform_(0.5, 2)
        network.decoder[0][-1].weight *= 0.1
    return network


@pytest.fixture(scope="module")
def networks():
    return {"first": denoiser(11, 2, 0), "second": denoiser(6, 1, 1)}


@pytest.fixture(scope="module")
def address(networks, tmp_path_factory):
    levels = (0.01, 0.1, 0.5)
    widget = live(networks, size=SIZES, pictures=PICTURES, sigma=0.2, alt="Two denoisers at work",
                  psnr={"first": {"this network": (levels, (40, 27, 20)), "a larger one": (levels, (41, 28.5, 21))}})
    with served(widget, tmp_path_factory.mktemp("live")) as address:
        yield address


@pytest.fixture
def page(chrome, address, request):
    """The widget on an empty page; `request.param` overrides the browser context."""
    with opened(chrome, address, **getattr(request, "param", {})) as page:
        page.wait_for_selector(".gahb-live[data-ready]")
        page.evaluate("import('./widget.js').then((module) => { window.module = module; })")
        yield page


def settle(page) -> None:
    rest(page)
    rest(page)


def in_page(page, network: gahb.UNet, size: int, code: str, *arrays: torch.Tensor):
    """What `code` makes of `net` and of the arrays a[0], a[1], …: lists of numbers."""
    about = dict(width=network.width, depth=network.depth, size=size)
    given = [flat_state(network).tolist(), *(a.flatten().tolist() for a in arrays)]
    return page.evaluate(
        f"""async ([about, state, ...arrays]) => {{
            const a = arrays.map((v) => Float32Array.from(v)), plain = (v) => [...v];
            const net = await module.Unet.make(Float32Array.from(state), about);
            {code}
        }}""",
        [about, *given],
    )


def close(found: list[float], expected: torch.Tensor, within: float = 1e-4) -> None:
    assert float((torch.tensor(found) - expected.flatten()).abs().max()) <= within
    assert float(expected.abs().max()) > 10 * within  # so that nothing agrees by being nothing


@pytest.mark.parametrize(("width", "depth", "size"), [(11, 2, 40), (11, 2, 64), (6, 1, 10), (5, 3, 24), (8, 2, 12)])
def test_forward_and_products_are_those_of_torch(page, width, depth, size):
    network = denoiser(width, depth, seed=width)
    y, v, w = torch.rand(1, 1, size, size), torch.randn(1, 1, size, size), torch.randn(1, 1, size, size)
    # another picture before: nothing of it may be left in the memory
    code = """net.forward(a[1]); net.transposed(a[2]); net.product(a[2]);
        const f = net.forward(a[0]);
        return [f, net.product(a[1]), net.transposed(a[2]), net.product(a[0]), net.product(a[1])].map(plain);"""
    f, jv, jw, jy, jv_again = in_page(page, network, size, code, y, v, w)
    jacobian = Jacobian(network, y)
    with torch.no_grad():
        close(f, network(y))
    close(jv, jacobian.forward(v[None]))
    close(jw, jacobian.transposed(w[None]))
    assert jy == pytest.approx(f, abs=1e-5)  # f(y) = ∇f(y) y
    assert jv_again == jv


def test_masks_belong_to_the_last_picture(page, networks):
    network, y, other = networks["second"], torch.rand(1, 1, 16, 16), 1 - torch.rand(1, 1, 16, 16)
    v = torch.randn(y.shape)
    code = """net.forward(a[0]);
        const one = net.product(a[2]);
        net.forward(a[1]);
        return [one, net.product(a[2])].map(plain);"""
    first, second = in_page(page, network, 16, code, y, other, v)
    close(first, Jacobian(network, y).forward(v[None]))
    close(second, Jacobian(network, other).forward(v[None]))
    assert np.abs(np.subtract(first, second)).max() > 1e-3


@pytest.mark.parametrize("k", [1, 12])
def test_leading_eigenvectors_are_those_of_adaptive_basis(page, networks, k):
    network, size = networks["first"], 24
    y = PICTURES["leaves"][None] + 0.2 * torch.randn(1, 1, size, size)
    code = f"""net.forward(a[0]);
        const half = (v) => {{
            const right = net.product(v), left = net.transposed(v);
            return right.map((x, i) => (x + left[i]) / 2);
        }};
        const progress = [];
        let last;
        for (const state of module.leading(half, a[0].length, {k})) progress.push((last = state).progress);
        return [last.values, last.vectors.map(plain), last.residuals, progress, last.products];"""
    values, vectors, residuals, progress, products = in_page(page, network, size, code, y)
    dense = gahb.adaptive_basis(network, y)
    assert values == pytest.approx(dense.eigenvalues[0, :k].tolist(), abs=1e-4)
    assert max(residuals) <= 1e-3 and products < size**2
    assert progress == sorted(progress) and progress[-1] == 1  # the bar never goes back
    E = torch.tensor(vectors, dtype=torch.float64)
    torch.testing.assert_close(E @ E.T, torch.eye(k, dtype=torch.float64), atol=1e-6, rtol=0)
    S = dense.eigenvectors[0].flatten(1).double()
    images = S.T @ (dense.eigenvalues[0, :, None].double() * (S @ E.T))
    assert float((images - E.T * torch.tensor(values)).norm(dim=0).max()) <= 1.1e-3


def test_leading_finds_all_copies_of_an_eigenvalue(page):
    found = page.evaluate("""() => {
        const values = Float64Array.from({ length: 60 }, (_, i) => (i < 5 ? 1 : 1 / (2 + i)));
        let last;
        for (last of module.leading((v) => v.map((x, i) => x * values[i]), 60, 6));
        return last.values;
    }""")
    assert found == pytest.approx([1, 1, 1, 1, 1, 1 / 7], abs=1e-4)


def test_rotations_diagonalise(page):
    A = torch.randn(30, 30, dtype=torch.float64)
    A = A + A.T
    values, vectors = page.evaluate(
        """(A) => {
            const { values, vectors } = module.jacobi(A);
            return [values, vectors.map((v) => [...v])];
        }""", A.tolist()
    )
    assert values == pytest.approx(torch.linalg.eigvalsh(A).flip(0).tolist(), abs=1e-10)
    U = torch.tensor(vectors, dtype=torch.float64)
    torch.testing.assert_close(U @ A @ U.T, torch.diag(torch.tensor(values, dtype=torch.float64)), atol=1e-10, rtol=0)


def test_noise_is_normal_and_depends_on_its_seed(page):
    z = np.array(page.evaluate("[1, 1, 2].map((seed) => [...module.normal(20001, seed)])"))
    np.testing.assert_array_equal(z[0], z[1])
    assert abs(np.corrcoef(z[0], z[2])[0, 1]) < 0.03
    assert z[0].mean() == pytest.approx(0, abs=0.03) and z[0].std() == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(z[0]) < 1) == pytest.approx(0.6827, abs=0.015)
    assert abs(np.corrcoef(z[0][1:], z[0][:-1])[0, 1]) < 0.03
    # a diffusion adds noise of neighbouring seeds: they must not be the same noise at another place
    z = np.array(page.evaluate("Array.from({ length: 8 }, (_, seed) => [...module.normal(4096, seed)])"))
    spectra = np.fft.fft(z)
    for i in range(8):
        for j in range(i):
            shifted = np.fft.ifft(spectra[i] * spectra[j].conj()).real / 4096
            assert np.abs(shifted).max() < 0.1, (i, j)


@pytest.mark.parametrize(("h", "beta"), [(0.05, 1.0), (0.2, 0.5)])
def test_a_step_of_the_diffusion_is_that_of_sample(page, networks, h, beta):
    class TwoStepsSeenError(Exception):
        pass

    path = []

    def watch(step, images, sigma, y, x_hat):
        path.append((float(sigma), y.clone(), x_hat))
        if step == 1:
            raise TwoStepsSeenError

    with pytest.raises(TwoStepsSeenError):
        gahb.sample(networks["second"], 1, (1, 16, 16), h=h, beta=beta, progress=False, callback=watch)
    (sigma, y, x_hat), (_, after, _) = path
    gain = ((1 - beta * h) ** 2 - (1 - h) ** 2) ** 0.5
    noise = (after - y - h * (x_hat - y)) / (gain * sigma) if gain else None
    arrays = [None if a is None else a.flatten().tolist() for a in (y, x_hat, noise)]
    found, level = page.evaluate(
        """([y, x, z, h, beta]) => [[...module.onward(Float32Array.from(y), x, z, h, beta)], module.rms(y, x)]""",
        [*arrays, h, beta],
    )
    close(found, after)
    assert level == pytest.approx(sigma, rel=1e-4)
    if noise is not None:  # of the strength that makes it unit noise
        assert float(noise.std()) == pytest.approx(1, abs=0.15)


# ---------------------------------------------------------------- what a reader does


def pixels(page, k: int) -> np.ndarray:
    """Panel k (clean, noisy, denoised, filter): (n, n, 3), of 255."""
    found = page.evaluate(
        """(k) => { const c = document.querySelectorAll(".gl-panel canvas")[k];
            return [c.width, ...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]; }""", k)
    return np.array(found[1:]).reshape(found[0], found[0], 4)[..., :3]


def filter_name(page) -> str:
    return page.locator(".gl-filter canvas").get_attribute("aria-label")


def decibels(page, k: int) -> float:
    return float(re.search(r"([\d.]+) dB", page.locator(".gl-panel").nth(k).inner_text())[1])


def test_what_is_shown_is_what_torch_makes_of_it(page, networks):
    z = torch.tensor(page.evaluate("[...module.normal(24 * 24, 0)]")).reshape(1, 1, 24, 24)
    x = (255 * PICTURES["disk"]).round() / 255
    y = x + 0.2 * z
    with torch.no_grad():
        f = networks["first"](y)
    for k, picture in enumerate((x, y, f)):
        wanted = (255 * picture.squeeze()).clamp(0, 255)
        assert np.abs(pixels(page, k)[..., 0] - wanted.numpy()).max() <= 0.51
    for k, picture in ((1, y), (2, f)):
        assert decibels(page, k) == pytest.approx(float(-10 * (picture - x).square().mean().log10()), abs=0.06)
    row, column = page.evaluate("model.get('pixel')")
    row_of_J = gahb.adaptive_filters(networks["first"], y, pixels=[[row, column]]).squeeze()
    text = page.locator(".gl-panel").nth(3).inner_text().replace("−", "-")
    assert float(re.search(r"sum (-?[\d.]+)", text)[1]) == pytest.approx(float(row_of_J.sum()), abs=0.006)
    top, left = (min(12, max(0, v - 6)) for v in (row, column))  # shown: half of it, around the pixel
    part = row_of_J[top : top + 12, left : left + 12]
    end = max(float(row_of_J.abs().max()) / 8, float(part.abs().flatten().sort()[0][int(0.985 * 144)]))
    colours = 255 * matplotlib.colormaps[DIVERGING]((part / end / 2 + 0.5).clamp(0, 1).numpy())[..., :3]
    np.testing.assert_allclose(pixels(page, 3), colours, atol=6)  # matplotlib has 256 colours, we 255


def test_slider_changes_the_noise(page):
    before, noisy = pixels(page, 2), decibels(page, 1)
    slider = page.get_by_role("slider", name="noise level σ")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.65, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2, steps=5)
    settle(page)
    assert page.evaluate("model.get('sigma')") < 0.06
    assert decibels(page, 1) > noisy + 8 and (pixels(page, 2) != before).any()
    page.mouse.up()
    slider.press("ArrowRight")
    page.evaluate("model.set('sigma', 0.5)")  # as a kernel does
    settle(page)
    assert float(slider.input_value()) == pytest.approx(np.log10(0.5), abs=0.006)
    again = pixels(page, 1)
    page.get_by_role("button", name="other noise").click()
    settle(page)
    assert (pixels(page, 1) != again).any() and page.evaluate("model.get('sigma')") == 0.5


def test_networks_and_pictures_are_chosen(page, networks):
    page.get_by_role("button", name="leaves").click()
    settle(page)
    np.testing.assert_allclose(pixels(page, 0)[..., 0], (255 * PICTURES["leaves"][0]).round(), atol=0.5)
    assert page.get_by_role("button", name="leaves").get_attribute("aria-pressed") == "true"
    page.get_by_role("radio", name="first").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.evaluate("model.get('network')") == 1
    assert len(pixels(page, 0)) == 16 and "16×16" in page.locator(".gl-foot").inner_text()
    assert page.locator(".gl-plot").get_attribute("hidden") is not None  # no curves for this one


def test_a_pixel_is_chosen_by_pointer_and_keys(page):
    page.evaluate("document.addEventListener('keydown', (e) => { window.last = e.key; })")
    frame = page.get_by_role("application", name=re.compile("denoised picture"))
    box, before = frame.bounding_box(), pixels(page, 3)
    page.mouse.click(box["x"] + box["width"] * 20.5 / 24, box["y"] + box["height"] * 4.5 / 24)
    settle(page)
    assert page.evaluate("model.get('pixel')") == [4, 20]
    assert (pixels(page, 3) != before).any() and "row 5, column 21" in filter_name(page)
    for key in ("ArrowDown", "ArrowLeft", "Shift+ArrowDown", *["ArrowRight"] * 9):
        frame.press(key)
    assert page.evaluate("model.get('pixel')") == [10, 23]  # not beyond the edge
    assert page.evaluate("window.last") != "ArrowRight"  # no arrow got out: the page may turn at those


def test_drawing_by_pointer_and_keys(page):
    frame = page.get_by_role("application", name=re.compile("clean picture"))
    box, before = frame.bounding_box(), pixels(page, 0)
    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 20, steps=12)
    page.mouse.up()
    settle(page)
    drawn = pixels(page, 0)
    assert (drawn != before).any(axis=2).any(axis=0).sum() >= 20  # columns
    assert drawn.min() < 40
    noisy = pixels(page, 1)
    page.get_by_role("radio", name="light pen").check(force=True)
    for key in ("ArrowUp", "ArrowUp", "Space"):
        frame.press(key)
    settle(page)
    light, after = pixels(page, 0) - drawn, pixels(page, 1)
    assert light.max() > 50 and (light == 0).mean() > 0.75  # a dot
    shown = (noisy > 0) & (after < 255)
    assert np.abs(after - noisy - light)[shown].max() <= 1 and (light * shown).max() > 50  # the same noise over it
    page.get_by_role("button", name="disk").click()
    settle(page)
    np.testing.assert_array_equal(pixels(page, 0), before)  # the drawing is not the built-in picture


def test_a_picture_of_the_readers_own(page):
    colours = np.zeros((48, 96, 3), np.uint8)
    colours[:, 24:72] = [200, 100, 50]  # the middle square
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "png")
    upload = page.get_by_label("a picture of your own; it stays on this machine")
    upload.set_input_files({"name": "own.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.wait_for_function("document.querySelectorAll('[aria-pressed=true]').length === 0")
    settle(page)
    np.testing.assert_allclose(pixels(page, 0), 0.299 * 200 + 0.587 * 100 + 0.114 * 50, atol=1)
    upload.set_input_files({"name": "own.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.wait_for_function("document.querySelector('.gl-trouble').textContent.includes('own.txt is not a picture')")
    page.evaluate("model.set('picture', 0)")  # as a kernel does: the reader's picture goes
    settle(page)
    shown = next(iter(PICTURES.values()))[0]
    np.testing.assert_allclose(pixels(page, 0)[..., 0], (255 * shown).round(), atol=0.5)


def test_eigenvectors_on_a_button(page, networks):
    assert page.locator(".gl-vectors").is_hidden()
    page.get_by_role("button", name="find them").click()
    page.get_by_role("button", name="again").wait_for()
    values = [float(t) for t in page.locator(".gl-vectors span").all_inner_texts()]
    z = torch.tensor(page.evaluate("[...module.normal(24 * 24, 0)]")).reshape(1, 1, 24, 24)
    y = (255 * PICTURES["disk"]).round() / 255 + 0.2 * z
    expected = gahb.adaptive_basis(networks["first"], y).eigenvalues[0, :12]
    assert values == pytest.approx(expected.tolist(), abs=6e-4)  # of three decimals
    name = page.locator(".gl-vectors canvas").first.get_attribute("aria-label")
    assert name == f"eigenvector 1, eigenvalue {values[0]:.3f}"
    page.get_by_role("button", name="other noise").click()
    settle(page)
    assert page.locator(".gl-vectors").is_hidden()  # they were those of another picture


def test_eigenvectors_show_progress_and_stop(page):
    page.evaluate("setTimeout = ((plain) => (f, ms, ...rest) => plain(f, ms ?? 60, ...rest))(setTimeout)")  # slow down
    page.get_by_role("button", name="find them").click()
    bar = page.get_by_role("progressbar", name="progress of the eigenvectors")
    bar.wait_for(state="visible")
    stop = page.locator(".gl-inside button")
    assert stop.inner_text() == "stop"
    stop.click()
    settle(page)
    assert bar.is_hidden() and "stopped after" in page.locator(".gl-told").inner_text()


def test_the_diffusion_runs_stops_goes_back_and_ends_otherwise(page):
    page.get_by_role("radio", name="make one from noise").check(force=True)
    settle(page)
    assert page.locator(".gl-panel").first.is_hidden() and page.locator(".gl-pictures").is_hidden()
    steps = page.get_by_role("slider", name="step")
    assert steps.is_disabled()
    page.get_by_role("button", name="start").click()
    page.wait_for_function("+document.querySelector('input[aria-label=step]').max >= 12")
    page.get_by_role("button", name="stop").click()
    settle(page)
    last, end = int(steps.get_attribute("max")), pixels(page, 1)
    for _ in range(5):  # frames and tasks in which it would go on
        settle(page)
    assert int(steps.get_attribute("max")) == last == int(steps.input_value())  # it has stopped
    steps.press("Home")
    settle(page)
    start = pixels(page, 1)
    assert (start != end).any() and page.locator("output", has_text=f"0 of {last}").count() == 1
    steps.press("End")
    settle(page)
    np.testing.assert_array_equal(pixels(page, 1), end)  # the same way back
    for _ in range(4):
        steps.press("ArrowLeft")
    settle(page)
    page.get_by_role("button", name="another ending from here").click()
    page.wait_for_function("(last) => +document.querySelector('input[aria-label=step]').max >= last", arg=last)
    page.get_by_role("button", name="stop").click()
    steps.evaluate("(node, to) => { node.value = to; node.dispatchEvent(new Event('input')); }", last)
    settle(page)
    assert (pixels(page, 1) != end).any()  # other noise on the way
    page.get_by_role("button", name="denoise this one").click()
    settle(page)
    assert page.locator(".gl-panel").first.is_visible() and page.evaluate("model.get('picture')") == -1


@pytest.mark.parametrize("page", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_by_itself_where_motion_is_reduced(page):
    page.get_by_role("radio", name="make one from noise").check(force=True)
    page.get_by_role("button", name="start").click()
    page.get_by_role("button", name="start again").wait_for()  # at once, whole
    steps = page.get_by_role("slider", name="step")
    assert int(steps.input_value()) == int(steps.get_attribute("max")) > 20


def test_psnr_stands_beside_the_larger_network(page):
    label = page.locator(".gl-plot").get_attribute("aria-label")
    assert "this network: 40.0 at 0.01, 27.0 at 0.1, 20.0 at 0.5. a larger one: 41.0 at 0.01, 28.5 at 0.1" in label
    assert page.locator(".gl-curve-0").count() == page.locator(".gl-curve-1").count() == 2  # a line, and its legend


def test_spoken_once_the_hand_rests(page):
    slider = page.get_by_role("slider", name="noise level σ")
    for _ in range(3):
        slider.press("ArrowRight")
    page.wait_for_function("document.querySelector('.gw-said[aria-live]').textContent.length > 0")
    said = page.locator(".gw-said[aria-live]").inner_text()
    assert re.match(r"sigma 0\.21: noisy [\d.]+ decibels, denoised [\d.]+ decibels; filter of row", said)


def test_named_for_who_cannot_see(page):
    assert page.get_by_role("group", name="Two denoisers at work").count() == 1
    for canvas in page.locator("canvas[role=img]:visible").all():
        assert canvas.get_attribute("aria-label")
    for control in page.locator("button, input, [tabindex]").all():
        name = control.evaluate("(e) => e.ariaLabel || e.textContent || e.closest('label')?.textContent")
        assert name, control.evaluate("(e) => e.outerHTML")


@pytest.mark.parametrize("page", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_fits_a_phone(page):
    for mode in ("denoise a picture", "make one from noise"):
        page.get_by_role("radio", name=mode).check(force=True)
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        boxes = [frame.bounding_box() for frame in page.locator(".gl-frame:visible").all()]
        assert len({round(box["x"]) for box in boxes}) == 2 and min(box["width"] for box in boxes) > 110


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_in_both_themes(page, theme):
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    settle(page)
    assert page.locator(".gahb-live").get_attribute("data-theme") == theme
    found = contrasts(page, [".gl-title", ".gl-caption", ".gl-foot", ".gl-plot text", ".gl-slider span", "output"])
    assert min(found.values()) > 4.5, found


def test_leaves_nothing_behind(page):
    assert page.evaluate("model.listeners()") > 0
    page.get_by_role("button", name="find them").click()
    page.evaluate("close_widget()")
    for _ in range(10):  # tasks in which it would go on
        settle(page)
    assert page.evaluate("model.listeners()") == 0
    assert page.locator(".gahb-widget").count() == 0
