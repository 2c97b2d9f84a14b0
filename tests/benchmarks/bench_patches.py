"""The patch posterior of 10,000 images of 32×32 against the machine's matrix product, and what pruning saves.

    python tests/benchmarks/bench_patches.py [N]

The plain loop's rate counts the products of its scores, 2 (D + 2) operations
for each pair of a query and a row, against the rate of one float32 product of
two 2048×2048 matrices and against the product of scores alone, in the same
tiles. Goal: 70 %. Speed-ups are against the plain loop, by σ; goal: 5 at
σ ≤ 0.1. All by processor time, since the machine may be shared. With faiss
(pip install faiss-cpu, which nothing else here needs) an index of all patches
is asked for the nearest 2,000, and its error is told, too.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec

import torch

import gahb
from gahb.kernels import patch_posterior as kernel

SIZE, PATCH, SIDE, NEAREST = 32, 5, 2048, 2000


def seconds(run, times: int = 1) -> float:
    found = []
    for _ in range(times):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return min(found)


def product_rate() -> float:
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    return 2 * SIDE**3 / seconds(lambda: a @ b, times=3)


def tile_rate() -> float:
    d = PATCH**2 + 2
    rows, queries = torch.randn(64, kernel.TILE, d), torch.randn(d, kernel.BLOCK)
    run = seconds(lambda: [tile @ queries for tile in rows], times=3)
    return 2 * 64 * kernel.TILE * kernel.BLOCK * d / run


def by_faiss(x: torch.Tensor, y: torch.Tensor, sigma: float) -> tuple[float, torch.Tensor]:
    """Processor time of the answers and the answers, from the nearest patches only (index built before)."""
    import faiss

    rows = kernel.cut(kernel.extended(x, PATCH, "zero"), PATCH).flatten(0, 1).contiguous()
    queries = kernel.cut(kernel.extended(y, PATCH, "zero"), PATCH).flatten(0, 1).contiguous()
    index = faiss.index_factory(rows.shape[1], "IVF1024,Flat")
    index.train(rows[:: max(1, len(rows) // 100_000)].numpy())
    index.add(rows.numpy())
    index.nprobe = 16
    began = time.process_time()
    distance, near = index.search(queries.numpy(), NEAREST)
    near = torch.from_numpy(near).clamp(min=0)
    weights = (-torch.from_numpy(distance) / (2 * sigma**2)).softmax(1)
    out = (weights * rows[:, PATCH**2 // 2][near]).sum(1)
    return time.process_time() - began, out.reshape(y.shape)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"cpu, {torch.get_num_threads()} threads, N = {n}, load {os.getloadavg()[0]:.1f}")
    for name, images in {"C² images": gahb.images.c_alpha, "disks": gahb.images.disks}.items():
        given = (2.0,) if images is gahb.images.c_alpha else ()
        x, clean = images(n, SIZE, *given), images(2, SIZE, *given, start=n)
        plain, pruned = gahb.PatchEmpirical(x, PATCH, tolerance=0), gahb.PatchEmpirical(x, PATCH)
        built = seconds(lambda f=pruned: f._posterior._groups(PATCH)[0][1].leaves())
        pairs = n * SIZE**2 * clean.numel()
        print(f"  {name}: {pairs:.1e} pairs; tree {built:.1f} s")
        for sigma in (0.02, 0.05, 0.1, 0.2, 0.5):
            y = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
            answers = {}
            machine, tiles = product_rate(), tile_rate()
            slow = seconds(lambda f=plain, y=y, s=sigma, out=answers: out.update(plain=f(y, s)))
            fast = seconds(lambda f=pruned, y=y, s=sigma, out=answers: out.update(pruned=f(y, s)))
            rate = 2 * pairs * (PATCH**2 + 2) / slow
            away = float((answers["plain"] - answers["pruned"]).abs().max())
            line = (
                f"    σ = {sigma}: plain {slow:.1f} s, {rate / 1e9:.0f} GFLOP/s, {100 * rate / machine:.0f} % of the "
                f"square product, {100 * rate / tiles:.0f} % of the scores' own; pruned {slow / fast:.1f}×, "
                f"differs by {away:.0e}"
            )
            if find_spec("faiss"):
                took, near = by_faiss(x, y, sigma)
                line += f"; faiss {slow / took:.1f}×, differs by {float((near - answers['plain']).abs().max()):.0e}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
