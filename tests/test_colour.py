"""Images in three channels: what takes grey images takes them too."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import gahb


@pytest.fixture
def colours(tmp_path, monkeypatch) -> torch.Tensor:
    """Forty images read from a folder, (40, 3, 16, 16); the first one stored on its side, as its EXIF data say."""
    monkeypatch.setenv("GAHB_CACHE", str(tmp_path / "cache"))
    made = gahb.images.dead_leaves(120, 16).reshape(40, 3, 16, 16)
    (tmp_path / "images").mkdir()
    for k, image in enumerate((255 * made).round().byte().numpy()):
        picture, out = Image.fromarray(image.transpose(1, 2, 0)), io.BytesIO()
        exif = Image.Exif()
        if k == 0:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
            exif[274] = 6
        picture.save(out, format="png", exif=exif)
        (tmp_path / "images" / f"{k:02d}.png").write_bytes(out.getvalue())
    x = gahb.images.folder(tmp_path / "images", 16, channels=3, progress=False)
    np.testing.assert_allclose(x, made, atol=0.003)
    return x


def test_what_takes_grey_images_takes_colour(colours):
    network = gahb.fit(gahb.UNet(4, 1, channels=3), colours, steps=4, batch=4, progress=False)
    curve = gahb.psnr_curve(network, colours[:5], [0.1, 0.5])
    assert curve.per_image.shape == (2, 5) and curve.mse.isfinite().all()
    drawn = gahb.sample(network, 2, (3, 16, 16), method="ddim", steps=3, progress=False)
    assert drawn.shape == (2, 3, 16, 16) and drawn.isfinite().all()
    similarity, index = gahb.nearest(0.5 * colours[[7, 3]] + 0.2, colours)
    assert index.tolist() == [7, 3] and similarity.min() > 1 - 1e-9
    first, second, rest = gahb.images.split(colours, 10)
    found = gahb.copies(first, torch.cat([second, rest, first]), level=0.1, progress=False)
    assert found.index.tolist() == list(range(30, 40))


def test_colour_does_not_count_as_brightness(colours):
    """Grey versions of two images can be alike where their colours are not."""
    other = colours.flip(1)  # blue for red
    assert gahb.twin_similarity(colours.mean(1), other.mean(1)).min() > 1 - 1e-9
    assert gahb.twin_similarity(colours, other).max() < 0.99


def test_figures_show_colour(colours):
    figure = gahb.figures.image_grid([[colours[0], colours[1, :1]], [1.2 * colours[2], colours[3]]])
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert [array.shape for array in shown] == [(16, 16, 3), (16, 16), (16, 16, 3), (16, 16, 3)]
    np.testing.assert_allclose(shown[0], colours[0].permute(1, 2, 0), atol=1e-6)
