"""check_denoiser: every denoiser of the package keeps the contract, and each way to break it is named."""

from __future__ import annotations

import re

import pytest
import torch

import gahb

X = gahb.images.disks(20, 8)
Y = X[:2] + 0.1 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

OURS = {  # denoiser, blind, homogeneous
    "UNet": (lambda: gahb.UNet(4, 1).eval(), True, True),
    "BFCNN": (lambda: gahb.BFCNN(4, 3).eval(), True, True),
    "Empirical": (lambda: gahb.Empirical(X), False, False),
    "Gaussian": (lambda: gahb.Gaussian.of(X), False, False),
    "centred Gaussian": (lambda: gahb.Gaussian(torch.zeros(64), torch.eye(64)), False, False),
    "GaussianMixture": (
        lambda: gahb.GaussianMixture(torch.ones(1), torch.zeros(1, 64), torch.eye(64)[None]), False, False,
    ),
    "OptimalDisks": (lambda: gahb.OptimalDisks(8), False, False),
    "Wiener": (lambda: gahb.Wiener(X), False, False),
    "Wavelet": (lambda: gahb.Wavelet(shifts=1), False, True),
    "soft": (lambda: gahb.Wavelet(threshold="soft", shifts=1), False, True),
    "sure": (lambda: gahb.Wavelet(threshold="sure", shifts=1), False, True),
    "Bandlet": (lambda: gahb.Bandlet(shifts=1), False, True),
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_ours_keep_it(name):
    make, blind, homogeneous = OURS[name]
    report = gahb.check_denoiser(make(), Y)
    assert report.broken == {} and report.holds
    assert (report.blind, report.homogeneous) == (blind, homogeneous)
    assert str(report).startswith("keeps the contract\nblind: ")


def test_points_are_as_good_as_images():
    torch.manual_seed(0)
    report = gahb.check_denoiser(gahb.PointNetwork(3, width=8).eval(), torch.randn(2, 3, dtype=torch.float32))
    assert report.holds and not report.blind and not report.homogeneous


def changes_y(y, sigma=None):
    y.mul_(0.5)
    return y.clone()


def through_numpy(y, sigma=None):
    return torch.from_numpy(y.detach().numpy() / 2)


def noisy(y, sigma=None):
    return y + 0.1 * torch.rand_like(y)


class Transposed(torch.autograd.Function):
    """A derivative in reverse mode that is not the one in forward mode."""

    @staticmethod
    def forward(y):
        return y.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, cotangent):
        return 2 * cotangent

    @staticmethod
    def jvp(ctx, tangent):
        return tangent.clone()

    @staticmethod
    def vmap(info, in_dims, y):
        return Transposed.apply(y), in_dims[0]


BROKEN = [
    (gahb.UNet(4, 1), "training mode", r"in training mode; call denoiser.eval\(\) first"),
    (lambda y: y, "call", r"raised TypeError: .* takes 1 positional argument"),
    (lambda y, sigma=None: [y], "call", "must return a tensor, got list"),
    (lambda y, sigma=None: y.squeeze(1), "shape", r"the shape of y, \(2, 1, 8, 8\), got \(2, 8, 8\)"),
    (lambda y, sigma=None: y.double(), "dtype", "the dtype of y, torch.float32, got torch.float64"),
    (lambda y, sigma=None: y.to("meta"), "device", "the device of y, cpu, got meta"),
    (lambda y, sigma=None: (y - 0.5).log(), "not finite", r"NaN or infinity in \d+ of 128"),
    (changes_y, "y changed", "must leave y as it is"),
    (noisy, "not repeatable", "the same answer to the same y"),
    (lambda y, sigma=None: y - y.mean(dim=0, keepdim=True), "batch", "each point by itself"),
    (lambda y, sigma=0.1: y / (1 + float(sigma)), "sigma", r"must take a \(B,\) tensor sigma, got ValueError"),
    (lambda y, sigma=0.1: y / (1 + torch.as_tensor(sigma).sum()), "sigma", "as to a number, got another answer"),
    (lambda y, sigma=None: y.detach() / 2, "torch.func", "jvp gives zero where the denoiser changes"),
    (through_numpy, "torch.func", "a transform of torch.func raised"),
    (lambda y, sigma=None: Transposed.apply(y), "torch.func", "must be transposes of each other"),
    (gahb.NonLocalMeans(), "torch.func", "raised NotImplementedError: scikit-image's denoisers are not diff"),
]


@pytest.mark.parametrize(("denoiser", "rule", "seen"), BROKEN)
def test_what_breaks_it_is_named(denoiser, rule, seen):
    before = Y.clone()
    report = gahb.check_denoiser(denoiser, Y)
    assert rule in report.broken and not report.holds
    assert re.search(seen, report.broken[rule])
    assert str(report).startswith("breaks the contract:\n  ") and f"  {rule}: " in str(report)
    assert torch.equal(Y, before)


def test_a_network_in_training_mode_is_not_called():
    network = gahb.UNet(4, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = gahb.check_denoiser(network, Y)
    assert list(report.broken) == ["training mode"] and (report.blind, report.homogeneous) == (None, None)
    assert network.training and all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(denoiser=3), TypeError, r"denoiser must be callable as denoiser\(y, sigma=None\), got int"),
        (dict(y=Y.byte()), TypeError, "y must be floating point, got torch.uint8"),
        (dict(y=Y[:0]), ValueError, "y must be finite, with at least one point"),
        (dict(y=Y / 0), ValueError, "y must be finite, with at least one point"),
        (dict(sigma=0.0), ValueError, "sigma must be positive and finite, got 0"),
    ],
)
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        gahb.check_denoiser(**{**dict(denoiser=gahb.Wavelet(), y=Y), **arguments})
