"""The frames widget: what is packed, what is refused, what a notebook keeps."""

from __future__ import annotations

import base64
import zlib

import nbformat
import numpy as np
import pytest
import torch
import traitlets
from nbclient import NotebookClient

from gahb.widgets import FramesWidget, frames

RNG = np.random.default_rng(0)
PICTURES = RNG.uniform(size=(3, 2, 4, 5, 6))  # N, noise, panels, H, W
PICTURES[:, :, 3] -= 0.5
SLIDERS = {"N": [1, 10, 100], "noise": ["little", "much"]}


def unpacked(widget: FramesWidget) -> np.ndarray:
    steps = np.frombuffer(zlib.decompress(widget.pixels), np.uint8).reshape(-1, *widget.shape[2:])
    return np.cumsum(steps, axis=-1, dtype=np.uint8)[widget.shown].reshape(widget.shape)


def test_levels_are_the_pictures_rounded():
    widget = frames(PICTURES, SLIDERS, alt="noise", signed=[3])
    assert widget.shape == [6, 4, 5, 6]
    levels = unpacked(widget).reshape(PICTURES.shape)
    np.testing.assert_array_equal(levels[:, :, :3], np.rint(255 * PICTURES[:, :, :3]))
    assert widget.limit == pytest.approx(np.quantile(np.abs(PICTURES[:, :, 3]), 0.995))
    seen = (levels[:, :, 3].astype(float) - 128) / 127 * widget.limit
    np.testing.assert_allclose(seen, PICTURES[:, :, 3].clip(-widget.limit, widget.limit), atol=widget.limit / 254)


def test_grey_is_cut_and_zero_is_a_level():
    widget = frames([[[[-3.0, 2.0]], [[0.0, 0.0]]]], {"one": [0]}, alt="two panels", signed=[1])
    np.testing.assert_array_equal(unpacked(widget), [[[[0, 255]], [[128, 128]]]])
    assert widget.limit == 1


def test_a_picture_that_comes_again_is_kept_once():
    pictures = np.stack([PICTURES, PICTURES])  # a first slider that changes nothing
    pictures[1, ..., 2, :, :] = PICTURES[0, 0, 0]  # but one panel
    widget = frames(pictures, {"method": ["a", "b"], **SLIDERS}, alt="noise")
    assert len(widget.shown) == pictures[..., 0, 0].size and len(set(widget.shown)) == PICTURES[..., 0, 0].size
    levels = unpacked(widget).reshape(pictures.shape)
    np.testing.assert_array_equal(levels, np.rint(255 * pictures.clip(0, 1)))


def test_takes_arrays_tensors_and_labels_of_all_kinds():
    tensor = torch.tensor(PICTURES, requires_grad=True)
    sliders = {"N": torch.tensor([0.1, 0.5, 1e6]), "noise": range(2)}
    widget = frames(tensor, sliders, alt="noise", titles="abcd")
    np.testing.assert_array_equal(unpacked(widget), unpacked(frames(PICTURES, SLIDERS, alt="noise")))
    assert (widget.names, widget.labels) == (["N", "noise"], [["0.1", "0.5", "1e+06"], ["0", "1"]])
    assert (widget.titles, widget.value) == (list("abcd"), [0, 0])


def test_captions_lie_as_the_frames_do():
    captions = [[[f"{i}{j}{k}" for k in range(4)] for j in range(2)] for i in range(3)]
    widget = frames(PICTURES, SLIDERS, alt="noise", captions=captions)
    assert widget.captions[2 * 2 + 1] == ["210", "211", "212", "213"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": PICTURES[:2]}, r"frames must have shape \(3, 2, panels, H, W\) for .*, got \(2, 2, 4, 5, 6\)"),
        ({"frames": PICTURES[:, :, 0]}, r"frames must have shape \(3, 2, panels, H, W\) .* got \(3, 2, 5, 6\)"),
        ({"frames": PICTURES[..., :0]}, r"frames must have shape .* got \(3, 2, 4, 5, 0\)"),
        ({"frames": np.where(PICTURES > 0.9, np.nan, PICTURES)}, r"frames must be finite, got \d+ of 720 values"),
        ({"frames": "pictures"}, r"frames must be an array of numbers, got a str"),
        ({"frames": RNG.uniform(size=(3, 2, 4, 300, 300))}, r"frames must take at most 1.5 MB .* fewer positions"),
        ({"sliders": {}}, r"sliders must map one, two or three names to their labels, got 0 of them"),
        ({"sliders": {name: [1] for name in "abcd"}}, r"sliders must map one, two or three .* got 4 of them"),
        ({"sliders": [3, 2]}, r"sliders must map .* got \[3, 2\]"),
        ({"sliders": {"N": "abc", "noise": [1, 2]}}, r"sliders\['N'\] must be a list .* got 'abc'"),
        ({"sliders": {"N": 3, "noise": [1, 2]}}, r"sliders\['N'\] must be a list of numbers or texts, got 3"),
        ({"sliders": {"N": [], "noise": [1, 2]}}, r"sliders\['N'\] must have at least one label"),
        ({"titles": ["a", "b"]}, r"titles must be one for each of the 4 panels, got \['a', 'b'\]"),
        ({"signed": [4]}, r"signed must list panels from 0 to 3, got \[4\]"),
        ({"captions": [["a"] * 4] * 3}, r"captions must be texts of shape \(3, 2, 4\), got shape \(3, 4\)"),
        ({"captions": np.zeros((3, 2, 4))}, r"captions must be texts .* got shape \(3, 2, 4\) of float64"),
        ({"captions": [["a"], ["b", "c"]]}, r"captions must be texts of shape \(3, 2, 4\)"),
        ({"place": ("N", "noise")}, r"place must name two of the sliders \['N', 'noise'\] with numbers .* got \('N'"),
        ({"place": ("N", "N")}, r"place must name two of the sliders"),
        ({"place": ("N", "row")}, r"place must name two of the sliders"),
        ({"alt": " "}, r"alt must be a text that says what is shown, got ' '"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"frames": PICTURES, "sliders": SLIDERS, "alt": "noise"} | change
    with pytest.raises(ValueError, match=message):
        frames(**arguments)


def test_value_can_be_set_and_is_checked():
    widget = frames(PICTURES, SLIDERS, alt="noise")
    widget.value = [2, 1]
    for wrong in ([3, 0], [0, -1], [0], [0, 0, 0]):
        with pytest.raises(ValueError, match=r"value must be an index for each slider, N in 0 … 2, noise in 0 … 1"):
            widget.value = wrong
    assert widget.value == [2, 1]
    with pytest.raises(traitlets.TraitError, match="pixels"):
        widget.pixels = b""


def test_says_in_text_what_it_shows():
    widget = frames(PICTURES, SLIDERS, alt="Uniform noise")
    assert repr(widget) == "<Uniform noise; sliders: N (3) × noise (2)>"
    assert widget._repr_mimebundle_()[0]["text/plain"] == repr(widget)


def test_an_executed_notebook_keeps_the_pictures():
    source = (
        "import numpy as np\nfrom gahb.widgets import frames\n"
        "pictures = np.linspace(0, 1, 24).reshape(2, 1, 3, 4)\n"
        "widget = frames(pictures, {'t': [0, 1]}, alt='ramps')\nwidget.value = [1]\nwidget"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    kept = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    (entry,) = [widget for widget in kept if "captions" in widget["state"]]
    (buffer,) = entry["buffers"]
    assert (buffer["path"], entry["state"]["value"]) == (["pixels"], [1])
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(buffer["data"])), np.uint8).reshape(2, 1, 3, 4)
    levels = np.rint(255 * np.linspace(0, 1, 24)).reshape(2, 1, 3, 4)
    np.testing.assert_array_equal(np.cumsum(pixels, axis=-1, dtype=np.uint8), levels)
    assert "export default" in entry["state"]["_esm"] and ".gahb-frames" in entry["state"]["_css"]
