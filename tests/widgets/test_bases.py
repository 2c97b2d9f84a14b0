"""Widgets over a denoiser at a picture: what is packed is what the measures say."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

import gahb
from gahb.widgets.bases import basis_frames, filter_frames, marked


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return gahb.UNet(4, 1).eval()


X = gahb.images.disks(2, 8)


def unpacked(widget) -> np.ndarray:
    """(length of each slider …, panels, H, W), levels of 8 bits."""
    steps = np.frombuffer(zlib.decompress(widget.pixels), np.uint8).reshape(-1, *widget.shape[2:])
    return np.cumsum(steps, axis=-1, dtype=np.uint8)[widget.shown].reshape(*map(len, widget.labels), *widget.shape[1:])


def grey(image: torch.Tensor) -> np.ndarray:
    return (255 * image.clamp(0, 1)).round().numpy()


def test_basis_frames_show_the_basis(network):
    widget = basis_frames({"a": (network, X[0]), "b": (network, X[1])}, [0.05, 0.2], numbers=[1, 3, 64, 65], seed=3)
    assert widget.labels == [["a", "b"], ["0.05", "0.2"], ["1", "3", "64"]]
    z = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(3))
    y = X[1] + 0.2 * z
    basis = gahb.adaptive_basis(network, y[None])
    S, levels = basis.eigenvectors[0].flatten(1), unpacked(widget)[1, 1]
    np.testing.assert_allclose(levels[1, 0], grey(y[0]), atol=1)
    shrunk = S[:3].T @ (basis.eigenvalues[0, :3] * (S[:3] @ y.flatten()))
    np.testing.assert_allclose(levels[1, 2], grey(shrunk.reshape(8, 8)), atol=1)
    np.testing.assert_allclose(levels[2, 3], grey(network(y[None]).detach()[0, 0]), atol=1)
    shape = levels[1, 1].astype(float).flatten() - 128
    assert abs(np.corrcoef(shape, S[2].numpy())[0, 1]) > 0.95  # cut at the 99th percentile
    assert widget.captions[3 * 3 + 1][1] == f"λ = {basis.eigenvalues[0, 2]:.2f}"


def test_filter_frames_show_rows_of_the_jacobian(network):
    widget = filter_frames({"a": (network, X[0] + 0.1, X[0])}, step=3)
    assert widget.labels == [["a"], ["1", "4"], ["1", "4"]] and widget.place == [1, 2]
    jacobian = torch.func.jacrev(lambda y: network(y[None, None])[0, 0])(X[0, 0] + 0.1)
    row, levels = jacobian[4, 1].detach(), unpacked(widget)[0, 1, 0]
    seen = (levels[1].astype(float) - 128) / 127 * widget.limit
    shown = (row / row.abs().max()).clamp(-widget.limit, widget.limit)
    np.testing.assert_allclose(seen, shown, atol=widget.limit / 120)
    np.testing.assert_array_equal(levels[0], grey(marked(X[0], (4, 1))[0]))


def test_a_mark_stays_in_the_picture():
    found = marked(torch.full((1, 3, 3), 0.5), (0, 0))[0]
    assert torch.equal(found, torch.tensor([[1, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0.5]]))


def test_pictures_that_are_none_are_refused_by_name():
    wanted = r"pictures must be a mapping from names to \(denoiser, clean image\), at least one, got "
    image = torch.zeros(1, 8, 8)
    wrong = {"Identity$": torch.nn.Identity(), "dict without any$": {}, "Tensor for 'a'$": {"a": image}}
    for said, given in wrong.items():
        with pytest.raises(TypeError, match=wanted + said):
            gahb.widgets.basis_frames(given, [0.1])
    with pytest.raises(TypeError, match=r"\(denoiser, noisy image, image to point at\), .* got tuple for 'a'"):
        gahb.widgets.filter_frames({"a": (torch.nn.Identity(), image)})
    with pytest.raises(TypeError, match=r"denoiser must be called as denoiser\(y, sigma=None\), .* got Identity"):
        gahb.widgets.basis_frames({"a": (torch.nn.Identity(), image)}, [0.1])
