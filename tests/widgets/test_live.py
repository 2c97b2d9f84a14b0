"""The live denoiser, before a page: what it carries, what it follows, what it refuses."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from traitlets import TraitError

import gahb
from gahb.images import TEST, TRAIN, photograph
from gahb.widgets.live import default_pictures, flat_state, live, reduced

NETWORK = gahb.UNet(width=4, depth=1).eval()


def test_it_carries_the_weights_as_they_are():
    two = gahb.UNet(width=3, depth=2).eval()
    widget = live({"one": NETWORK, "two": two}, size={"one": 10, "two": 12})
    floats = np.frombuffer(zlib.decompress(widget.weights), "<f4")
    assert [about["floats"] for about in widget.networks] == [len(flat_state(n)) for n in (NETWORK, two)]
    np.testing.assert_array_equal(floats, np.concatenate([flat_state(NETWORK), flat_state(two)]))
    size = sum(p.numel() for p in two.parameters())
    assert widget.networks[1] == dict(
        label="two", width=3, depth=2, size=12, floats=len(flat_state(two)), parameters=size, curves=[]
    )


def test_it_carries_the_pictures_in_every_size():
    ramp = torch.linspace(0, 1, 16).expand(16, 16)
    pictures = {"ramp": ramp[None], "flat": torch.ones(20, 20)}
    widget = live({"a": NETWORK, "b": NETWORK}, size={"a": 16, "b": 8}, pictures=pictures)
    bytes_ = np.frombuffer(zlib.decompress(widget.pictures), np.uint8)
    first, second = bytes_[: 2 * 256].reshape(2, 16, 16), bytes_[2 * 256 :].reshape(2, 8, 8)
    np.testing.assert_array_equal(first[0], np.rint(255 * ramp.numpy()))
    means = ramp.unflatten(0, (8, 2)).unflatten(2, (8, 2)).mean((1, 3))
    np.testing.assert_array_equal(second[0], np.rint(255 * means.numpy()))
    assert (first[1] == 255).all() and (second[1] == 255).all()


def is_cut_from(photo: torch.Tensor, picture: torch.Tensor) -> bool:
    """Whether `picture` (H, H) is a part of `photo` (1, H', W'), to the bit."""
    side = len(picture)
    if min(photo.shape[1:]) < side:
        return False
    windows = photo[0].unfold(0, side, 1).unfold(1, side, 1)
    places = (windows[:, :, 0, 0] == picture[0, 0]) & (windows[:, :, -1, -1] == picture[-1, -1])
    return any(torch.equal(windows[i, j], picture) for i, j in places.nonzero().tolist())


def test_photographs_shown_were_held_out():
    pictures = default_pictures()
    of = {
        kind: {label for label, picture in pictures.items() if any(is_cut_from(photograph(n), picture) for n in names)}
        for kind, names in (("held out", TEST), ("trained on", TRAIN))
    }
    made = {"disk", "smooth on both sides of a smooth contour", "blank sheet"}
    assert of == {"held out": pictures.keys() - made, "trained on": set()}
    assert is_cut_from(photograph(TRAIN[0]), photograph(TRAIN[0])[0, 5:45, 7:47])  # would be seen


def test_built_in_pictures_are_whole():
    pictures = default_pictures()
    for name, picture in pictures.items():
        assert picture.shape[0] == picture.shape[1] >= 64, name
        assert picture.min() >= 0 and picture.max() <= 1, name
        assert reduced(picture, 40).shape == (40, 40)
    contrasts = {name: float(picture.std()) for name, picture in pictures.items()}
    assert contrasts.pop("blank sheet") == 0
    assert min(contrasts.values()) > 0.05, contrasts


def test_traits_can_be_set_within_their_range():
    widget = live({"a": NETWORK, "b": NETWORK}, size=8)
    widget.network, widget.picture, widget.sigma, widget.pixel = 1, -1, 0.3, [3, 4]
    for name, value in (("network", 2), ("network", -1), ("picture", 99), ("picture", -2), ("sigma", 0.0)):
        with pytest.raises((ValueError, TraitError), match=name):
            setattr(widget, name, value)
    assert (widget.network, widget.picture, widget.sigma) == (1, -1, 0.3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(networks={}), ValueError, "networks must have at least one"),
        (dict(networks=gahb.Wavelet()), TypeError, r"networks\['network'\] must be a UNet of one channel, got Wavelet"),
        (dict(networks=gahb.UNet(4, 1, channels=3).eval()), TypeError, "one of 3 channels"),
        (dict(networks=gahb.UNet(4, 1)), ValueError, "eval"),
        (dict(networks=gahb.UNet(64, 2).eval()), ValueError, "networks must take at most 1.5 MB"),
        (dict(size=9), ValueError, "size of 'network' must be at most 128 and divisible by 2, got 9"),
        (dict(size=256), ValueError, "at most 128"),
        (dict(size={"other": 8}), ValueError, "size of 'network'"),
        (dict(pictures={}), ValueError, "pictures must have at least one"),
        (dict(pictures={"p": torch.rand(8, 9)}), ValueError, r"must be one square grey picture, got shape \(8, 9\)"),
        (dict(pictures={"p": 2 * torch.ones(8, 8)}), ValueError, r"pictures\['p'\] must be in \[0, 1\], got 2 to 2"),
        (dict(pictures={"p": torch.ones(4, 4)}), ValueError, "must have at least 8 pixels a side, got 4"),
        (dict(psnr={"network": {"a": ([0.1], [20.0, 21.0])}}), ValueError, r"psnr\['network'\]\['a'\]"),
        (dict(psnr={"network": {"a": ([0.0], [20.0])}}), ValueError, "positive noise levels"),
        (dict(sigma=0), ValueError, "sigma"),
        (dict(alt=""), ValueError, "alt"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        live(**(dict(networks=NETWORK, size=8) | arguments))
