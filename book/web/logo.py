"""Draw the book's logo and favicon, from an equation.

    python book/web/logo.py

Harmonics along the level lines of a smooth shape,
$r_n(t) = R_n s(t) + a_n \\cos(k_n t)$, whose frequency rises from line to
line: the eigenvectors of a denoiser, in one picture.
"""

from __future__ import annotations

import math
from pathlib import Path

STATIC = Path(__file__).resolve().parents[1] / "_static"
INK, WAVE = "#2a86a8", "#d9822b"  # read on white and on near-black


def shape(t: float) -> float:
    """A smooth closed shape, not quite a circle: its relative radius at angle t."""
    return 1 + 0.09 * math.cos(2 * t + 0.6) + 0.05 * math.cos(3 * t - 0.4)


def line(radius: float, amplitude: float, waves: int, stroke: float, colour: str, points: int = 240) -> str:
    """One level line with `waves` oscillations of `amplitude` along it."""
    coordinates = []
    for i in range(points):
        t = 2 * math.pi * i / points
        r = radius * shape(t) + amplitude * math.cos(waves * t)
        coordinates.append(f"{r * math.cos(t):.1f} {-r * math.sin(t):.1f}")
    return f'<path d="M{"L".join(coordinates)}Z" stroke="{colour}" stroke-width="{stroke}"/>'


def svg(title: str, *lines: str) -> str:
    body = f'<title>{title}</title><g fill="none" stroke-linejoin="round">{"".join(lines)}</g>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-50 -50 100 100" role="img">{body}</svg>\n'


def main() -> None:
    logo = svg(
        "Harmonics along the contours of a shape",
        line(7, 0, 0, 2.4, INK),
        line(16, 1.4, 5, 2.4, INK),
        line(26, 2.0, 10, 2.4, INK),
        line(39, 2.8, 20, 2.8, WAVE),
    )
    favicon = svg("gahb", line(14, 0, 0, 7, INK), line(36, 5, 9, 7, WAVE))
    for name, picture in (("logo", logo), ("favicon", favicon)):
        (STATIC / f"{name}.svg").write_text(picture)


if __name__ == "__main__":
    main()
