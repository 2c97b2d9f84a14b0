"""Images seen until a PSNR at σ = 0.02: the schedule of `gahb.fit` against that of the paper.

    python tests/benchmarks/bench_images_seen.py [STEPS]

C² images of 16×16 pixels, UNet(16, 2), batches of 32. The paper draws σ as
the square of a uniform variable on [0, 1] and leaves the squared error
unweighted; all else is the same here: images, noise, optimizer, rate, polish.
It is trained for STEPS steps (2048); then `fit` as it is, for 1/4 of them,
and 1/8, 1/16, … as long as the PSNR of the paper's is reached, or 1/2 and all
until it is: each a whole run of its own. Goal: 1/4. Runs are kept in the cache:
an interrupted one goes on. Three minutes on one idle core.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from unittest import mock

import torch

import gahb
from gahb._files import cache_dir
from gahb.training import batches, loop

SIZE, BATCH, LEVELS = 16, 32, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
draw = batches.draw


def of_the_paper(images, batch, sigma_range, seed, step, **where):
    """The same images and unit noise as `fit` draws; σ = u²."""
    x, _, z = draw(images, batch, sigma_range, seed, step, **where)
    generator = torch.Generator().manual_seed(batches.mix(seed + 1, step))
    return batches.Batch(x, torch.rand(batch, generator=generator).square(), z)


def psnr(steps: int, *, paper: bool) -> list[float]:
    """PSNR at `LEVELS` of 256 other images, after `steps` steps."""
    torch.manual_seed(0)
    network, log = gahb.UNet(16, 2), []
    images = partial(gahb.images.c_alpha, size=SIZE, alpha=2)
    test = gahb.images.c_alpha(256, SIZE, 2, start=1 << 31)
    monitor = lambda network: {"psnr": gahb.psnr_curve(network, test, LEVELS).psnr.tolist()}  # noqa: E731
    file = cache_dir() / "benchmarks" / f"images-seen-{'paper' if paper else 'fit'}-{steps}.checkpoint"
    with mock.patch.object(loop, "draw", of_the_paper if paper else draw):
        gahb.fit(network, lambda n, start: images(n, start=start), steps=steps, batch=BATCH, checkpoint=file,
                 weight_power=0 if paper else 1.2, every=max(1, steps // 4), monitor=monitor, log=log)
    found = log[-1]["psnr"]
    print(f"{'paper' if paper else 'fit':<6}{steps * BATCH:>8,} images  {log[-1]['seconds']:>5.0f} s  "
          + "  ".join(f"{p:5.2f}" for p in found), flush=True)
    return found


def main(steps: int = 2048) -> None:
    torch.set_num_threads(1)
    print(f"PSNR (dB) at σ = {', '.join(map(str, LEVELS))}; load {os.getloadavg()[0]:.1f}")
    at = LEVELS.index(0.02)
    goal, share = psnr(steps, paper=True)[at], 4
    reached = psnr(steps // share, paper=False)[at] >= goal
    while share > 1 and not reached:
        share //= 2
        reached = psnr(steps // share, paper=False)[at] >= goal
    while share >= 4 and steps >= 2 * share and psnr(steps // (2 * share), paper=False)[at] >= goal:
        share *= 2
    verdict = f"1/{share} of the images of the paper's schedule" if reached else "not reached"
    print(f"{goal:.2f} dB at σ = 0.02: {verdict} (goal 1/4)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
