"""The contract: every function that calls a denoiser refuses an answer that breaks it, by name."""

from __future__ import annotations

import pytest
import torch
from torch.func import jvp, vmap

import gahb
from gahb.contract import check_output, denoise

X = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def identity(y, sigma=None):
    return y


def squeezed(y, sigma=None):
    """The answer that would be broadcast: (B, H, W) against (B, 1, H, W)."""
    return y.squeeze(1)


CALLERS = {
    "psnr_curve": lambda f: gahb.psnr_curve(f, X, [0.1]),
    "score": lambda f: gahb.score(f, X, 0.1),
    "sure": lambda f: gahb.sure(f, X, 0.1),
    "kl_bound": lambda f: gahb.kl_bound(f, identity, X, [0.1, 0.2, 0.3]),
    "adaptive_basis": lambda f: gahb.adaptive_basis(f, X),
    "adaptive_basis, k": lambda f: gahb.adaptive_basis(f, X, k=2),
    "adaptive_filters": lambda f: gahb.adaptive_filters(f, X, pixels=[[0, 0]]),
    "divergence": lambda f: gahb.jacobian.divergence(f, X),
    "effective_dimension": lambda f: gahb.effective_dimension(f, X, probes=2),
    "trace_estimate": lambda f: gahb.trace_estimate(f, X, products=6),
    "stochastic": lambda f: gahb.sample(f, 2, (1, 4, 4), progress=False, blind=False),
    "blind": lambda f: gahb.sample(f, 2, (1, 4, 4), progress=False, blind=True),
    "ddim": lambda f: gahb.sample(f, 2, (1, 4, 4), progress=False, method="ddim", steps=3),
    "gradient-estimation": lambda f: gahb.sample(f, 2, (1, 4, 4), progress=False, method="gradient-estimation"),
}

WRONG = {
    "shape": (squeezed, ValueError, r"must return the shape of y, \(\d, 1, 4, 4\), got \(\d, 4, 4\)"),
    "dtype": (lambda y, sigma=None: y.double(), ValueError, "the dtype of y, torch.float32, got torch.float64"),
    "device": (lambda y, sigma=None: y.to("meta"), ValueError, "must return the device of y, cpu, got meta"),
    "finite": (lambda y, sigma=None: y * torch.nan, ValueError, r"finite values, got NaN or infinity in (\d+) of \1"),
    "tensor": (lambda y, sigma=None: (y, y), TypeError, "must return a tensor, got tuple"),
    "arguments": (lambda y: y, TypeError, r"called as denoiser\(y, sigma=None\), with or .* got <lambda>\(y\)"),
    "network": (torch.nn.Identity(), TypeError, r"called as denoiser\(y, sigma=None\), with or .* got Identity\(input"),
    "no denoiser": (X, TypeError, "called as denoiser\\(y, sigma=None\\), got a Tensor, which cannot be called"),
    "training": (gahb.UNet(4, 1), ValueError, "denoiser is in training mode; call denoiser.eval"),
}


@pytest.mark.parametrize("rule", WRONG)
@pytest.mark.parametrize("caller", CALLERS)
def test_whatever_calls_a_denoiser_checks_its_answer(caller, rule):
    wrong, error, message = WRONG[rule]
    with pytest.raises(error, match=message):
        CALLERS[caller](wrong)


def test_a_convolution_that_changes_the_shape_is_seen_where_networks_are_linearised():
    smaller = torch.nn.Conv2d(1, 1, 3, bias=False)
    with pytest.raises(ValueError, match=r"must return the shape of y, \(4, 1, 4, 4\), got \(4, 1, 2, 2\)"):
        gahb.jacobian.Jacobian(lambda y, sigma=None: smaller(y), X)

    class Network(torch.nn.Module):
        def forward(self, y, sigma=None):
            return smaller(y)

    with pytest.raises(ValueError, match=r"must return the shape of y, \(4, 1, 4, 4\), got \(4, 1, 2, 2\)"):
        gahb.jacobian.Jacobian(Network().eval(), X)


def test_the_message_names_the_denoiser_and_a_y_that_was_wrong_before():
    with pytest.raises(ValueError, match="optimal must return the shape of y"):
        gahb.kl_bound(identity, squeezed, X, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="network must return finite values, got NaN or infinity in 3 of 64"):
        check_output(X / (X.flatten().sort().values[2] < X), X, "network")
    with pytest.raises(ValueError, match="denoiser was given a y that is not finite"):
        denoise(identity, X / 0)


def test_the_check_can_stand_inside_the_transforms_of_torch_func():
    v = torch.ones_like(X)

    def half(y):
        return denoise(lambda u, sigma=None: u / 2, y)

    assert torch.equal(jvp(half, (X,), (v,))[1], v / 2)
    assert torch.equal(vmap(lambda t: jvp(half, (X,), (t,))[1])(torch.stack([v, 2 * v])), torch.stack([v / 2, v]))
    assert torch.equal(vmap(half)(X), X / 2)
    with pytest.raises(ValueError, match="must return the shape of y"):
        vmap(lambda y: denoise(lambda u, sigma=None: u[0], y))(X)


def test_a_denoiser_is_anything_that_is_called_so():
    assert isinstance(identity, gahb.Denoiser) and isinstance(gahb.Wavelet(), gahb.Denoiser)
    assert not isinstance(X, gahb.Denoiser)
