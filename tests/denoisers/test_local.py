"""Patch posteriors against a loop over patches, exact cases, pruning, derivatives, and the formulas built on them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import jacrev, jvp

import gahb
from gahb.kernels import patch_posterior
from gahb.kernels.patch_posterior import PatchPosterior

X = gahb.images.dead_leaves(6, 7)
Y = (X[:2] + 0.2 * torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(0))).double()


def around(image: torch.Tensor, i: int, j: int, patch: int, border: str) -> torch.Tensor:
    """The patch about one pixel, pixel by pixel; NaN outside where the border is exact."""
    half, (height, width) = patch // 2, image.shape[1:]
    out = torch.zeros(len(image), patch, patch, dtype=torch.float64)
    for a in range(patch):
        for b in range(patch):
            r, c = i + a - half, j + b - half
            if border == "circular":
                out[:, a, b] = image[:, r % height, c % width]
            elif 0 <= r < height and 0 <= c < width:
                out[:, a, b] = image[:, r, c]
            elif border == "exact":
                out[:, a, b] = math.nan
    return out


def naive(images, y, sigma, patch, equivariant, border, whole=False) -> torch.Tensor:
    """The mean of pixels (or of whole patches) over all patches, one at a time."""
    out = torch.zeros(*y.shape, *([patch, patch] if whole else []), dtype=torch.float64)
    pixels = [(i, j) for i in range(y.shape[2]) for j in range(y.shape[3])]
    known = [{(k, m): around(image, k, m, patch, border) for k, m in pixels} for image in images.double()]
    for b, i, j in [(b, i, j) for b in range(len(y)) for i, j in pixels]:
        q = around(y[b], i, j, patch, border)
        logs, values = [], []
        for image, patches in zip(images.double(), known, strict=True):
            for k, m in pixels if equivariant else [(i, j)]:
                x = patches[k, m]
                if bool((q.isnan() == x.isnan()).all()):
                    logs.append(-float((q - x).nan_to_num(0).square().sum()) / (2 * sigma**2))
                    values.append(x.nan_to_num(0) if whole else image[:, k, m])
        weights = torch.tensor(logs, dtype=torch.float64).softmax(0)
        out[b, :, i, j] = torch.einsum("n,n...->...", weights, torch.stack(values))
    return out


@pytest.mark.parametrize("border", ["zero", "circular", "exact"])
@pytest.mark.parametrize("equivariant", [True, False])
@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_patch_means_are_those_of_a_loop(border, equivariant, sigma):
    x, y = X[2:5, :, :4, :5], Y[:1, :, :4, :5]
    f = gahb.PatchEmpirical(x, 3, equivariant=equivariant, border=border)
    right = naive(x, y, sigma, 3, equivariant, border)
    assert torch.allclose(f(y, sigma), right, rtol=0, atol=1e-10)
    assert torch.allclose(f(y.float(), sigma), right.float(), rtol=0, atol=2e-5 if sigma > 0.1 else 2e-3)
    assert f(y.float(), sigma).dtype == torch.float32


def test_colours_and_patches_larger_than_the_image():
    x = torch.rand(4, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = x[:1] + 0.1
    f = gahb.PatchEmpirical(x, 5)
    assert torch.allclose(f(y, 0.3), naive(x, y, 0.3, 5, True, "zero"), atol=1e-10)


def test_a_patch_that_covers_all_is_the_empirical_optimum():
    for border in ("zero", "exact"):
        f = gahb.PatchEmpirical(X, 13, equivariant=False, border=border)
        assert torch.allclose(f(Y, 0.3), gahb.Empirical(X)(Y, 0.3), atol=1e-10)
    shifts = torch.cat([X.roll((i, j), (2, 3)) for i in range(7) for j in range(7)])
    every = gahb.PatchEmpirical(X, 7, border="circular")
    assert torch.allclose(every(Y, 0.3), gahb.Empirical(shifts)(Y, 0.3), atol=1e-10)


def test_black_and_white():
    """Two images: pixel i is white with the probability that the mean of the patch about it says."""
    x = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]).double()
    y = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    window = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    around = torch.nn.functional.conv2d(torch.nn.functional.pad(y - 0.5, [1] * 4, mode="circular"), window)
    f = gahb.PatchEmpirical(x, 3, border="circular")
    assert torch.allclose(f(y, 0.4), torch.sigmoid(around / 0.4**2), atol=1e-12)
    # cut off by the border, a patch has fewer pixels
    inside = torch.nn.functional.conv2d(y - 0.5, window, padding=1)
    f = gahb.PatchEmpirical(x, 3, border="exact")
    assert torch.allclose(f(y, 0.4), torch.sigmoid(inside / 0.4**2), atol=1e-12)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("images", [gahb.images.disks, gahb.images.dead_leaves])
def test_what_is_left_out_is_less_than_the_tolerance(images, sigma, monkeypatch):
    monkeypatch.setattr(patch_posterior, "WORTH", 1)
    x = images(40, 16)
    y = images(2, 16, start=40).double()
    y = y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    right = gahb.PatchEmpirical(x, 5, tolerance=0)(y, sigma)
    assert torch.allclose(gahb.PatchEmpirical(x, 5)(y, sigma), right, rtol=0, atol=1e-11)
    for tolerance in (1e-6, 1e-2, 0.3):
        monkeypatch.setattr(patch_posterior, "EXACT", 1.0)
        away = (gahb.PatchEmpirical(x, 5, tolerance=tolerance)(y, sigma) - right).abs().max()
        assert float(away) <= tolerance
    small = gahb.PatchEmpirical(x, 5)(y.float(), sigma)
    assert torch.allclose(small.double(), right, rtol=0, atol=2e-3)


def test_pruning_leaves_out_most_patches_where_noise_is_small(monkeypatch):
    monkeypatch.setattr(patch_posterior, "WORTH", 1)
    monkeypatch.setattr(patch_posterior, "BLOCK", 32)  # of a few images only: larger blocks would see it all
    seen = []
    add = patch_posterior._Sums.add

    def counted(sums, rows, features):
        seen.append(len(rows) * len(sums.queries))
        add(sums, rows, features)

    monkeypatch.setattr(patch_posterior._Sums, "add", counted)
    x = gahb.images.c_alpha(200, 16, 2)
    y = x[:2] + 0.02 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    gahb.PatchEmpirical(x, 5)(y, 0.02)
    some, seen[:] = sum(seen), []
    gahb.PatchEmpirical(x, 5, tolerance=0)(y, 0.02)
    assert 4 * some < sum(seen) == 200 * 256 * 2 * 256


@pytest.mark.parametrize("sigma", [1e-3, 1e-2, 1.0, 30.0])
def test_float32_is_near_float64_at_every_noise_level(sigma):
    x = gahb.images.c_alpha(60, 16, 2)
    y = x[:1] + min(sigma, 1) * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(4))
    f = gahb.PatchEmpirical(x[1:], 5)
    assert torch.allclose(f(y, sigma).double(), f(y.double(), sigma), rtol=0, atol=2e-3)


def test_weights_that_grow_along_the_set_do_not_overflow():
    x = torch.cat([torch.zeros(2000, 1, 4, 4), torch.ones(1, 1, 4, 4)])
    y = torch.ones(1, 1, 4, 4)
    for dtype in (torch.float32, torch.float64):
        assert torch.allclose(gahb.PatchEmpirical(x, 3, border="circular")(y.to(dtype), 0.01), y.to(dtype))


@pytest.mark.parametrize("border", ["zero", "circular", "exact"])
@pytest.mark.parametrize("patch", [3, {0.1: 1, 0.3: 5}])
def test_derivatives_are_those_of_the_loop(border, patch):
    x, y = X[:3, :, :5, :5], Y[:, :, :5, :5]
    f = gahb.PatchEmpirical(x, patch, border=border)
    sigma = torch.tensor([0.1, 0.3], dtype=torch.float64)
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-5
    slope = (f(y + step * v, sigma) - f(y - step * v, sigma)) / (2 * step)
    assert torch.allclose(jvp(lambda t: f(t, sigma), (y,), (v,))[1], slope, atol=1e-6)
    rows = jacrev(lambda t: f(t, 0.3))(y[:1]).reshape(25, 25)
    columns = torch.func.jacfwd(lambda t: f(t, 0.3))(y[:1]).reshape(25, 25)
    assert torch.allclose(rows, columns, atol=1e-12)
    everywhere_alike = border == "circular" and patch != 3  # the patch is the image, and all shifts are there
    assert torch.allclose(rows, rows.T, atol=1e-3) == everywhere_alike


def test_the_contract_is_kept():
    for f in (gahb.PatchEmpirical(X, 3), gahb.PatchEmpirical(X, 5, equivariant=False, border="exact"),
              gahb.WienerLocal(X), gahb.HandOver(gahb.PatchEmpirical(X, 3), gahb.Gaussian.of(X), 0.2)):  # fmt: skip
        report = gahb.check_denoiser(f, Y, 0.15)
        assert report.holds and not report.blind, (f, report)
    broken = gahb.check_denoiser(gahb.PatchComposite(X, 3), Y, 0.15).broken
    assert set(broken) == {"torch.func"} and "derivatives of the composite of patches" in broken["torch.func"]


def test_second_derivatives_and_those_in_sigma_are_refused():
    f = gahb.PatchEmpirical(X, 3)
    with pytest.raises(NotImplementedError, match="second derivatives of the patch posterior"):
        jacrev(jacrev(lambda t: f(t, 0.3).sum()))(Y[:1])
    with pytest.raises(NotImplementedError, match="derivatives of the patch posterior in sigma"):
        torch.func.grad(lambda s: f(Y, s).sum())(torch.tensor(0.3, dtype=torch.float64))


def test_points_are_images_without_a_shape():
    f = gahb.PatchEmpirical(X, 3)
    assert torch.equal(f(Y.flatten(1), 0.3), f(Y, 0.3).flatten(1))
    eighths = (255 * X).to(torch.uint8)
    assert torch.equal(gahb.PatchEmpirical(eighths, 3)(Y, 0.3), gahb.PatchEmpirical(eighths / 255, 3)(Y, 0.3))


def test_composites_average_the_means_of_patches():
    x, y = X[:3, :, :5, :5], Y[:1, :, :5, :5]
    means = naive(x, y, 0.3, 3, True, "zero", whole=True)[0, 0]  # (H, W, 3, 3)
    right, count = torch.zeros(7, 7, dtype=torch.float64), torch.zeros(7, 7)
    for i in range(5):
        for j in range(5):
            right[i : i + 3, j : j + 3] += means[i, j]
            count[i : i + 3, j : j + 3] += 1
    f = gahb.PatchComposite(x, 3)
    assert torch.allclose(f(y, 0.3)[0, 0], (right / count)[1:-1, 1:-1], atol=1e-10)
    whole = gahb.PatchComposite(X, 7, border="circular")
    shifts = torch.cat([X.roll((i, j), (2, 3)) for i in range(7) for j in range(7)])
    assert torch.allclose(whole(Y, 0.3), gahb.Empirical(shifts)(Y, 0.3), atol=1e-10)


def test_wiener_locality_by_a_loop():
    x = X.double()
    f = gahb.WienerLocal(X, threshold=0.2)
    centred = x.flatten(1) - x.flatten(1).mean(0)
    covariance = centred.T @ centred / len(x)
    matrix = (covariance @ torch.linalg.inv(covariance + 0.3**2 * torch.eye(49, dtype=torch.float64))).abs()
    for i in range(49):
        seen = matrix[i] >= 0.2 * matrix[i].max()
        away = (Y[0].flatten()[seen] - x.flatten(1)[:, seen]).square().sum(1)
        mean = (-away / (2 * 0.3**2)).softmax(0) @ x.flatten(1)[:, i]
        assert float(f(Y[:1], 0.3).flatten()[i]) == pytest.approx(float(mean), abs=1e-10)
    everything = gahb.WienerLocal(X, threshold=1e-12)
    assert torch.allclose(everything(Y, 0.3), gahb.Empirical(X)(Y, 0.3), atol=1e-10)
    levels = torch.tensor([0.1, 0.3], dtype=torch.float64)
    assert torch.allclose(f(Y, levels)[1:], f(Y[1:], 0.3))


def test_a_hand_over_takes_each_point_to_its_side():
    low, high = gahb.PatchEmpirical(X, 3), gahb.Gaussian.of(X)
    f = gahb.HandOver(low, high, 0.2)
    levels = torch.tensor([0.1, 0.2], dtype=torch.float64)
    assert torch.allclose(f(Y, levels), torch.cat([low(Y[:1], 0.1), high(Y[1:], 0.2)]), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gahb.PatchEmpirical(X[0], 3), r"images must be a tensor \(N, C, H, W\) .*, got shape \(1, 7, 7\)"),
        (lambda: gahb.PatchEmpirical([1], 3), "images must be a tensor .*, got list"),
        (lambda: gahb.PatchEmpirical(X / 0, 3), "images must be finite"),
        (lambda: gahb.PatchEmpirical(X, 4), "patch must be an odd number of pixels from 1 to 13, got 4"),
        (lambda: gahb.PatchEmpirical(X, 15), "from 1 to 13, got 15"),
        (lambda: gahb.PatchEmpirical(X, 3.0), "got 3.0"),
        (lambda: gahb.PatchEmpirical(X, 9, border="circular"), "from 1 to 7, got 9"),
        (lambda: gahb.PatchEmpirical(X, {}), "patch must name at least one noise level, got an empty map"),
        (lambda: gahb.PatchEmpirical(X, {0: 3}), "a noise level of patch must be a positive number, got 0"),
        (lambda: gahb.PatchEmpirical(X, {0.1: 2}), "got 2"),
        (lambda: gahb.PatchEmpirical(X, lambda s: 2)(Y, 0.1), "got 2"),
        (lambda: gahb.PatchEmpirical(X, 3, border="mirror"), "border must be one of 'zero', .* got 'mirror'"),
        (lambda: gahb.PatchEmpirical(X, 3, tolerance=1), "tolerance must be a number from 0 to 1 .*, got 1"),
        (lambda: gahb.PatchEmpirical(X, 3)(Y), "sigma must be a number or a tensor, got None"),
        (lambda: gahb.PatchEmpirical(X, 3)(Y, 0.0), "sigma must be positive"),
        (lambda: gahb.PatchEmpirical(X, 3)(Y[:, :, :5], 0.1), r"y must have d = 49 values a point, got shape"),
        (lambda: gahb.WienerLocal(X, threshold=0), "threshold must be a number above 0 and at most 1, got 0"),
        (lambda: gahb.WienerLocal(torch.zeros(3)), "images must be a tensor"),
        (lambda: gahb.WienerLocal(X / 0), "images must be finite"),
        (lambda: gahb.HandOver(gahb.Wiener(X), gahb.Wiener(X), -1), "sigma must be a positive number, got -1"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_hand_over_takes_denoisers():
    with pytest.raises(TypeError, match="high must be callable .*, got int"):
        gahb.HandOver(gahb.Wiener(X), 3, 0.1)


def test_the_posterior_moves_without_its_order():
    posterior = PatchPosterior(X, "zero", True, 1e-6)
    posterior._groups(3)
    assert posterior.to("meta").images.is_meta and not posterior.to("meta")._banks
