"""Numbers as text."""

from __future__ import annotations

import pytest

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
