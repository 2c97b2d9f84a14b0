"""Orthogonal bandlets against a search written as a recursion, and what the theory promises of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jvp, vmap

import gahb
from gahb.denoisers.bandlet import _image, _squares
from gahb.transforms import analyse, flow_bases

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def edge(size: int, degrees: float) -> torch.Tensor:
    """A straight edge of height one, at `degrees` from rightwards to downwards: (1, 1, size, size)."""
    at = torch.arange(8 * size, dtype=F64) / 8 - size / 2
    down, right = torch.meshgrid(at, at, indexing="ij")
    across = math.cos(math.radians(degrees)) * down - math.sin(math.radians(degrees)) * right
    return torch.nn.functional.avg_pool2d((across > 0.3).to(F64)[None, None], 8)


# --- the squares -------------------------------------------------------------------------


@given(blocks=st.tuples(st.integers(1, 3), st.integers(1, 3)), log_side=st.integers(0, 3))
def test_squares_and_back(blocks, log_side):
    side = 2**log_side
    c = normal(2, 3, blocks[0] * side, blocks[1] * side)
    squares = _squares(c, side)
    assert torch.equal(_image(squares, side), c)
    assert torch.equal(squares[:, :, -1, -1], c[..., -side:, -side:].flatten(-2))


# --- the best basis ----------------------------------------------------------------------


def slow_best(c: np.ndarray, guide: np.ndarray, T: float, by_guide: bool, sides, flow_cost: float, moments: int):
    """Estimate and least Lagrangian of one subband by recursion from the largest squares down."""

    def keep(values, judge):
        return np.where(np.abs(judge if by_guide else values) > T, values, 0.0)

    def cost(values):
        return sum(min(v * v, T * T) for v in values.ravel())

    def best(where, sides):
        values, judge = c[where], guide[where]
        if not sides:
            return keep(values, judge), cost(judge)
        side = sides[-1]
        result, least = np.zeros_like(values), 0.0
        half = sides[-2] if len(sides) > 1 else 1
        i0, j0 = where[0].start, where[1].start
        for i in range(i0, i0 + side, half):
            for j in range(j0, j0 + side, half):
                part, price = best((slice(i, i + half), slice(j, j + half)), sides[:-1])
                result[i - i0 : i - i0 + half, j - j0 : j - j0 + half] = part
                least += price
        for basis in flow_bases(side, moments).numpy():
            price = cost(basis @ judge.ravel()) + flow_cost * T * T
            if price < least:
                least = price
                result = (basis.T @ keep(basis @ values.ravel(), basis @ judge.ravel())).reshape(side, side)
        return result, least

    usable = [side for side in sides if c.shape[0] % side == 0 and c.shape[1] % side == 0]
    top = usable[-1] if usable else 1
    out, total = np.zeros_like(c), 0.0
    for i in range(0, c.shape[0], top):
        for j in range(0, c.shape[1], top):
            part, price = best((slice(i, i + top), slice(j, j + top)), usable)
            out[i : i + top, j : j + top], total = part, total + price
    return out, total


@pytest.mark.parametrize("by_guide", [False, True])
@pytest.mark.parametrize(("sides", "moments"), [((4, 8), 1), ((2, 8), 2), ((4,), 1), ((), 1)])
def test_the_search_is_the_recursion(sides, moments, by_guide):
    f = gahb.Bandlet(sides=sides, moments=moments, flow_cost=0.7)
    c = torch.stack([analyse(edge(16, 27.0) + 0.1 * normal(1, 1, 16, 16, seed=s), "haar", 1)[1][0][0] for s in (0, 1)])
    c = torch.cat([c, c.transpose(3, 4).roll(1, 3)], dim=2)  # (2, 1, 2, 8, 8)
    for height in (0.05, 0.3):
        kept, cost, side, _ = f._best(c, torch.full((1, 1, 1, 1), height, dtype=F64), by_guide)
        for channel in (0, 1):
            slow, least = slow_best(
                c[0, 0, channel].numpy(), c[1, 0, channel].numpy(), height, by_guide, sides, 0.7, moments
            )
            np.testing.assert_allclose(kept[0, channel], slow, atol=1e-12)
            assert abs(cost[0, channel].sum() - least) < 1e-12
        assert not sides or (side > 1).any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), sigma=st.floats(0.01, 1), rows=st.sampled_from([16, 20, 32]), wild=st.booleans())
def test_its_lagrangian_is_never_above_that_of_wavelets(seed, sigma, rows, wild):
    """And it is what its definition says of the image it leaves: residual + T² (kept + flows)."""
    x = normal(1, 1, rows, 32, seed=seed) if wild else gahb.images.c_alpha(1, 32, 2.0, seed=seed).double()
    f = gahb.Bandlet(shifts=1)
    geometry, T = f.geometry(x, sigma), 3 * sigma
    details = torch.cat([c.flatten() for level in analyse(x, "sym4", 4)[1] for c in level])
    wavelets = details.square().clamp(max=T**2).sum()
    assert geometry.lagrangian.item() <= wavelets * (1 + 1e-12)
    residual = (f(x, sigma) - x).square().sum()
    flows = sum((level > 1).div(level.square()).sum() for level in geometry.sides)
    kept = (geometry.lagrangian - residual) / T**2 - flows
    assert abs(kept.item() - round(kept.item())) < 1e-6 and kept.item() > -1e-6


def test_without_squares_it_is_the_wavelet_and_without_a_threshold_the_identity():
    y = gahb.images.c_alpha(2, 32, 2.0) + 0.1 * normal(2, 1, 32, 32).float()
    torch.testing.assert_close(gahb.Bandlet(sides=())(y, 0.1), gahb.Wavelet()(y, 0.1), rtol=0, atol=1e-6)
    torch.testing.assert_close(gahb.Bandlet(flow_cost=1e6)(y, 0.1), gahb.Wavelet()(y, 0.1), rtol=0, atol=1e-6)
    y = y.double()
    for moments in (1, 3):
        nothing = gahb.Bandlet(multiple=0, moments=moments)
        torch.testing.assert_close(nothing(y, 0.1), y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 115, 135, 160])
def test_flows_follow_an_edge(degrees):
    """In the middle, away from where the periodic image is cut; angles are π / 8 or π / 16 apart."""
    x = edge(64, degrees)
    geometry = gahb.Bandlet().geometry(x, 0.03)
    side, angle = (level[0, :, 8:24, 8:24].flatten() for level in (geometry.sides[0], geometry.angles[0]))
    assert torch.equal(side > 1, ~angle.isnan())
    off = (torch.rad2deg(angle[side > 1]) - degrees + 90) % 180 - 90
    assert len(off) >= 64 and off.abs().median() <= 5


def exponent(x: torch.Tensor, sides: tuple[int, ...]) -> float:
    """Slope of log ‖x − x_M‖² against log M; M counts the 8 × 8 coarse coefficients and the flows."""
    f = gahb.Bandlet(levels=5, shifts=1, sides=sides)
    coarse, details = analyse(x, "sym4", 5)
    points = []
    for T in (2.0, 1.0, 0.5):
        error, lagrangian = 0.0, 0.0
        for level in details:
            c = torch.cat(level, dim=1)
            kept, cost, *_ = f._best(c[None], torch.full((1, 1, 1, 1), T))
            error, lagrangian = error + (kept - c).square().sum().item(), lagrangian + cost.sum().item()
        points.append([math.log(coarse.numel() + (lagrangian - error) / T**2), math.log(error)])
    return float(np.polyfit(*np.array(points).T, 1)[0])


@pytest.mark.parametrize("alpha", [2.0, 4.0])
def test_the_error_of_m_terms_decays_faster_than_that_of_wavelets(alpha):
    """Two images of 256 pixels: wavelets −1.11 and −1.17, bandlets −1.33 and −1.36; the limits are −1 and −α."""
    x = gahb.images.c_alpha(2, 256, alpha, contrast="fixed", seed=1)
    wavelets = exponent(x, sides=())
    bandlets = exponent(x, sides=(4, 8, 16))
    assert abs(wavelets - -1.15) < 0.1
    assert bandlets < wavelets - 0.15


@pytest.mark.parametrize("wavelet", ["sym4", "haar"])
def test_it_beats_wavelets_and_its_oracles_beat_it(wavelet):
    """C², 8 images, seed 5. Haar's gain is within the noise from σ = 0.05 on, and is not asked for there."""
    x = gahb.images.c_alpha(8, 32, 2.0, seed=5)
    f, plain = gahb.Bandlet(wavelet), gahb.Wavelet(wavelet)
    for sigma in (0.02, 0.1):
        y = x + sigma * normal(8, 1, 32, 32, seed=6).float()

        def mse(estimate, x=x):
            return (estimate - x).square().mean()

        if wavelet == "sym4" or sigma < 0.05:
            assert mse(f(y, sigma)) < 0.97 * mse(plain(y, sigma))
        basis, both = (mse(f.oracle(y, sigma, x, decisions=decisions)) for decisions in (False, True))
        assert both < 0.8 * basis and basis < mse(f(y, sigma))
        assert both < mse(plain.oracle(y, sigma, x))


# --- the contract ------------------------------------------------------------------------


def test_contract():
    f, y = gahb.Bandlet(levels=2, shifts=2), normal(3, 2, 16, 24)
    before, rng = y.clone(), torch.get_rng_state()
    for dtype in (torch.float32, torch.float64):
        out = f(y.to(dtype), 0.3)
        assert out.shape == y.shape and out.dtype == dtype
        assert (out.double() - f(y, 0.3)).abs().max() < 1e-5
    sigmas = torch.tensor([0.1, 0.3, 2.0], dtype=F64)
    apart = torch.cat([f(row[None], float(s)) for row, s in zip(y, sigmas)])
    torch.testing.assert_close(f(y, sigmas), apart)
    torch.testing.assert_close(vmap(lambda u, s: f(u[None], s)[0])(y, sigmas), apart)
    assert torch.equal(y, before) and torch.equal(rng, torch.get_rng_state())


def test_its_derivative_is_that_of_a_fixed_basis():
    """Homogeneous in (y, σ) and, basis and kept coefficients held, linear in y: J(y) y = f(y)."""
    f, y, v = gahb.Bandlet(levels=2, shifts=2), normal(2, 1, 16, 16), normal(2, 1, 16, 16, seed=1)
    torch.testing.assert_close(f(3 * y, 1.2), 3 * f(y, 0.4))
    value, slope = jvp(lambda u: f(u, 0.4), (y,), (y,))
    torch.testing.assert_close(slope, value)
    difference = (f(y + 1e-7 * v, 0.4) - f(y - 1e-7 * v, 0.4)) / 2e-7
    torch.testing.assert_close(jvp(lambda u: f(u, 0.4), (y,), (v,))[1], difference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gahb.Bandlet("bior2.2"), "wavelet must name an orthogonal wavelet"),
        (lambda: gahb.Bandlet(multiple=-1), "multiple must be ≥ 0, got -1"),
        (lambda: gahb.Bandlet(sides=(4, 6)), r"sides must be rising powers of two, got \(4, 6\)"),
        (lambda: gahb.Bandlet(sides=(8, 4)), r"sides must be rising powers of two, got \(8, 4\)"),
        (lambda: gahb.Bandlet(sides=(1, 2)), "sides must be an integer of at least 2, got 1"),
        (lambda: gahb.Bandlet(moments=0), "moments must be an integer of at least 1, got 0"),
        (lambda: gahb.Bandlet(moments=5), "moments must be at most 4, got 5"),
        (lambda: gahb.Bandlet(flow_cost=0), "flow_cost must be a positive number, got 0"),
        (lambda: gahb.Bandlet()(torch.zeros(2, 1, 8, 8)), "sigma must be a number or a tensor, got None"),
        (lambda: gahb.Bandlet()(torch.zeros(3, 16), 0.1), r"y must be \(B, C, H, W\), got shape \(3, 16\)"),
        (lambda: gahb.Bandlet().geometry(torch.zeros(3, 16), 0.1), r"y must be \(B, C, H, W\), got shape \(3, 16\)"),
        (
            lambda: gahb.Bandlet().oracle(torch.zeros(2, 1, 8, 8), 0.1, torch.zeros(1, 1, 8, 8)),
            r"x must be shaped like y, \(2, 1, 8, 8\), got \(1, 1, 8, 8\)",
        ),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
