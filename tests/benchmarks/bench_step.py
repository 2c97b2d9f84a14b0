"""One training step: that of `gahb.fit` with what recipes ask for, against plain NCHW float32.

    python tests/benchmarks/bench_step.py

The same network, UNet(32, 2), the same batch of 32 images of 40×40, the same
drawing of images, noise levels and noise. Goals: 1.8 times as fast on the
CPU, 5 times on an H200.
"""

from __future__ import annotations

import os
import statistics
import time

import torch

import gahb
from gahb.training.batches import draw

BATCH, SIZE, WARM, STEPS = 32, 40, 4, 16
WAYS = {
    "channels_last float32": dict(),
    "channels_last bfloat16": dict(precision="bfloat16"),
    "channels_last bfloat16 compiled": dict(precision="bfloat16", compiled=True),
}


def network(device: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return gahb.UNet(32, 2).to(device)


def plain(images: torch.Tensor, device: str) -> list[float]:
    """Times at which the steps begin."""
    given, times = network(device).train(), []
    optimizer = torch.optim.Adam(given.parameters(), lr=1e-3, betas=(0.9, 0.99))
    for step in range(WARM + STEPS):
        times.append(time.perf_counter())
        x, sigma, z = (t.to(device) for t in draw(images, BATCH, (0.005, 1.0), 0, step))
        error = (given(x + sigma[:, None, None, None] * z) - x).square().mean(dim=(1, 2, 3))
        loss = (sigma**-1.2 * error).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return times


def ours(images: torch.Tensor, device: str, **how) -> list[float]:
    times = []

    def source(n: int, start: int) -> torch.Tensor:
        times.append(time.perf_counter())
        return images[torch.arange(start, start + n) % len(images)]

    gahb.fit(network(device), source, steps=WARM + STEPS, batch=BATCH, polish=0, every=10**6, progress=False, **how)
    return times[1:]  # without the image that is looked at before the first step


def step(times: list[float], device: str) -> float:
    """Median on the CPU; on a GPU, which runs behind, the mean."""
    spans = [b - a for a, b in zip(times[WARM:], times[WARM + 1 :])]
    return (statistics.median if device == "cpu" else statistics.mean)(spans)


def main() -> None:
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        images = gahb.images.disks(256, SIZE).to(device)
        slow = step(plain(images, device), device)
        print(
            f"step on {device}, {torch.get_num_threads()} threads: NCHW float32 {1e3 * slow:.1f} ms; "
            f"load {os.getloadavg()[0]:.1f}"
        )
        for label, how in WAYS.items():
            fast = step(ours(images, device, **how), device)
            print(f"  fit, {label}: {1e3 * fast:.1f} ms, ratio {slow / fast:.2f}")


if __name__ == "__main__":
    main()
