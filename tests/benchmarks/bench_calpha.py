"""C^α images at 80×80: `gahb.images.c_alpha` against a loop over images and columns.

    python tests/benchmarks/bench_calpha.py

The loop has the same spectra, the same means over pixels of the backgrounds,
and the same 320 columns on which the contour's height is exact. One thread
each; goals: 5 times as fast on the CPU, 100 times on a GPU.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
import torch

from gahb.images import c_alpha
from gahb.images.calpha import COLUMNS, CONTOUR_CUT, CONTOUR_SD, CUT, REACH

SIZE, ALPHA = 80, 2.0


def plain(n: int, size: int, alpha: float, random: np.random.Generator) -> np.ndarray:
    """One image after the other, one column after the other."""
    images = np.empty((n, size, size), dtype=np.float32)
    for i in range(n):
        first, second = backgrounds(size, alpha, random)
        heights = contour(alpha, random)
        share = np.zeros((size, size))
        rows = np.arange(size)
        for column in range(COLUMNS):
            share[:, column * size // COLUMNS] += np.clip(size * heights[column] - rows, 0, 1) * size / COLUMNS
        u, v, polarity = random.random(3)
        ranges = [(u, 1.0), (0.0, v)] if polarity < 0.5 else [(0.0, v), (u, 1.0)]
        first, second = (
            (low + high) / 2 + (high - low) / (2 * REACH) * field
            for (low, high), field in zip(ranges, (first, second))
        )
        images[i] = np.clip(share * first + (1 - share) * second, 0, 1)
    return images


def backgrounds(size: int, alpha: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """White noise times amplitude on a grid that holds every frequency, seen at every second point: two in one."""
    fine = 2 * size
    k = np.fft.fftfreq(fine, 1 / fine)
    radius = np.hypot(k[:, None], k)
    inside = (radius > 0) & (radius <= CUT)
    amplitude = np.where(inside, np.where(inside, radius, 1) ** -(alpha + 1), 0)
    amplitude /= np.sqrt((amplitude**2).sum())
    amplitude = amplitude * np.sinc(k[:, None] / size) * np.sinc(k / size)
    waves = (random.standard_normal((fine, fine)) + 1j * random.standard_normal((fine, fine))) * amplitude
    fields = np.fft.ifft2(waves, norm="forward")[::2, ::2]
    return fields.real, fields.imag


def contour(alpha: float, random: np.random.Generator) -> np.ndarray:
    """Heights on a grid that holds every frequency, seen at every 16th point."""
    every = 16
    k = np.arange(1, CONTOUR_CUT + 1)
    amplitude = k ** -(alpha + 0.5)
    amplitude /= np.sqrt((amplitude**2).sum())
    waves = np.zeros(COLUMNS * every, dtype=complex)
    waves[1 : CONTOUR_CUT + 1] = random.standard_normal((CONTOUR_CUT, 2)) @ [1, 1j] * amplitude
    return np.clip(0.5 + CONTOUR_SD * np.fft.ifft(waves, norm="forward").real[::every], 0, 1)


def seconds(run, repeats: int) -> float:
    """Median time; once to warm up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    # the same law: means and deviations agree
    ours, theirs = c_alpha(1000, SIZE, ALPHA)[:, 0, ::8, ::8].numpy(), plain(300, SIZE, ALPHA, random)[:, ::8, ::8]
    assert abs(ours.mean() - theirs.mean()) < 0.05 and abs(ours.std() / theirs.std() - 1) < 0.1
    slow = seconds(lambda: plain(16, SIZE, ALPHA, random), 5) / 16
    rows = [("cpu", seconds(lambda: c_alpha(64, SIZE, ALPHA), 9) / 64, 5)]
    if torch.cuda.is_available():
        n = 4096
        rows.append(("cuda", seconds(lambda: c_alpha(n, SIZE, ALPHA, device="cuda")[-1].cpu(), 5) / n, 100))
    for device, fast, goal in rows:
        print(
            f"c_alpha {SIZE}×{SIZE} on {device}: {1e3 * fast:.3f} ms an image, loop {1e3 * slow:.2f} ms, "
            f"ratio {slow / fast:.1f} (goal {goal}); load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
