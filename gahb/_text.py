"""Numbers as text, written alike in tables, verdicts and prose."""

from __future__ import annotations

import math


def plus_minus(value: float, stderr: float | None, *, unit: str = "") -> str:
    """A value with its standard error, both to the second digit of the error: `1,234 ± 56`, `0.50 ± 0.12`.

    Thousands have commas, and minus is a minus sign. Without an error (None
    or 0) the value has four digits.

    >>> plus_minus(1234.4, 56.1), plus_minus(-0.5, 0.123, unit=" dB"), plus_minus(2, None)
    ('1,234 ± 56', '−0.50 ± 0.12 dB', '2')
    """
    value = float(value)
    if not stderr:
        return f"{value:,.4g}{unit}".replace("-", "−")
    places = max(0, 1 - math.floor(math.log10(stderr)))
    return f"{value:,.{places}f} ± {stderr:,.{places}f}{unit}".replace("-", "−")
