"""The empirical optimum of 100,000 images of 32×32 for 64 points, against the machine's matrix product.

    python tests/benchmarks/bench_empirical.py [N]

The work is counted as two products, 4·N·d·B operations, whatever was left
out. Goal: 70 % of the rate of a float32 product of two 2048×2048 matrices,
measured right before and after, on the CPU both by processor time, since the
machine may be shared. Errors are those against float64 (norm of the
difference over the norm), on all points.
"""

from __future__ import annotations

import os
import sys
import time

import torch

import gahb

D, POINTS, SIDE = 1024, 64, 2048


def best(run, device: str, times: int = 3) -> float:
    seconds, clock = [], time.process_time if device == "cpu" else time.perf_counter
    for _ in range(times):
        began = clock()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    return min(seconds)


def product_rate(device: str) -> float:
    a, b = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    return 2 * SIDE**3 / best(lambda: a @ b, device, times=5)


def sets(n: int) -> dict[str, torch.Tensor]:
    """Unrelated, of one class, and with near-duplicates at σ to 3σ for σ = 0.01 hidden among them."""
    torch.manual_seed(0)
    disks = gahb.images.disks(n // 10, 32)
    disks = torch.cat([disks, 1 - disks] + [torch.roll(disks, (k, -k), (2, 3)) for k in (-4, -3, -2, -1, 1, 2, 3, 4)])
    noise = torch.rand(n, 1, 32, 32)
    close = noise.clone()
    directions = torch.nn.functional.normalize(torch.randn(640, D), dim=1).reshape(-1, 1, 32, 32)
    sizes = 0.01 * torch.linspace(0.75, 2.1, 10).repeat(64).reshape(-1, 1, 1, 1)
    close[torch.randperm(n)[:640]] = close[:64].repeat_interleave(10, dim=0) + sizes * directions
    return {"noise": noise, "disks": disks, "near-duplicates": close}


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        print(f"{device}, {torch.get_num_threads()} threads, N = {n}, load {os.getloadavg()[0]:.1f}")
        for name, images in sets(n).items():
            images = images.to(device)
            f = gahb.Empirical(images)
            for sigma in (0.01,) if name == "near-duplicates" else (0.01, 0.1, 0.3, 1.0, 3.0):
                y = images[:POINTS] + sigma * torch.randn(POINTS, 1, 32, 32, device=device)
                before = product_rate(device)
                seconds = best(lambda f=f, y=y, s=sigma: f(y, s), device)
                rate, machine = 4 * n * D * POINTS / seconds, max(before, product_rate(device))
                exact = f(y.double(), sigma)
                error = float((f(y, sigma) - exact).norm() / exact.norm())
                moved = float((exact - images[:POINTS]).norm() / exact.norm())
                print(
                    f"  {name}, σ = {sigma}: {seconds:.2f} s, {rate / 1e9:.0f} of {machine / 1e9:.0f} GFLOP/s, "
                    f"{100 * rate / machine:.0f} %; error {error:.1e} (from the image {moved:.1e})"
                )


if __name__ == "__main__":
    main()
