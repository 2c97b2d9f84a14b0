"""The live denoiser in a built page: what is put there, what is fetched when, and what stands in for it."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_book
import torch

import gahb
from gahb import zoo
from gahb.zoo import recipes

sys.path.insert(0, str(Path(__file__).parent / "browser"))
import browsing

NETWORKS = {"photographs": ("photos-live", "photos", 32), "C² images": ("calpha-live", "calpha-2", 40),
            "faces": ("faces-live", "faces-40", 32)}  # as the extension has them, smaller
NETWORK = {"kind": "UNet", "width": 4, "depth": 1}
PSNR = [40.0, 36.0, 31.0, 28.0, 25.0, 20.0]


@pytest.fixture(scope="module")
def extension(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "book"))
        yield importlib.import_module("_ext.live_page")


def put(folder: Path, name: str, images: dict, seed: int = 0) -> None:
    """A recipe and a network that removes nothing but a little: it need not be trained to be shown."""
    folder.mkdir(exist_ok=True)
    text = f"network: {NETWORK}\nimages: {images}\ntraining: {{steps: 4}}\n"
    (folder / f"{name}.yaml").write_text(text.replace("'", '"'))
    network = recipes.build(NETWORK, seed=seed)
    with torch.no_grad():
        network.decoder[0][-1].weight *= 0.01
    recipe = dict(name=name, network=NETWORK, images=images, training={"steps": 4})
    zoo.export(network, folder / f"{name}.safetensors", recipe=recipe, log=[{"step": 4, "psnr": PSNR}])


@pytest.fixture(scope="module")
def built(tmp_path_factory, root, extension):
    """A page with much text above the widget, of two small networks: (its address in the file system, its project)."""
    place = tmp_path_factory.mktemp("live")
    put(place / "weights", "photos-live", {"kind": "photos", "size": 40})
    put(place / "weights", "photos", {"kind": "photos", "size": 40}, seed=1)
    put(place / "weights", "faces-live", {"kind": "folder", "path": "${GAHB_FACES}", "size": 40})
    (place / "book").mkdir()
    text = "# Live\n\n" + "Words.\n\n" * 120 + "```{live-denoiser}\n```\n"
    (place / "book" / "live.md").write_text(text)
    style = root / "book" / "_static" / "gahb.css"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "folders", lambda: [place / "weights"])
        patch.setattr(extension, "NETWORKS", NETWORKS)
        small_book.build(place, "book/live", ["live_page"], html_static_path=[str(style)], html_css_files=[style.name])
        yield place


def carried(place: Path) -> dict:
    """What the widget's file carries."""
    (path,) = (place / "_build" / "_static" / "widgets").glob("*.js")
    name, about = re.search(r"\[(.*)\] = (\{.*\});\n$", path.read_text(encoding="utf-8")).groups()
    assert json.loads(name) == path.stem
    return json.loads(about)


def test_the_page_names_the_file_and_has_pictures(built):
    html = (built / "_build" / "book" / "live.html").read_text()
    address = re.search(r'data-widget="([^"]+)"', html)[1]
    assert (built / "_build" / "book" / address).resolve().is_file()
    assert html.count("<figure") == html.count("<img alt=") == 2
    assert (built / "_build" / "book" / address).stat().st_size < 1_500_000
    assert "wasm" not in html and len(html) < 60_000  # the code is in the file


def test_psnr_is_measured_at_the_build(built, extension, monkeypatch):
    by_label = {about["label"]: about for about in carried(built)["state"]["networks"]}
    assert {label: about["size"] for label, about in by_label.items()} == {"photographs": 32, "faces": 32}
    monkeypatch.setattr(zoo, "folders", lambda: [built / "weights"])
    x = zoo.recipe("photos-live").test_images(64)
    curves = by_label["photographs"]["curves"]
    assert [curve["label"] for curve in curves] == ["this network", "photos, 0.00 million"]
    for name, curve in zip(("photos-live", "photos"), curves):
        assert curve["psnr"] == gahb.psnr_curve(zoo.load(name), x, recipes.LEVELS).psnr.tolist()
        assert curve["sigmas"] == list(recipes.LEVELS)
    # faces are the reader's to bring: numbers of the training log, and no larger network ships here
    assert [(c["label"], c["psnr"]) for c in by_label["faces"]["curves"]] == [("this network", PSNR)]


def test_it_is_made_again_only_when_a_network_changes(built, extension, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "folders", lambda: [tmp_path / "weights"])
    for path in (built / "weights").iterdir():
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(extension, "pictures", lambda *_: [])  # the page above has them
    first = extension.made(tmp_path / "live")
    with monkeypatch.context() as patch:
        patch.setattr(extension, "live", None)  # not called
        assert extension.made(tmp_path / "live") == first
    put(tmp_path / "weights", "photos", {"kind": "photos", "size": 40}, seed=2)
    key, _ = extension.made(tmp_path / "live")
    assert key != first[0]
    assert {path.stem for path in (tmp_path / "live").iterdir()} == {key}  # the old ones are gone


def test_without_weights_the_page_says_so(extension, monkeypatch, tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "book" / "live.md").write_text("# Live\n\n```{live-denoiser}\n```\n")
    monkeypatch.setattr(zoo, "folders", lambda: [tmp_path / "weights"])
    html = (small_book.build(tmp_path, "book/live", ["live_page"]) / "book" / "live.html").read_text()
    assert "It is not here yet" in html and "photos-live" in html and "gahb-lazy" not in html
    env = SimpleNamespace(found_docs={"book/live"})
    assert extension.outdated(None, env, *[None] * 3) == ["book/live"]
    assert extension.outdated(None, env, *[None] * 3) == []
    put(tmp_path / "weights", "photos-live", {"kind": "photos", "size": 40})
    assert extension.outdated(None, env, *[None] * 3) == ["book/live"]  # it is read again


# ---------------------------------------------------------------- in a browser

browser_is_here = pytest.mark.skipif(
    browsing.why_not() is not None and os.environ.get("GAHB_REQUIRE_BROWSER") != "1", reason=str(browsing.why_not())
)


@pytest.fixture(scope="module")
def chrome():
    with browsing.browser() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def address(built):
    with browsing.serve(built / "_build") as address:
        yield f"{address}/book/live.html"


@pytest.mark.browser
@browser_is_here
def test_nothing_of_it_is_fetched_before_it_is_near(chrome, address):
    page = chrome.new_page(viewport={"width": 1280, "height": 800})
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: errors.append(m) if m.type == "error" and "favicon" not in m.location["url"] else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    browsing.settle(page)
    assert not [url for url in requests if "/widgets/" in url or url.startswith("blob:")]
    assert page.locator(".gahb-live-page figure").first.is_visible()  # until then
    page.locator(".gahb-lazy").scroll_into_view_if_needed()
    page.wait_for_selector(".gahb-live[data-ready]")
    assert [url for url in requests if "/widgets/" in url]
    assert page.locator(".gahb-live-page figure").first.is_hidden()
    host = address.rsplit("/book", 1)[0]
    assert [url for url in requests if not url.startswith((host, "blob:", "data:"))] == []
    before = page.locator(".gl-panel").nth(1).inner_text()
    page.get_by_role("slider", name="noise level σ").press("End")
    page.wait_for_function("(before) => document.querySelectorAll('.gl-panel')[1].innerText !== before", arg=before)
    assert errors == []
    page.emulate_media(media="print")
    assert page.locator(".gahb-live-page figure").first.is_visible() and page.locator(".gahb-live").is_hidden()
    page.close()


@pytest.mark.browser
@browser_is_here
def test_it_runs_from_a_disk_too(chrome, built):
    page = chrome.new_page()
    page.goto((built / "_build" / "book" / "live.html").as_uri())
    page.locator(".gahb-lazy").scroll_into_view_if_needed()
    page.wait_for_selector(".gahb-live[data-ready]")
    page.close()


@pytest.mark.browser
@browser_is_here
def test_without_javascript_there_are_the_pictures(chrome, address):
    page = chrome.new_page(java_script_enabled=False)
    page.goto(address)
    assert all(figure.is_visible() for figure in page.locator(".gahb-live-page figure").all())
    page.close()


@pytest.mark.browser
@browser_is_here
def test_a_browser_that_cannot_run_it_says_so(chrome, address):
    page = chrome.new_page()
    page.add_init_script("delete window.WebAssembly")
    page.goto(address)
    page.locator(".gahb-lazy").scroll_into_view_if_needed()
    page.get_by_text("The widget does not run in this browser").wait_for()
    assert page.locator(".gahb-live-page figure").first.is_visible() and page.locator(".gahb-live").count() == 0
    page.close()
    page = chrome.new_page()
    page.route("**/widgets/*.js", lambda route: route.abort())
    page.goto(address)
    page.locator(".gahb-lazy").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.gahb-lazy').innerText.includes('could not be read')")
    assert page.locator(".gahb-live-page figure").first.is_visible()
    page.close()
