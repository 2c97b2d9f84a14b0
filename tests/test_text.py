"""Numbers as text."""

from __future__ import annotations

import pytest
import torch

import gahb
from gahb._text import plus_minus


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (1234.4, 56.1, "1,234 ± 56"),
        (9501.7, 1234.0, "9,502 ± 1,234"),
        (0.5, 0.0996, "0.50 ± 0.10"),  # the error is rounded before its digits are counted
        (0.5, 0.009999999, "0.500 ± 0.010"),
        (-0.0028, 0.005, "−0.0028 ± 0.0050"),
        (2.5, None, "2.5"),
        (1234.56, None, "1,235"),
        (12345.6, 0.0, "12,346"),
        (-3.25e-8, None, "−3.25e−08"),
    ],
)
def test_a_value_with_its_error(value, stderr, text):
    assert plus_minus(value, stderr) == text


def test_the_unit_follows_both():
    assert plus_minus(12.3456, 0.5, unit=" dB") == "12.35 ± 0.50 dB"


def test_an_error_that_is_not_a_number_is_left_out():
    assert plus_minus(2.5, float("nan")) == plus_minus(2.5, float("inf")) == "2.5"


# what a person sees who types the name of a result: a line that names it, and no tensor
RESULTS = {
    "curve": lambda: gahb.psnr_curve(gahb.Wavelet(), gahb.images.disks(3, 8), [0.05 * k for k in range(1, 13)]),
    "one image": lambda: gahb.psnr_curve(gahb.Wavelet(), gahb.images.disks(1, 8), [0.1]),
    "bound": lambda: gahb.kl_bound(gahb.Wavelet(), gahb.Wiener(gahb.images.disks(9, 8)), gahb.images.disks(3, 8),
                                   [0.1, 0.2, 0.4]),
    "basis": lambda: gahb.adaptive_basis(gahb.Wiener(gahb.images.disks(9, 8)), gahb.images.disks(2, 8), 0.1, k=3),
    "no basis": lambda: gahb.jacobian.AdaptiveBasis.of(torch.zeros(0, 4, 4), (1, 2, 2)),
    "traces": lambda: gahb.trace_estimate(gahb.Wiener(gahb.images.disks(9, 8)), gahb.images.disks(9, 8), 0.1),
    "copies": lambda: gahb.copies(gahb.images.c_alpha(6, 16, 2), gahb.images.c_alpha(120, 16, 2, seed=1),
                                  progress=False),
    "bootstrap": lambda: gahb.statistics.Bootstrap.of(0.5, torch.rand(1000)),
    "disks": lambda: gahb.images.project_on_disks(gahb.images.disks(8, 8)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_as_one_line_without_tensors(name):
    result = RESULTS[name]()
    shown = repr(result)
    assert shown.startswith(f"<{type(result).__name__}") and shown.endswith(">")
    assert "tensor" not in shown and "\n" not in shown and len(shown) < 400


def test_what_is_shown_of_a_curve_are_its_numbers():
    curve = RESULTS["curve"]()
    shown = repr(curve)
    assert "of 3 images" in shown and f"{plus_minus(curve.psnr[0], curve.stderr[0], unit=' dB')} at σ = 0.05" in shown
    assert shown.count("dB") == 6 and "…" in shown and "at σ = 0.6 (noisy 4.44)" in shown  # the last of twelve
    assert repr(RESULTS["one image"]()).count("±") == 0  # one image has no standard error
