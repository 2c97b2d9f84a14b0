"""Bias-free networks: sizes, homogeneity, J(y) y = f(y), and what each mode does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import jacobian
from torch.func import functional_call, jacrev, jvp, vjp, vmap

import gahb
from gahb.denoisers.networks import BiasFreeNorm, Conv3x3

KINDS = {
    "UNet": lambda: gahb.UNet(width=4, depth=2),
    "BFCNN": lambda: gahb.BFCNN(width=6, layers=5),
    "UNet of colours": lambda: gahb.UNet(width=4, depth=1, channels=3),
}


def trained_like(kind: str, dtype=torch.float64) -> torch.nn.Module:
    """A network in eval mode whose gains and running deviations are not one."""
    network = KINDS[kind]().to(dtype)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, BiasFreeNorm):
            for values in (module.gain.data, module.running_sd):
                values.copy_(0.3 + 2 * torch.rand(values.shape, generator=generator))
    return network.eval()


def noisy(network, n: int = 2, size: int = 8, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, network.channels, size, size, generator=generator, dtype=torch.float64).to(dtype)


def test_sizes_are_those_of_the_paper():
    with torch.device("meta"):
        unet, chain = gahb.UNet(width=64, depth=3), gahb.BFCNN(width=64, layers=21)
    assert sum(p.numel() for p in unet.parameters()) == 7_659_264
    assert 690_000 < sum(p.numel() for p in chain.parameters()) < 710_000
    defaults = [(gahb.UNet, 3), (gahb.BFCNN, 21)]
    for kind, length in defaults:
        with torch.device("meta"):
            network = kind()
        assert (network.width, network.channels, getattr(network, "depth", getattr(network, "layers", 0))) == (
            64,
            1,
            length,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_no_parameter_is_added_to_anything(kind):
    network = KINDS[kind]()
    assert not [name for name, _ in network.named_parameters() if "bias" in name]
    assert not [m for m in network.modules() if getattr(m, "bias", None) is not None]
    zero = torch.zeros(1, network.channels, 8, 8)
    assert torch.equal(network.eval()(zero), zero)


def test_the_receptive_field_of_bfcnn_is_43_pixels():
    network = gahb.BFCNN(width=2, layers=21).double()
    for p in network.parameters():
        p.data.abs_()  # nothing cancels
    y = torch.rand(1, 1, 63, 63, dtype=torch.float64)
    gradient = jacrev(lambda u: network.eval().residual(u)[0, 0, 31, 31])(y)[0, 0]
    rows = gradient.abs().sum(dim=1).nonzero().flatten()
    assert (rows.min(), rows.max()) == (31 - 21, 31 + 21)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(a=st.floats(0.01, 100.0), seed=st.integers(0, 10**6))
def test_homogeneous_of_degree_one(kind, a, seed):
    network = trained_like(kind)
    y = noisy(network, seed=seed)
    with torch.no_grad():
        f, fa = network(y), network(a * y)
    assert (fa - a * f).abs().max() <= 1e-12 * a * f.abs().max()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_jacobian_times_y_is_f(kind, seed):
    network = trained_like(kind)
    y = noisy(network, seed=seed)
    f, Jy = jvp(network, (y,), (y,))
    assert (Jy - f).norm() <= 1e-10 * f.norm()
    assert (f - y).norm() > 1e-2 * y.norm()  # the residual is not nothing


def test_an_added_constant_breaks_both():
    """Homogeneity and J y = f fail, by far, for a network with a bias."""
    network = trained_like("UNet")
    biased = lambda u: network(u) + 0.1  # noqa: E731
    y = noisy(network)
    f, Jy = jvp(biased, (y,), (y,))
    assert (Jy - f).norm() > 1e-3 * f.norm()
    assert (biased(2 * y) - 2 * f).abs().max() > 0.09


@pytest.mark.parametrize("kind", ["UNet", "BFCNN"])
def test_torch_func_agrees_with_differences(kind):
    network = trained_like(kind)
    y = noisy(network, n=3, size=4)
    reference = jacobian(network, y)
    v = noisy(network, n=3, size=4, seed=5)
    expected = torch.einsum("bij,bj->bi", reference, v.flatten(1))
    forward = jvp(network, (y,), (v,))[1].flatten(1)
    torch.testing.assert_close(forward, expected, rtol=1e-6, atol=1e-7)
    many = vmap(lambda t: jvp(network, (y,), (t,))[1])(torch.stack([v, y]))
    torch.testing.assert_close(many[0].flatten(1), forward, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(many[1], network(y), rtol=1e-10, atol=1e-12)
    back = vmap(vjp(network, y)[1])(torch.stack([v, y]))[0]
    expected = torch.einsum("bij,bi->bj", reference, v.flatten(1))
    torch.testing.assert_close(back[0].flatten(1), expected, rtol=1e-6, atol=1e-7)
    each = vmap(lambda u: network(u[None])[0])(y)
    torch.testing.assert_close(each, network(y), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(kind, dtype):
    """Shape, dtype, blindness, independence of the batch; and nothing of the caller's is changed."""
    network = trained_like(kind, dtype)
    y = noisy(network, n=4, dtype=dtype)
    before, rng = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    with torch.no_grad():
        out = network(y, 0.1)
        assert out.shape == y.shape and out.dtype == dtype
        assert torch.equal(out, network(y)) and torch.equal(out, network(y, torch.full((4,), 0.7)))
        alone = torch.cat([network(row[None]) for row in y])
    torch.testing.assert_close(alone, out)
    assert not network.training and all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_mode_follows_the_batch_and_eval_does_not(dtype):
    norm = BiasFreeNorm(3).to(dtype)
    h = torch.tensor([0.5, 2.0, 7.0], dtype=dtype).reshape(1, 3, 1, 1) * torch.randn(64, 3, 8, 8).to(dtype) + 3
    sd = h.transpose(0, 1).flatten(1).std(dim=1, unbiased=False).reshape(1, 3, 1, 1)
    norm.train()
    torch.testing.assert_close(norm(h), h / sd, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.running_sd, 0.9 + 0.1 * sd, rtol=1e-4, atol=1e-4)
    for _ in range(200):
        norm(h)
    torch.testing.assert_close(norm.running_sd, sd, rtol=1e-4, atol=1e-4)
    kept = norm.running_sd.clone()
    norm.frozen = True
    torch.testing.assert_close(norm(10 * h), 10 * h / kept)
    norm.frozen = False
    norm.eval()
    torch.testing.assert_close(norm(10 * h), 10 * h / kept)
    assert torch.equal(norm.running_sd, kept)
    assert list(norm.state_dict()) == ["gain", "running_sd"]


def test_gradients_flow_through_the_batch_deviation():
    """In training mode the scale of the input does not matter, so that <h, dloss/dh> = 0."""
    norm = BiasFreeNorm(2).double().train()
    h = torch.randn(5, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    (norm(h) * weights).sum().backward()
    inner, scale = (h * h.grad).sum(), h.norm() * h.grad.norm()
    assert abs(inner.item()) < 1e-4 * scale.item()  # ε breaks it by about 1e-5
    assert norm.gain.grad.abs().min() > 0


def test_initial_weights_come_from_the_global_generator_only():
    torch.manual_seed(3)
    a = gahb.UNet(4, 1).state_dict()
    torch.manual_seed(3)
    b = gahb.UNet(4, 1).state_dict()
    c = gahb.UNet(4, 1).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["encoder.0.0.weight"], c["encoder.0.0.weight"])


def test_point_network_predicts_noise_at_every_level():
    network = gahb.PointNetwork(2, width=16).double()
    y, sigmas = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0], dtype=torch.float64)
    out = network(y, sigmas)
    assert out.shape == y.shape
    torch.testing.assert_close(out[1:2], network(y[1:2], 0.1))
    unit = (y - out) / sigmas[:, None]
    inputs = torch.cat([y / (1 + sigmas[:, None] ** 2).sqrt(), sigmas.log()[:, None]], dim=1)
    torch.testing.assert_close(unit, network.noise(inputs))
    J = vmap(jacrev(lambda u: network(u[None], 0.1)[0]))(y)
    torch.testing.assert_close(J, jacobian(network, y, 0.1), rtol=1e-6, atol=1e-7)
    parameters = dict(network.named_parameters())
    assert functional_call(network, parameters, (y, 0.1)).shape == y.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gahb.UNet(width=0), "width must be an integer of at least 1, got 0"),
        (lambda: gahb.UNet(width=4.0), "width must be an integer of at least 1, got 4.0"),
        (lambda: gahb.UNet(depth=0), "depth must be an integer of at least 1, got 0"),
        (lambda: gahb.UNet(depth=True), "depth must be an integer of at least 1, got True"),
        (lambda: gahb.UNet(channels=-1), "channels must be an integer of at least 1, got -1"),
        (lambda: gahb.BFCNN(layers=2), "layers must be an integer of at least 3, got 2"),
        (lambda: gahb.PointNetwork(0), "d must be an integer of at least 1, got 0"),
        (lambda: gahb.PointNetwork(2, width=0), "width must be an integer of at least 1, got 0"),
        (lambda: gahb.UNet(4, 2)(torch.zeros(1, 1, 8, 10)), r"\(8, 10\); this network pools by 4, .* divisible by 4"),
        (lambda: gahb.UNet(4, 2)(torch.zeros(1, 3, 8, 8)), r"y must be \(B, 1, H, W\), got shape \(1, 3, 8, 8\)"),
        (lambda: gahb.UNet(4, 2)(torch.zeros(8, 8)), r"y must be \(B, 1, H, W\), got shape \(8, 8\)"),
        (lambda: gahb.BFCNN(4, 3, 3)(torch.zeros(1, 1, 8, 8)), r"y must be \(B, 3, H, W\), got shape"),
        (lambda: gahb.PointNetwork(2)(torch.zeros(3, 2)), "sigma must be a number or a tensor, got None"),
        (lambda: gahb.PointNetwork(2)(torch.zeros(3, 2), 0.0), "sigma must be positive and finite, got 0.0"),
        (lambda: gahb.PointNetwork(2)(torch.zeros(3, 5), 0.1), r"y must be \(B, 2\), got shape \(3, 5\)"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- borders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [partial(gahb.UNet, 4, 2), partial(gahb.BFCNN, 4, 5)])
def test_with_a_circular_border_shifts_of_the_input_shift_the_output(kind):
    torch.manual_seed(0)
    y = torch.rand(2, 1, 16, 16)
    for border, equal in (("circular", True), ("zero", False), ("replicate", False)):
        network = kind(border=border).eval()
        shifted, after = (network(y.roll((4, 8), (2, 3))), network(y).roll((4, 8), (2, 3)))
        assert torch.allclose(shifted, after, atol=1e-5) == equal


@pytest.mark.parametrize("border", ["circular", "replicate"])
def test_past_the_border_lies_what_numpy_puts_there(border):
    torch.manual_seed(0)
    conv, h = Conv3x3(3, 5, border), torch.rand(2, 3, 6, 7)
    padded = np.pad(h.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap" if border == "circular" else "edge")
    expected = torch.nn.functional.conv2d(torch.from_numpy(padded), conv.weight)
    for training in (True, False):
        torch.testing.assert_close(conv.train(training)(h), expected)


def test_an_unknown_border_is_refused():
    with pytest.raises(ValueError, match="border must be 'zero', 'circular', 'replicate', got 'mirror'"):
        gahb.UNet(4, 1, border="mirror")
