"""Networks linearised at y: the products of forward and reverse mode, and what is left to those."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import jvp, vjp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

import gahb
from gahb.jacobian.linearized import linearize

F64 = torch.float64


def normal(*shape: int, seed: int = 0, dtype=F64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def lively(network: nn.Module) -> nn.Module:
    """Normalisations with gains of both signs, as training might leave them."""
    for module in network.modules():
        if hasattr(module, "running_sd"):
            module.running_sd.uniform_(0.5, 2)
            nn.init.normal_(module.gain)
    return network.double().eval()


class Strides(nn.Module):
    """Biases, strides, odd sizes, constants before and after, an overlapping pooling, a reused picture."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 3, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(3, 1, 4, stride=2, padding=1)
        self.register_buffer("gain", torch.tensor([0.5, -2.0, 1.5]).reshape(1, 3, 1, 1))

    def forward(self, y, sigma=None):
        h = torch.relu(self.down(2 * y))
        h = h * self.gain + nn.functional.avg_pool2d(h, 3, stride=1, padding=1)
        return y + self.up(h * 0.5)


NETWORKS = {
    "UNet": lambda: gahb.UNet(4, 2),
    "BFCNN": lambda: gahb.BFCNN(4, 5),
    "colour": lambda: gahb.UNet(3, 1, channels=3),
    "strides": Strides,
    "circular": lambda: gahb.UNet(4, 2, border="circular"),
    "replicate": lambda: gahb.BFCNN(4, 5, border="replicate"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_of_forward_and_reverse_mode(name):
    network = lively(NETWORKS[name]())
    y = normal(3, getattr(network, "channels", 1), 8, 12)
    linear, v = linearize(network, y), normal(5, *y.shape, seed=1)
    expected = vmap(lambda tangent: jvp(network, (y,), (tangent,))[1])(v)
    torch.testing.assert_close(linear.forward(v), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(linear.transposed(v), vmap(vjp(network, y)[1])(v)[0], rtol=1e-12, atol=1e-12)
    if name != "strides":  # it has biases
        torch.testing.assert_close(linear.forward(y[None])[0], network(y), rtol=1e-12, atol=1e-12)


@given(height=st.integers(1, 4), width=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_transpose_is_the_transpose(height, width, seed):
    torch.manual_seed(seed)
    network = lively(gahb.UNet(2, 1))
    linear = linearize(network, normal(2, 1, 2 * height, 2 * width, seed=seed))
    v, w = normal(2, 1, 2, 1, 2 * height, 2 * width, seed=seed + 1)
    torch.testing.assert_close((linear.forward(v) * w).sum(), (v * linear.transposed(w)).sum())


class Operations(TorchDispatchMode):
    """Counts what PyTorch computes."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), settings=None):
        self.counts[operation.overloadpacket.__name__] += 1
        return operation(*arguments, **(settings or {}))


def test_normalisation_is_folded_into_the_convolutions():
    """A product costs six convolutions, an upsampling, five masks and a pooling; nothing for the normalisations."""
    linear = linearize(lively(gahb.UNet(4, 1)), normal(1, 1, 4, 4))
    with Operations() as seen:
        linear.forward(normal(1, 1, 1, 4, 4, seed=1))
    assert seen.counts["convolution"] == 7
    assert seen.counts["mul"] == 6
    assert seen.counts["batch_norm"] == seen.counts["native_batch_norm"] == seen.counts["div"] == 0


def test_float32_agrees_to_its_rounding_and_gradients_are_not_kept():
    network = lively(gahb.UNet(4, 2))
    y, v = normal(2, 1, 8, 8), normal(3, 2, 1, 8, 8, seed=1)
    exact = linearize(network, y).forward(v)
    out = linearize(network.float(), y.float().requires_grad_()).forward(v.float())
    assert out.dtype == torch.float32 and not out.requires_grad
    assert (out - exact).norm() < 1e-6 * exact.norm()


def test_one_direction_may_serve_every_image():
    network = lively(gahb.BFCNN(3, 3))
    linear, v = linearize(network, normal(3, 1, 4, 4)), normal(2, 1, 1, 4, 4)
    assert linear.forward(v.expand(2, 3, 1, 4, 4)).equal(linear.forward(v.expand(2, 3, 1, 4, 4).clone()))


class Module(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, y, sigma=None):
        return self.function(self.conv, y)


@pytest.mark.parametrize(
    "function",
    [
        lambda conv, y: torch.sigmoid(conv(y)),
        lambda conv, y: conv(y) * y,
        lambda conv, y: conv(y) * y.std(),
        lambda conv, y: (h := conv(y)) * 2 + h,  # what was folded is needed again
        lambda conv, y: torch.cat([y, torch.ones_like(y)], dim=2),
        lambda conv, y: y + torch.ones_like(y),
        lambda conv, y: conv(y - 0.5) + 0.5,
        lambda conv, y: y * torch.ones(len(y), 1, 1, 1, dtype=y.dtype) if len(y) > 1 else y.sin(),
        lambda conv, y: torch.nn.functional.conv2d(y, y[:, :, :1, :1] if len(y) == 1 else y[:1, :, :1, :1]),
        lambda conv, y: torch.ones(2, 1, 4, 4, dtype=F64),
        lambda conv, y: y.clone().relu_(),
        lambda conv, y: y / float(y.max()),
    ],
)
def test_other_networks_are_left_to_torch_func(function):
    assert linearize(Module(function).double().eval(), normal(2, 1, 4, 4)) is None


def test_only_networks_of_images_are_read():
    assert linearize(lambda y, sigma=None: y, normal(1, 1, 4, 4)) is None
    assert linearize(gahb.PointNetwork(3).double().eval(), normal(2, 3), 0.1) is None


def test_a_refusal_of_the_network_is_passed_on():
    with pytest.raises(ValueError, match="must be divisible by 4"):
        linearize(gahb.UNet(2, 2).double().eval(), normal(1, 1, 6, 4))
