"""C^α images: what they depend on, their regularity, their exact law, and what they show."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gahb
from gahb.images import c_alpha, c_alpha_spectrum
from gahb.images.calpha import CONTOUR_CUT, CONTOUR_SD, CUT, FIELD_SD, contour_heights
from gahb.kernels.counter import normal, uniform

calpha = sys.modules["gahb.images.calpha"]


def blocks(images: torch.Tensor, factor: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(images.double(), factor)


# --- the slow way: sums of waves, one point, one column and one cell at a time ------------


def fields(alpha: float, convention: str, at: torch.Tensor, seed: int, index: int) -> torch.Tensor:
    """The two unit fields at the points at × at, from the same draws: (2, len, len), rows first."""
    power = alpha + 1 if convention == "holder" else alpha
    pairs = [(i, j) for i in range(-CUT, CUT + 1) for j in range(-CUT, CUT + 1) if 0 < i * i + j * j <= CUT * CUT]
    sizes = [(i * i + j * j) ** (-power / 2) for i, j in pairs]
    total = math.sqrt(sum(s * s for s in sizes))
    draw = normal(seed, "c_alpha background", index, 1, 2 * len(pairs))[0].double()
    table = torch.zeros(2 * CUT + 1, 2 * CUT + 1, dtype=torch.complex128)
    for k, (i, j) in enumerate(pairs):
        table[i + CUT, j + CUT] = complex(draw[2 * k], draw[2 * k + 1]) * sizes[k] / total
    waves = torch.exp(2j * math.pi * at[:, None] * torch.arange(-CUT, CUT + 1))
    return torch.view_as_real(waves @ table @ waves.T).movedim(2, 0)


def heights(alpha: float, convention: str, at: torch.Tensor, seed: int, index: int) -> torch.Tensor:
    power = alpha + 0.5 if convention == "holder" else alpha
    k = torch.arange(1, CONTOUR_CUT + 1, dtype=torch.float64)
    size = k**-power / (k ** (-2 * power)).sum().sqrt()
    draw = normal(seed, "c_alpha contour", index, 1, 2 * CONTOUR_CUT)[0].double()
    angle = 2 * math.pi * at[:, None] * k
    return 0.5 + CONTOUR_SD * ((draw[::2] * angle.cos() - draw[1::2] * angle.sin()) * size).sum(dim=1)


def middles(count: int) -> torch.Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("size", [5, 16, 97])
@pytest.mark.parametrize("convention", ["holder", "spectral"])
def test_a_background_is_the_mean_over_pixels_of_a_sum_of_waves(size, convention):
    """Means over the pixel by 64 to 8 points a side: their own error is below 1e-4."""
    fine = {5: 64, 16: 20, 97: 8}[size]
    expected = 0.5 + FIELD_SD * blocks(fields(2, convention, middles(size * fine), 3, 7)[None], fine)[0, 0]
    found = c_alpha(1, size, 2, convention=convention, contour=False, contrast="fixed", seed=3, start=7)[0, 0]
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("points", [320, 1000, 5000])
@pytest.mark.parametrize("convention", ["holder", "spectral"])
def test_a_contour_is_a_sum_of_waves(points, convention):
    """Fewer points than twice the highest frequency, too: heights are exact at each."""
    found = contour_heights(2, points, 1.5, convention=convention, seed=3, start=6, dtype=torch.float64)
    expected = heights(1.5, convention, middles(points), 3, 7)
    assert (found[1] - expected).abs().max() < 1e-9
    single = contour_heights(2, points, 1.5, convention=convention, seed=3, start=6)
    assert single.dtype == torch.float32 and (single - found).abs().max() < 1e-6


@pytest.mark.parametrize("contrast", ["fixed", "random"])
def test_an_image_is_two_backgrounds_weighed_by_the_share_above_the_contour(contrast):
    size, columns, index = 16, 320, 4
    c = heights(2, "holder", middles(columns), 0, index).clamp(0, 1).tolist()
    share = torch.zeros(size, size, dtype=torch.float64)
    for row in range(size):
        for column, height in enumerate(c):
            part = min(max(height * size - row, 0.0), 1.0)
            share[row, column * size // columns] += part * size / columns
    means = blocks(fields(2, "holder", middles(size * 20), 0, index)[None], 20)[0]
    if contrast == "fixed":
        ranges = [(0.0, 0.6), (0.4, 1.0)]
    else:
        u, v, polarity = uniform(0, "c_alpha gray", index, 1, 3)[0].tolist()
        ranges = [(u, 1.0), (0.0, v)][:: -1 if polarity < 0.5 else 1]
    above, below = ((low + high) / 2 + (high - low) / 8 * field for (low, high), field in zip(ranges, means))
    expected = (share * above + (1 - share) * below).clamp(0, 1)
    found = c_alpha(1, size, 2, contrast=contrast, start=index)[0, 0]
    assert 0.2 < share.mean() < 0.8 and (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_rotated_contour_cell_by_cell(index):
    size, columns = 10, 320
    c = contour_heights(1, columns, 2, start=index)[0].clamp(0, 1).tolist()
    angle = 2 * math.pi * float(uniform(0, "c_alpha angle", index, 1, 1))
    share = torch.zeros(columns, columns, dtype=torch.float64)
    for i in range(columns):
        for j in range(columns):
            down, right = (i + 0.5) / columns - 0.5, (j + 0.5) / columns - 0.5
            along = math.cos(angle) * right + math.sin(angle) * down + 0.5
            across = math.cos(angle) * down - math.sin(angle) * right + 0.5
            height = c[math.floor(along * columns) % columns]  # the contour is periodic
            share[i, j] = min(max((height - across) * columns + 0.5, 0.0), 1.0)
    found = calpha._coverage(0, index, 1, size, 2, "holder", True, None)[0]
    assert (found - blocks(share[None, None], columns // size)[0, 0]).abs().max() < 1e-3


# --- what an image depends on -------------------------------------------------------------

CLASSES = [
    dict(),
    dict(rotate=True),
    dict(convention="spectral"),
    dict(contour=False),
    dict(contour=False, contrast="fixed"),
    dict(contrast="fixed"),
]


@settings(max_examples=30)
@given(
    n=st.integers(1, 40),
    skip=st.integers(0, 3),
    start=st.integers(0, 2**40),
    size=st.sampled_from([1, 5, 8, 16]),
    alpha=st.sampled_from([0.5, 1, 2.5, 4]),
    kind=st.sampled_from([k for k in CLASSES if "rotate" not in k]),
    seed=st.integers(0, 2**63),
)
def test_image_i_depends_on_parameters_seed_and_index_only(n, skip, start, size, alpha, kind, seed):
    whole = c_alpha(n + skip, size, alpha, seed=seed, start=start, **kind)
    assert whole.shape == (n + skip, 1, size, size) and whole.dtype == torch.float32
    rounding = {"rtol": 0, "atol": 1e-6}  # a transform of many images may split its sums otherwise than that of one
    part = c_alpha(n, size, alpha, seed=seed, start=start + skip, **kind)
    torch.testing.assert_close(part, whole[skip:], **rounding)
    part = c_alpha(1, size, alpha, seed=seed, start=start + n - 1, **kind)
    torch.testing.assert_close(part, whole[n - 1 : n], **rounding)


def test_a_rotated_image_depends_on_its_index_only():
    whole = c_alpha(35, 8, 2, rotate=True)
    torch.testing.assert_close(c_alpha(2, 8, 2, rotate=True, start=33), whole[33:], rtol=0, atol=1e-6)


def test_seeds_and_parameters_give_other_images_and_leave_the_generator_alone():
    rng = torch.get_rng_state()
    first = c_alpha(3, 16, 2)
    others = [c_alpha(3, 16, 2, **kind) for kind in (*CLASSES[1:], dict(seed=1), dict(start=3))]
    for other in (*others, c_alpha(3, 16, 2.1)):
        assert not any(torch.equal(a, b) for a in first for b in other)
    assert torch.equal(rng, torch.get_rng_state())


@pytest.mark.parametrize("kind", CLASSES, ids=str)
@pytest.mark.parametrize("alpha", [0.5, 1, 4])
def test_range(kind, alpha):
    x = c_alpha(40, 32, alpha, **kind)
    assert x.min() >= 0 and x.max() <= 1 and x.std() > 0.05


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", CLASSES, ids=str)
def test_the_same_image_on_cuda(kind):
    here, there = (c_alpha(40, 40, 2, device=device, **kind) for device in ("cpu", "cuda"))
    apart = (here - there.cpu()).abs()
    # a rotated contour reads the column that rounding points to: a cell in a thousand may differ
    assert (apart.mean() if kind.get("rotate") else apart.max()) < 1e-5
    again = c_alpha(40, 40, 2, device="cuda", **kind)
    assert torch.equal(there, again)


# --- one function at every size -----------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES, ids=str)
@pytest.mark.parametrize("alpha", [1, 2, 4])
def test_the_same_image_at_80_and_at_40(kind, alpha):
    """Exact but at contour pixels.

    There a pixel weighs the means of both backgrounds over all of it by the
    share above the contour, and the mean of products is not the product of
    means: off by at most ¼ of how much the backgrounds' difference varies
    over the pixel's four quarters.
    """
    n = 4 if kind.get("rotate") else 40
    fine, coarse = (c_alpha(n, size, alpha, seed=1, **kind) for size in (80, 40))
    apart = (blocks(fine, 2) - coarse).abs()
    clipped = (fine == 0) | (fine == 1)  # the mean of clipped values is not the clipped mean
    plain = blocks(clipped, 2) == 0
    assert plain.float().mean() > 0.99
    if not kind.get("contour", True):
        assert apart[plain].max() < 1e-6
        return
    where = (1, 0, n)
    rest = alpha, kind.get("convention", "holder")
    share = calpha._coverage(*where, 40, *rest, kind.get("rotate", False), None)[:, None]
    edge = (share > 0) & (share < 1)
    centre, gain = calpha._gray(*where, kind.get("contrast", "random"), None)
    region = centre + gain * calpha._fields(*where, 80, *rest, None)
    difference = region[:, :1] - region[:, 1:]
    most, least = (torch.nn.functional.max_pool2d(s * difference, 2) * s for s in (1, -1))
    assert 0.005 < edge.float().mean() < 0.4
    assert apart[plain & ~edge].max() < 2e-6
    assert bool((apart <= (most - least) / 4 + 2e-6)[plain & edge].all())
    assert apart.mean() < 1e-3


@pytest.mark.parametrize("size", [24, 32, 48])
def test_the_same_image_at_other_sizes(size):
    """Contours are seen on other columns (384 at 96, 336, 320 and 336 here): where they are steep, pixels differ."""
    fine, coarse = (c_alpha(40, s, 2, seed=1) for s in (96, size))
    apart = (blocks(fine, 96 // size) - coarse).abs()
    assert apart.median() < 1e-6 and apart.mean() < 1e-3 and apart.max() < 0.1


# --- regularity ---------------------------------------------------------------------------


def increments(paths: torch.Tensor, order: int, step: int) -> torch.Tensor:
    for _ in range(order):
        paths = paths.roll(-step, 1) - paths  # contours are periodic
    return paths


def exponent(paths: torch.Tensor, order: int, steps=(16, 32, 64, 128)) -> float:
    """Slope of the root mean square increment against the step, in log-log."""
    x = torch.tensor(steps, dtype=torch.float64).log()
    y = torch.stack([increments(paths, order, h).square().mean().sqrt().log() for h in steps])
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


REGULAR = [(a, "holder", a) for a in (0.5, 1, 1.5, 2, 2.5, 3, 4)] + [(a, "spectral", a - 0.5) for a in (1, 2, 3, 4)]


@pytest.mark.parametrize(("alpha", "convention", "regularity"), REGULAR)
def test_increments_of_contours_scale_as_their_regularity(alpha, convention, regularity):
    """Order ≥ regularity + 1, 4,096 points, 200 paths, steps of 1/256 to 1/32: within 0.03."""
    paths = contour_heights(200, 4096, alpha, convention=convention, dtype=torch.float64)
    order = math.ceil(regularity) + 1
    assert abs(exponent(paths, order) - regularity) < 0.03
    assert abs(exponent(paths, order + 1) - regularity) < 0.03
    # the null: first increments see nothing above one
    if regularity > 1:
        assert 0.95 < exponent(paths, 1) < 1.01


def slope_of_spectrum(power: torch.Tensor, k: torch.Tensor) -> float:
    x, y = k.log(), power.log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def test_the_spectral_convention_is_rougher_by_a_half_on_the_line():
    """Slopes of periodograms of contours: −(2α + 1) and −2α, within 0.02."""
    slopes = {}
    for convention in ("holder", "spectral"):
        paths = contour_heights(300, 8192, 2, convention=convention, dtype=torch.float64)
        power = torch.fft.rfft(paths).abs().square().mean(dim=0)
        k = torch.arange(1, CONTOUR_CUT + 1, dtype=torch.float64)
        assert power[CONTOUR_CUT + 1 :].max() < 1e-12 * power[1]  # cut at one frequency, whatever the points
        slopes[convention] = slope_of_spectrum(power[1 : CONTOUR_CUT + 1], k)
    assert abs(slopes["holder"] + 5) < 0.02 and abs(slopes["spectral"] + 4) < 0.02


def test_the_spectral_convention_is_rougher_by_one_in_the_plane():
    """Slopes of the exact spectra without the mean over pixels: −2(α + 1) and −2α."""
    size = 128  # no frequency aliases
    k = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    radius = (k[:, None].square() + k.square()).sqrt()
    inside = (radius > 0) & (radius <= CUT)
    mean = (torch.sinc(k[:, None] / size) * torch.sinc(k / size)).square()
    for alpha in (1, 2.5):
        for convention, expected in (("holder", -2 * (alpha + 1)), ("spectral", -2 * alpha)):
            power = c_alpha_spectrum(size, alpha, convention=convention) / mean
            assert abs(slope_of_spectrum(power[inside], radius[inside]) - expected) < 1e-9
            assert power[~inside].max() < 1e-20


@pytest.mark.parametrize("alpha", [1, 2, 3])
def test_heights_have_mean_a_half_and_the_stated_deviation(alpha):
    paths = contour_heights(4000, 64, alpha, dtype=torch.float64)
    assert abs(paths.mean() - 0.5) < 1e-3 * CONTOUR_SD  # no frequency 0: each path has mean ½
    variance = paths.var(dim=0)
    assert bool(((variance / CONTOUR_SD**2 - 1).abs() < 4.5 * math.sqrt(2 / 4000)).all())


# --- the exact law of the background -------------------------------------------------------


def gaussian(n, size, alpha=2.0, **kind):
    return c_alpha(n, size, alpha, contour=False, contrast="fixed", **kind).double()


@pytest.mark.parametrize(
    ("size", "alpha", "convention"),
    [(16, 1, "holder"), (32, 2, "holder"), (17, 3, "holder"), (32, 2, "spectral"), (128, 2, "holder")],
)
def test_the_spectrum_is_that_of_the_images(size, alpha, convention):
    """Each periodogram ordinate is the spectrum times χ²/dof: every one within 5 standard errors.

    But for where the spectrum is below 1e-12, near float32's resolution of the images (3e-16).
    """
    n = 1500 if size < 64 else 300
    x = gaussian(n, size, alpha, convention=convention) - 0.5
    found = torch.fft.fft2(x[:, 0], norm="ortho").abs().square().mean(dim=0)
    spectrum = c_alpha_spectrum(size, alpha, convention=convention)
    assert spectrum.shape == (size, size) and spectrum.dtype == torch.float64
    assert spectrum[0, 0] < 1e-20 and found[0, 0] < 1e-10  # every image has mean ½
    seen = spectrum > 1e-12
    k = torch.arange(size)
    own = (2 * k % size == 0)[:, None] & (2 * k % size == 0)  # real coefficients: one degree of freedom
    spread = torch.where(own, 2.0, 1.0).double().sqrt() / math.sqrt(n)
    z = ((found / spectrum - 1) / spread)[seen]
    assert seen.sum() == min(size * size - 1, 7212) and z.abs().max() < 5
    # conjugate pairs are one number twice: half as many are independent
    assert abs(z.mean()) < 5 * math.sqrt(2 / len(z)) and abs(z.square().mean() - 1) < 6 * math.sqrt(4 / len(z))


@pytest.mark.parametrize("size", [16, 32])
def test_coefficients_are_uncorrelated_and_gaussian(size):
    """Covariances of pixels are circulant; fourth moments of pixels and of random projections are 3."""
    n = 4000
    x = gaussian(n, size, 1.0) - 0.5
    spectrum = c_alpha_spectrum(size, 1.0)
    expected = torch.fft.ifft2(spectrum).real  # covariance at each lag
    for lag in ((0, 0), (0, 1), (1, 0), (3, 5), (-1, 2)):
        other = x.roll((-lag[0], -lag[1]), (2, 3))
        products = (x * other)[:, 0]
        for place in ((0, 0), (size // 2, 3), (size - 1, size - 1)):
            values = products[:, place[0], place[1]]
            assert abs(values.mean() - expected[lag]) < 4.5 * values.std() / math.sqrt(n)
    directions = torch.randn(size * size, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for values in (*(x.flatten(1) @ directions).T, x[:, 0, 0, 0], x[:, 0, 3, 5]):
        values = (values - values.mean()) / values.std()
        assert abs(values.pow(4).mean() - 3) < 4.5 * math.sqrt(24 / n)
        assert abs(values.pow(3).mean()) < 4.5 * math.sqrt(6 / n)


@pytest.mark.parametrize("alpha", [0.5, 2, 4])
def test_mean_and_deviation(alpha):
    """Mean ½ in every image; deviation 0.08 of the function, less what the mean over pixels takes away."""
    for size in (16, 64, 256):
        assert c_alpha_spectrum(size, alpha).mean() <= FIELD_SD**2 * (1 + 1e-12)
    assert abs(c_alpha_spectrum(512, alpha).mean().sqrt() / 0.08 - 1) < 0.01
    x = gaussian(3000, 16, alpha)
    assert (x.mean(dim=(1, 2, 3)) - 0.5).abs().max() < 1e-6
    variance = x[:, 0, 4, 9].var()
    assert abs(variance / c_alpha_spectrum(16, alpha).mean() - 1) < 4.5 * math.sqrt(2 / 3000)


def test_never_clipped(monkeypatch):
    """With twelve times the deviation the images leave [0, 1], and are twelve times as far from ½."""
    small = gaussian(8, 16)
    monkeypatch.setattr(calpha, "FIELD_SD", 12 * FIELD_SD)
    large = gaussian(8, 16)
    assert large.min() < 0 and large.max() > 1
    assert ((large - 0.5) - 12 * (small - 0.5)).abs().max() < 1e-5


def test_the_optimal_denoiser_is_the_gaussian_one():
    """Its error is the closed form's, its residual is orthogonal to what it is given, and Wiener's comes near."""
    size, sigma, n = 16, 0.05, 2000
    x = gaussian(n, size)
    spectrum = c_alpha_spectrum(size, 2.0)
    lags = torch.fft.ifft2(spectrum).real
    place = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    apart = (place[:, None] - place) % size
    covariance = lags[apart[..., 0], apart[..., 1]]
    optimum = gahb.Gaussian(torch.full((1, size, size), 0.5), (covariance + covariance.T) / 2)
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = (optimum(y, sigma) - x).flatten(1)
    mse = errors.square().mean(dim=1)
    expected = float((spectrum * sigma**2 / (spectrum + sigma**2)).mean())
    assert abs(mse.mean() - expected) < 4 * mse.std() / math.sqrt(n)
    products = errors * (y - 0.5).roll((1, 2), (2, 3)).flatten(1)
    assert abs(products.mean()) < 4 * products.mean(dim=1).std() / math.sqrt(n)
    for factor in (0.7, 1.4):  # shrinking by another spectrum is worse, image by image
        other = gahb.Gaussian(torch.full((1, size, size), 0.5), (covariance + covariance.T) / 2 * factor)
        worse = (other(y, sigma) - x).flatten(1).square().mean(dim=1) - mse
        assert worse.mean() > 4 * worse.std() / math.sqrt(n)
    wiener = (gahb.Wiener(gaussian(4000, size, start=n))(y, sigma) - x).square().mean()
    assert 1 - 1e-3 < wiener / mse.mean() < 1.005


# --- gray levels and contours ---------------------------------------------------------------


def test_random_contrast_and_polarity():
    """Bright region [u, 1], dark region [0, v], either one above, its field reaching over 4 deviations."""
    n = 20_000
    centre, gain = (t[..., 0, 0].double() for t in calpha._gray(0, 0, n, "random", None))
    low, high = centre - 4 * gain, centre + 4 * gain
    bright_above = (high[:, 0] - 1).abs() < 1e-6
    assert abs(bright_above.double().mean() - 0.5) < 4 * 0.5 / math.sqrt(n)
    bright = torch.where(bright_above, 0, 1)[:, None]
    u, v = low.gather(1, bright), high.gather(1, 1 - bright)
    assert (high.gather(1, bright) - 1).abs().max() < 1e-6 and low.gather(1, 1 - bright).abs().max() < 1e-6
    for values in (u, v):
        assert abs(values.mean() - 0.5) < 4 / math.sqrt(12 * n)
        assert abs(values.var() * 12 - 1) < 4 * math.sqrt(0.8 / n)
    assert abs(torch.corrcoef(torch.cat([u, v], dim=1).T)[0, 1]) < 4 / math.sqrt(n)


def test_random_contrast_is_seen():
    """Above and below the contour: means ½, and correlation −0.706, as u, v and polarity make it."""
    n = 3000
    x = c_alpha(n, 8, 2).double()
    above, below = x[:, 0, 0, 3], x[:, 0, 7, 3]
    for values in (above, below):
        assert abs(values.mean() - 0.5) < 4 * values.std() / math.sqrt(n)
    expected = -(1 / 16) / (1 / 12 + 1 / 192)
    assert abs(torch.corrcoef(torch.stack([above, below]))[0, 1] - expected) < 0.04


def test_fixed_contrast_is_dark_above_and_light_below():
    x = c_alpha(400, 8, 2, contrast="fixed").double()
    assert abs(x[:, 0, 0].mean() - 0.3) < 0.02 and abs(x[:, 0, 7].mean() - 0.7) < 0.02
    assert x[:, 0, 0, 3].std() == pytest.approx(0.075, rel=0.15)


def test_without_contour_there_is_one_region():
    both, one = c_alpha(50, 32, 2), c_alpha(50, 32, 2, contour=False)
    same = (both == one).flatten(1).double().mean(dim=1)
    assert bool((same > 0.1).all()) and bool((same < 0.9).all())  # what lies above the contour


def test_contours_are_graphs_unless_rotated():
    """Down a column the share above the contour only falls; in rotated images it rises in some, and turns."""
    plain, turned = (calpha._coverage(0, 0, 30, 40, 2.0, "holder", rotate, None) for rotate in (False, True))
    assert plain.diff(dim=1).max() <= 1e-6
    step = turned.diff(dim=1)
    falls, rises = (step < -0.2).any(dim=1), (step > 0.2).any(dim=1)  # (n, columns)
    assert 0.2 < (rises & ~falls).double().mean() < 0.7  # half of the angles have it upside down
    graph = [not (share.diff(dim=0) > 0.01).any() or not (share.diff(dim=0) < -0.01).any() for share in turned]
    assert graph.count(False) >= 3
    assert turned.mean().item() == pytest.approx(0.5, abs=0.06)


def test_quarter_turns(monkeypatch):
    """Turned by 0, ¼, ½ and ¾ the contour is the plain one, turned."""
    plain = calpha._coverage(0, 0, 4, 32, 2.0, "holder", False, None)
    for quarters in range(4):
        monkeypatch.setattr(calpha, "uniform", lambda *_, q=quarters: torch.full((4, 1), q / 4))
        turned = calpha._coverage(0, 0, 4, 32, 2.0, "holder", True, None)
        assert (turned - torch.rot90(plain, -quarters, (1, 2))).abs().mean() < 2e-3


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: c_alpha(1, 8, 0), "alpha must be a positive number, got 0"),
        (lambda: c_alpha(1, 8, -1.5), "alpha must be a positive number, got -1.5"),
        (lambda: c_alpha(1, 8, math.nan), "alpha must be a positive number, got nan"),
        (lambda: c_alpha(1, 8, math.inf), "alpha must be a positive number, got inf"),
        (lambda: c_alpha(1, 8, "2"), "alpha must be a positive number, got '2'"),
        (lambda: c_alpha(1, 8, True), "alpha must be a positive number, got True"),
        (lambda: c_alpha(0, 8, 2), "n must be an integer of at least 1, got 0"),
        (lambda: c_alpha(1.0, 8, 2), "n must be an integer of at least 1, got 1.0"),
        (lambda: c_alpha(1, 0, 2), "size must be an integer of at least 1, got 0"),
        (lambda: c_alpha(1, 8, 2, start=-1), "start must be an integer of at least 0, got -1"),
        (lambda: c_alpha(1, 8, 2, seed=-1), "seed must be an integer of at least 0, got -1"),
        (lambda: c_alpha(1, 8, 2, seed=1 << 64), r"seed must be an integer below 2\*\*64, got 18446744073709551616"),
        (
            lambda: c_alpha(2, 8, 2, start=(1 << 63) - 3),
            r"start \+ n must be below 2\*\*63 - 1, got start = 9223372036854775805 and n = 2",
        ),
        (lambda: c_alpha(1, 8, 2, seed=0.5), "seed must be an integer of at least 0, got 0.5"),
        (lambda: c_alpha(1, 8, 2, convention="hölder"), "convention must be 'holder' or 'spectral', got 'hölder'"),
        (lambda: c_alpha(1, 8, 2, contrast="full"), "contrast must be 'random' or 'fixed', got 'full'"),
        (lambda: c_alpha_spectrum(0, 2), "size must be an integer of at least 1, got 0"),
        (lambda: c_alpha_spectrum(8, 0), "alpha must be a positive number, got 0"),
        (lambda: c_alpha_spectrum(8, 2, convention="paper"), "convention must be 'holder' or 'spectral', got 'paper'"),
        (lambda: contour_heights(1, 0, 2), "points must be an integer of at least 1, got 0"),
        (lambda: contour_heights(0, 8, 2), "n must be an integer of at least 1, got 0"),
        (lambda: c_alpha(1, 8, 2, device="cuda:99"), r"device must be one of this machine \(cpu.*\), got 'cuda:99'"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
