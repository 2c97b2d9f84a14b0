"""CPU time until a test error: the recipe of `gahb.fit` against that of the book's first edition.

    python tests/benchmarks/bench_recipe.py [STEPS]

The first edition trained by Adam, 0.003 with half a cosine. Its network is
trained for STEPS steps (2,000); then Muon's for 1/16, 1/8, 1/4, … of them,
each a whole run with its own decay, until the mean PSNR over seven noise
levels from 0.01 to 1 of 256 new images is reached. Time is that of the log, on
one thread of a machine that does nothing else. Goal: a quarter. Two classes: C² images of
16×16, UNet(16, 2); C² backgrounds of 32×32, UNet(32, 2). Runs are kept in the
cache, and an interrupted one goes on.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import torch

import gahb
from gahb._files import cache_dir

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CLASSES = {
    "C² images, 16×16": (16, dict(), (16, 2)),
    "C² backgrounds, 32×32": (32, dict(contour=False, contrast="fixed"), (32, 2)),
}
OLD = dict(optimiser="adam", learning_rate=3e-3)
NEW = dict(optimiser="muon")


def run(name: str, steps: int, how: dict) -> tuple[float, float]:
    """Mean PSNR in dB after `steps` steps, and seconds of the processor for them."""
    size, arguments, network = CLASSES[name]
    make = partial(gahb.images.c_alpha, size=size, alpha=2, **arguments)
    test, log = make(256, start=1 << 31), []
    torch.manual_seed(0)
    file = cache_dir() / "benchmarks" / f"recipe-{size}-{how['optimiser']}-{steps}.checkpoint"
    trained = gahb.fit(gahb.UNet(*network), lambda n, start: make(n, start=start), steps=steps, every=steps,
                       checkpoint=file, log=log, **how)
    return float(gahb.psnr_curve(trained, test, LEVELS).psnr.mean()), log[-1]["seconds"]


def main(steps: int = 2000) -> None:
    torch.set_num_threads(1)
    print(f"mean PSNR over σ = {', '.join(map(str, LEVELS))}; load {os.getloadavg()[0]:.1f}")
    for name in CLASSES:
        goal, slow = run(name, steps, OLD)
        print(f"{name}: Adam, {steps} steps: {goal:.2f} dB, {slow:.0f} s", flush=True)
        for share in (16, 8, 4, 2, 1):
            found, fast = run(name, max(1, steps // share), NEW)
            print(f"{name}: Muon, {max(1, steps // share)} steps: {found:.2f} dB, {fast:.0f} s", flush=True)
            if found >= goal:
                print(f"{name}: {slow / max(fast, 1e-9):.1f} times less time for {goal:.2f} dB (goal 4)", flush=True)
                break
        else:
            print(f"{name}: {goal:.2f} dB not reached", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
