"""`gahb.copies` against the machine's own matrix products, and its memory.

    python tests/benchmarks/bench_copies.py [samples] [images]

10,000 samples against 100,000 images of 64×64×3 bytes that lie on the disk, as
:func:`gahb.images.stored` leaves them, and 2,000 of the images against the
others as the null. The rate counts the products of all pairs, 2d operations
each, and the time all that `gahb.copies` does: reading, removing means,
products, the two largest. It is compared with a product of two matrices, of
2,048 rows and columns, by processor time, since the machine may be shared.
Goals: 70 % of that rate; at most 2 GB, the interpreter and PyTorch included.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import gahb
from gahb.images import StoredImages

SHAPE, SIDE = (3, 64, 64), 2048


def seconds(run) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def product_rate() -> float:
    a, b = (torch.randn(SIDE, SIDE) for _ in range(2))
    return 2 * SIDE**3 / min(seconds(lambda: a @ b) for _ in range(4))


def random_images(path: Path, n: int, seed: int) -> StoredImages:
    """Random bytes: how alike images are changes nothing of the time."""
    generator, each = np.random.default_rng(seed), int(np.prod(SHAPE))
    with open(path, "wb") as file:
        for start in range(0, n, 1000):
            generator.integers(0, 256, (min(1000, n - start), each), dtype=np.uint8).tofile(file)
    return StoredImages(path, (n, *SHAPE), [], "")


def main(n: int = 10_000, images: int = 100_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        samples = random_images(Path(folder, "samples"), n, 0)
        train = random_images(Path(folder, "train"), images, 1)
        before = product_rate()
        found = []
        took = seconds(lambda: found.append(gahb.copies(samples, train)))
        queries = n + len(found[0].null)
        rate = 2 * queries * images * int(np.prod(SHAPE)) / took
        machine = max(before, product_rate())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform != "darwin" else 1 << 30)
    print(f"{n:,} samples, {images:,} images, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}: "
          f"{took:.1f} CPU-seconds, {rate / 1e9:.0f} of {machine / 1e9:.0f} GFLOP/s, {100 * rate / machine:.0f} % "
          f"(goal 70); at most {peak:.2f} GB held (goal 2)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
