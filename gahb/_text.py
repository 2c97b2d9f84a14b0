"""Numbers as text, written alike in tables, verdicts and prose."""

from __future__ import annotations

import math


def plus_minus(value: float, stderr: float | None, *, unit: str = "") -> str:
    """A value with its standard error, both to the second digit of the error: `1,234 ± 56`, `0.50 ± 0.12`.

    Thousands have commas, and minus is a minus sign. Without an error (None,
    0, rounding, or not finite) the value has four digits, or all before the point.

    >>> plus_minus(1234.4, 56.1), plus_minus(-0.5, 0.123, unit=" dB"), plus_minus(2, None)
    ('1,234 ± 56', '−0.50 ± 0.12 dB', '2')
    """
    value, stderr = float(value), float(stderr or 0)
    if stderr <= 1e-9 * abs(value) or not math.isfinite(stderr):
        digits = ",.0f" if 1e4 <= abs(value) < 1e9 else ",.4g"
        return f"{value:{digits}}{unit}".replace("-", "−")
    exponent = int(f"{stderr:.1e}".split("e")[1])  # of the error as it will be written: 0.0996 is 0.10
    places = max(0, 1 - exponent)
    return f"{value:,.{places}f} ± {stderr:,.{places}f}{unit}".replace("-", "−")


def listed(texts: list[str], *, most: int = 6) -> str:
    """Texts with commas between them; of more than `most`, the first ones and the last.

    >>> listed(["a", "b", "c"]), listed(list("abcdefgh"), most=4)
    ('a, b, c', 'a, b, c, …, h')
    """
    return ", ".join(texts if len(texts) <= most else [*texts[: most - 1], "…", texts[-1]])
