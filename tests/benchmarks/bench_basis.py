"""Adaptive bases of networks, against one backward pass a pixel and `eig`.

    python tests/benchmarks/bench_basis.py [photos] [unet] [dense] [lobpcg] [--steps 120]

`photos`: top 64 at 80×80, the shipped photograph denoiser (0.46 M parameters).
`unet`: the same for UNet(64, 3) (7.66 M), trained for a few steps on the spot,
as an untrained one has a flat spectrum; for the same σ. `dense`: all pairs of
UNet(64, 3) at 32×32. Goals: 30 times as fast (top 64), 3 times (dense).
`lobpcg`: our block Lanczos against SciPy's `lobpcg`, which takes callables on
blocks too, at the same largest residual: products, and CPU time as a ratio.
At 40×40 lobpcg takes 1.3 to 1.6 times our products and 1.5 to 1.8 times our
CPU time, at 80×80 2.0 to 2.5 times the products and 2.0 to 2.6 times the time,
and after 60 steps it is now and then still short of the residual. Block
Lanczos, which uses all directions that it has seen and not only the last three
blocks, is kept.

The plain way differentiates one pixel of the output after the other, and
calls `torch.linalg.eig`. Its passes are measured on 24 pixels, and at 80×80
its eig on every second pixel of a side; the rest is extrapolated, by the
number of pixels and by its cube. One thread; CPU time, which other processes
on the machine change little. Where k is given, a last table has the residual
that so many products reach. Most of them find the space, few the digits: what
limits the ratio is their number, and that a product costs what a backward does.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import lobpcg

import gahb
from gahb.jacobian.linearized import linearize

MEASURED = 24


def seconds(run) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def picture(size: int, sigma: float) -> torch.Tensor:
    x = gahb.images.photos(1, size, split="test", seed=3, start=1)
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def big(steps: int) -> torch.nn.Module:
    torch.manual_seed(0)
    network = gahb.UNet(64, 3)
    if steps == 0:
        return network.eval()
    return gahb.fit(network, gahb.images.photos(1024, 32), steps=steps, batch=8, progress=False)


def plain(network, y: torch.Tensor, parameters: bool) -> float:
    """Seconds a pixel; with `parameters`, `backward()` as often written, which also makes their gradients."""
    network.requires_grad_(parameters)
    point = y.clone().requires_grad_()
    out = network(point).flatten()

    def run(count):
        for i in range(0, count * 97, 97):
            if parameters:
                out[i % len(out)].backward(retain_graph=True)
            else:
                torch.autograd.grad(out[i % len(out)], point, retain_graph=True)

    run(2)
    each = seconds(lambda: run(MEASURED)) / MEASURED
    network.zero_grad()
    network.requires_grad_(True)
    return each


def compare(name: str, network, y: torch.Tensor, k: int | None, goal: int) -> None:
    d, size = y.numel(), y.shape[-1]
    each, with_parameters = plain(network, y, False), plain(network, y, True)
    linear, v = linearize(network, y), torch.randn(8, *y.shape)
    with torch.no_grad():
        linear.forward(v)
        passes = [seconds(partial(product, v)) / 8 for product in (linear.forward, linear.transposed)]
    print(f"{name}: {each * 1e3:.0f} ms a backward pass ({with_parameters * 1e3:.0f} with parameters); "
          f"{passes[0] * 1e3:.0f} and {passes[1] * 1e3:.0f} ms a product with J and J'", flush=True)
    n = d if k is None else d // 4
    matrix = torch.eye(n) + 0.1 * torch.randn(n, n)
    eig = seconds(lambda: torch.linalg.eig(matrix)) * (d / n) ** 3
    basis = None

    def ours():
        nonlocal basis
        basis = gahb.adaptive_basis(network, y, k=k)

    spent = seconds(ours)
    for label, pixel in (("one backward a pixel", each), ("with parameters", with_parameters)):
        print(f"  {label}: {d * pixel:.0f} s + eig {eig:.0f} s; ours {spent:.1f} s: "
              f"{(d * pixel + eig) / spent:.1f} times, {d * pixel / spent:.1f} without eig (goal {goal})")
    print(f"  {int(basis.products[0])} products; residuals to {float(basis.residuals.max()):.1e}; "
          f"asymmetry {float(basis.asymmetry[0]):.2f}; λ from {float(basis.eigenvalues[0, 0]):.2f} to "
          f"{float(basis.eigenvalues[0, -1]):.3f} ({size}×{size})", flush=True)
    for tol in (0.1, 0.03, 0.01, 0.003, 0.001) if k is not None else ():
        found = gahb.adaptive_basis(network, y, k=k, tol=tol)
        print(f"    tol {tol:<5g} {int(found.products[0]):>5} products, residual {float(found.residuals.max()):.1e}",
              flush=True)


def against_lobpcg(name: str, network, y: torch.Tensor, k: int, tol: float) -> None:
    """Both until every residual is at most `tol`; its products are those with J and with its transpose, as ours are."""
    products = 0
    jacobian = gahb.jacobian.Jacobian(network, y)

    def symmetric(X: np.ndarray) -> np.ndarray:
        """S X of vectors (d,) or blocks (d, m)."""
        nonlocal products
        block = torch.from_numpy(X.reshape(y.numel(), -1)).to(y)
        v = block.T.reshape(-1, *y.shape)
        products += 2 * len(v)
        image = (jacobian.forward(v) + jacobian.transposed(v)) / 2
        return image.reshape(len(v), -1).T.numpy().reshape(X.shape).astype(X.dtype)

    start = np.random.default_rng(0).standard_normal((y.numel(), k)).astype(np.float32)
    found = basis = None

    def theirs():
        nonlocal found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where it stops at `maxiter`: the residual below says so too
            found = lobpcg(symmetric, start, largest=True, tol=tol, maxiter=60)

    def ours():
        nonlocal basis
        basis = gahb.adaptive_basis(network, y, k=k, tol=tol)

    spent = [seconds(theirs), seconds(ours)]
    values, vectors = found
    taken = products
    residual = np.linalg.norm(symmetric(vectors) - vectors * values, axis=0).max()
    difference = np.abs(np.sort(values)[::-1] - basis.eigenvalues[0].numpy()).max()
    print(f"{name}, tol {tol:g}: lobpcg {taken} products, residual {residual:.1e}; ours {int(basis.products[0])}, "
          f"residual {float(basis.residuals.max()):.1e}; λ differ by {difference:.1e}; "
          f"CPU time of lobpcg over ours {spent[0] / spent[1]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["photos", "unet", "dense", "lobpcg"])
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if "photos" in options.what:
        for sigma in (0.1, 0.3):
            compare(f"photos, top 64, σ = {sigma}", gahb.zoo.load("photos"), picture(80, sigma), 64, 30)
    if "lobpcg" in options.what:
        for size, k, sigma in ((40, 16, 0.3), (80, 64, 0.3), (80, 64, 0.1)):
            for tol in (1e-2, 1e-3):
                label = f"photos, top {k} at {size}×{size}, σ = {sigma}"
                against_lobpcg(label, gahb.zoo.load("photos"), picture(size, sigma), k, tol)
    if {"unet", "dense"} & set(options.what):
        network = big(options.steps if "unet" in options.what else 0)
    if "dense" in options.what:
        compare("UNet(64, 3), dense", network, picture(32, 0.3), None, 3)
    if "unet" in options.what:
        compare("UNet(64, 3), top 64, σ = 0.3", network, picture(80, 0.3), 64, 30)


if __name__ == "__main__":
    main()
