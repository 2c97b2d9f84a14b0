"""Denoisers as text, and copies on another device: "meta" stands for one that this machine lacks."""

from __future__ import annotations

import pytest
import torch

import gahb

X = gahb.images.disks(5, 8)

TEXTS = {
    "Empirical(N=5, shape=(1, 8, 8))": lambda: gahb.Empirical(X),
    "Gaussian(shape=(1, 8, 8))": lambda: gahb.Gaussian.of(X),
    "GaussianMixture(K=2, shape=(3,))": lambda: gahb.GaussianMixture(
        torch.tensor([0.5, 0.5]), torch.zeros(2, 3), torch.eye(3).expand(2, 3, 3)
    ),
    "OptimalDisks(size=8)": lambda: gahb.OptimalDisks(8),
    "PatchEmpirical(N=5, shape=(1, 8, 8), patch=3, equivariant=True, border='zero')": lambda: gahb.PatchEmpirical(X, 3),
    "WienerLocal(N=5, shape=(1, 8, 8), threshold=0.05)": lambda: gahb.WienerLocal(X),
    "Wiener(shape=(1, 8, 8), mean=0.4)": lambda: gahb.Wiener.of_spectrum(torch.ones(1, 8, 8), mean=0.4),
}
SETTINGS = {
    "Wavelet(threshold='soft', wavelet='haar', multiple=1.5, levels=2, shifts=3)": lambda: gahb.Wavelet(
        "haar", levels=2, threshold="soft", shifts=3
    ),
    "Bandlet(wavelet='sym4', multiple=3.0, levels=4, shifts=4, sides=(4, 8), moments=1, flow_cost=1.0)": gahb.Bandlet,
    "BayesShrink(levels=4, shifts=2)": lambda: gahb.BayesShrink(shifts=2),
    "NonLocalMeans(patch=5, distance=6)": gahb.NonLocalMeans,
}


@pytest.mark.parametrize("text", [*TEXTS, *SETTINGS])
def test_a_denoiser_says_what_it_is(text):
    assert repr({**TEXTS, **SETTINGS}[text]()) == text


def tensors(holder) -> list[torch.Tensor]:
    """All that a denoiser holds, also inside its posterior."""
    found = []
    for value in holder if isinstance(holder, tuple) else vars(holder).values():
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, tuple) or hasattr(value, "mean"):
            found += tensors(value)
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_a_copy_moves_and_the_denoiser_stays(text):
    denoiser = TEXTS[text]()
    moved = denoiser.to("meta")
    assert tensors(moved) and all(tensor.is_meta for tensor in tensors(moved))
    assert not any(tensor.is_meta for tensor in tensors(denoiser))
    y = torch.rand(2, denoiser.size**2 if isinstance(denoiser, gahb.OptimalDisks) else 64)
    y = y[:, :3] if isinstance(denoiser, gahb.GaussianMixture) else y.reshape(2, 1, 8, 8)
    for same in (denoiser.to("cpu"), denoiser.to(y), denoiser.to(torch.float32), denoiser.to(dtype=torch.float64)):
        assert type(same) is type(denoiser) and torch.equal(same(y, 0.3), denoiser(y, 0.3))


def test_a_moved_set_of_images_is_held_once():
    moved = gahb.Empirical(X).to("cpu", torch.float32)
    assert moved._flat.data_ptr() == moved.images.data_ptr()
    with pytest.raises(RuntimeError, match="device"):
        moved.to("nowhere")
