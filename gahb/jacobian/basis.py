r"""The basis in which a denoiser shrinks: eigenvectors of its Jacobian at y.

With $J = \nabla f(y)$, a bias-free network is $f(y) = J y$, and where J is
symmetric

$$f(y) = \sum_k \lambda_k \langle y, e_k\rangle\, e_k$$

(section 3.1 of the paper). The Jacobian of $f^\star$ is symmetric; a
network's is only nearly so. The basis is that of the symmetric part
$S = (J + J^\top)/2$, and how far J is from it is reported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from .._points import as_block, as_columns, batches, sigma_of, unit_vectors
from .._validate import check_points, positive_int, positive_number
from .operator import Jacobian


@dataclass(frozen=True)
class AdaptiveBasis:
    r"""Eigenvectors of $S = (J + J^\top)/2$ at each of B points, by descending eigenvalue."""

    eigenvalues: Tensor  #: (B, k) λ, descending
    eigenvectors: Tensor  #: (B, k, …) orthonormal, each shaped like a point of y
    residuals: Tensor  #: (B, k) $\|S e_k - \lambda_k e_k\|$
    asymmetry: Tensor  #: (B,) $\|J - J^\top\| / \|J + J^\top\|$, Frobenius; by random probes when k is given
    products: Tensor  #: (B,) products with J and with its transpose that the basis took

    @property
    def negative(self) -> Tensor:
        r"""Share of the spectrum below zero, $(\sum_{\lambda_k<0} \lambda_k^2 / \sum_k \lambda_k^2)^{1/2}$ (B,)."""
        return self.eigenvalues.clamp(max=0).norm(dim=1) / self.eigenvalues.norm(dim=1)


def adaptive_basis(
    denoiser, y: Tensor, sigma=None, *, k: int | None = None, tol: float = 1e-3, block: int = 8, seed: int = 0
) -> AdaptiveBasis:
    r"""Adaptive basis of `denoiser` at points y, in the dtype and on the device of y.

    With `k=None` the Jacobian is written down (d products) and all of its
    symmetric part diagonalised. With k, the top k pairs come from block
    Lanczos with thick restarts (Golub & Underwood 1977; Wu & Simon 2000),
    which needs only products: J and its transpose on `block` vectors a step,
    until every residual is at most `tol`.

    Parameters
    ----------
    y : points (B, …), finite; `sigma` as the denoiser takes it.
    k : eigenpairs, 1 ≤ k ≤ d.
    tol : largest residual allowed, in the units of λ (only where k is given).
    block : vectors multiplied at a time. An eigenvalue that occurs more often
        than that may have copies missing.
    seed : of the first block.

    Raises
    ------
    ValueError
        for a network in training mode, y that is not finite, k outside 1 … d.
    MemoryError
        if a dense basis does not fit: how much it needs, and the way round.
    ArithmeticError
        if `tol` is not met by the time that a dense basis would have cost
        less (d products, or 2048): what was reached.
    """
    check_points("y", y)
    d = y[0].numel() if len(y) else 0
    if d == 0:
        raise ValueError(f"y must have at least one point and one value, got shape {tuple(y.shape)}")
    if k is not None and positive_int("k", k) > d:
        raise ValueError(f"k must be at most d = {d}, the number of values of a point, got {k}")
    positive_number("tol", tol), positive_int("block", block)
    if k is None:
        _check_memory(y)
        parts = [_dense(Jacobian(denoiser, y[part], level)) for part, level in batches(len(y), sigma, 1)]
    else:
        parts = [
            _lanczos(denoiser, y[part], level, k, tol, min(block, d), seed)
            for part, level in batches(len(y), sigma, max(1, 64 // block))
        ]
    values, vectors, residuals, asymmetry, products = (torch.cat(column) for column in zip(*parts))
    return AdaptiveBasis(values, vectors.mT.reshape(len(y), -1, *y.shape[1:]), residuals, asymmetry, products)


def _dense(jacobian: Jacobian) -> tuple[Tensor, ...]:
    """Of one point."""
    y = jacobian.y
    d, block = y.numel(), 256
    J = y.new_empty(1, d, d)
    for start in range(0, d, block):
        unit = unit_vectors(y, torch.arange(start, min(start + block, d)))
        J[:, :, start : start + block] = as_columns(jacobian.forward(unit))
    S = (J + J.mT) / 2
    asymmetry = _ratio((J - J.mT) / 2, S)
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(S))
    return values, vectors, _residuals(S @ vectors, values, vectors), asymmetry, torch.full((1,), d)


def _lanczos(denoiser, y: Tensor, sigma, k: int, tol: float, block: int, seed: int) -> tuple[Tensor, ...]:
    """Rayleigh–Ritz in the span of V, which grows by a block a step, with W = S V kept beside it.

    The residuals are therefore those of S, whatever rounding did to the
    recurrence. A restart keeps the best part of the span. Points leave when
    they are done.
    """
    d, room = y[0].numel(), max(4 * k, k + 8 * block, 256)
    generator = torch.Generator().manual_seed(seed)
    jacobian, live = Jacobian(denoiser, y, sigma), list(range(len(y)))
    X = torch.linalg.qr(_normal(y, block, generator)).Q
    V = W = X[:, :, :0]
    before = y.new_full((len(y), k), torch.nan)
    asymmetry, count, done = None, 0, [None] * len(y)
    while True:
        v = as_block(X, jacobian.y)
        right, left = as_columns(jacobian.forward(v)), as_columns(jacobian.transposed(v))
        SX, count = (right + left) / 2, count + X.shape[2]
        if asymmetry is None:
            asymmetry = _ratio((right - left) / 2, SX)
        V, W = torch.cat([V, X], dim=2), torch.cat([W, SX], dim=2)
        X, dry = _next_block(V, SX, min(block, d - V.shape[2]), generator)
        if V.shape[2] < min(k + block, d):
            continue
        T = V.mT @ W
        values, U = (part.flip(-1) for part in torch.linalg.eigh((T + T.mT) / 2))
        values, top = values[:, :k], V @ U[:, :, :k]
        residuals = _residuals(W @ U[:, :, :k], values, top)
        # a dry block says that the span is invariant, not that all copies of an eigenvalue are in it:
        # wait until random directions have been added and change nothing
        small = (residuals <= tol).all(dim=1)
        settled = ((values - before).abs() <= tol).all(dim=1) | (~dry & before.isnan().all(dim=1)) | (V.shape[2] == d)
        before = torch.where((small & ~settled)[:, None], values, before)
        ready = small & settled
        for i in ready.nonzero().flatten().tolist():
            found = (a[i : i + 1] for a in (values, top, residuals, asymmetry))
            done[live[i]] = (*found, torch.tensor([2 * count]))
        if bool(ready.all()):
            return tuple(torch.cat(column) for column in zip(*done))
        if count >= max(d // 2, 1024) or V.shape[2] == d:
            raise ArithmeticError(
                f"the top k = {k} eigenpairs were not found to tol = {tol:.3g} with {2 * count} products: the largest "
                f"residual is {float(residuals.max()):.3g}, λ_k about {float(values[:, -1].max()):.3g}; ask for fewer, "
                f"for a larger tol, or for the dense basis (k=None), which takes {d} products"
            )
        if V.shape[2] + block > room:
            V, W = (A @ U[:, :, : (k + room) // 2] for A in (V, W))
        if bool(ready.any()):
            V, W, X, before, asymmetry = (a[~ready] for a in (V, W, X, before, asymmetry))
            live = [i for i, gone in zip(live, ready.tolist()) if not gone]
            jacobian = Jacobian(denoiser, y[live], sigma_of(sigma, live))


def _next_block(V: Tensor, SX: Tensor, columns: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Orthonormal directions of SX outside the span of V, (B, d, columns), and whether there were fewer (B,)."""
    scale = SX.norm(dim=1).amax(dim=1).clamp(min=torch.finfo(V.dtype).tiny ** 0.5)
    noise = torch.finfo(V.dtype).eps ** 0.75 * scale  # above rounding: fills what has run dry
    random = torch.nn.functional.normalize(_normal(V[:, :, 0], columns, generator), dim=1)
    X = SX[:, :, :columns]
    X = X - V @ (V.mT @ X) + noise[:, None, None] * random
    X = X - V @ (V.mT @ X)
    X, R = torch.linalg.qr(X)
    dry = (R.diagonal(dim1=1, dim2=2).abs() < 10 * noise[:, None]).any(dim=1)
    return torch.linalg.qr(X - V @ (V.mT @ X)).Q, dry


def _normal(y: Tensor, columns: int, generator: torch.Generator) -> Tensor:
    """The same random directions for every point, (B, d, columns)."""
    return torch.randn(y[0].numel(), columns, generator=generator, dtype=y.dtype).to(y).expand(len(y), -1, -1)


def _residuals(images: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    return (images - vectors * values[:, None]).norm(dim=1)


def _ratio(odd: Tensor, even: Tensor) -> Tensor:
    """|odd| / |even| of matrices (B, d, K), Frobenius."""
    return odd.norm(dim=(1, 2)) / even.norm(dim=(1, 2)).clamp(min=torch.finfo(odd.dtype).tiny)


def _check_memory(y: Tensor) -> None:
    """A dense basis holds J, S, its eigenvectors and work space, and returns d² values a point."""
    d = y[0].numel()
    needed, there = (5 + len(y)) * d**2 * y.element_size(), _memory(y.device)
    if needed > there:
        raise MemoryError(
            f"a dense basis of {len(y)} points with d = {d} takes {needed / 1e9:.3g} GB, and this machine has "
            f"{there / 1e9:.3g} GB: give k, say k=64, or fewer points"
        )


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else float("inf")


def beyond(basis: AdaptiveBasis, directions: Tensor) -> AdaptiveBasis:
    r"""What S does apart from `directions`: eigenvectors of $(\mathrm{Id}-P)\,S\,(\mathrm{Id}-P)$ by falling λ.

    P is the orthogonal projection on the span of the directions (B, K, …) at
    each point. The K zero eigenvalues of that span are left out, so that there
    are d − K vectors; `asymmetry` and `products` are those of S.

    ValueError unless `basis` has all d vectors.
    """
    B, k = basis.eigenvalues.shape
    shape, d = basis.eigenvectors.shape[2:], basis.eigenvectors[0, 0].numel()
    if k != d:
        raise ValueError(f"basis must have all d = {d} vectors, got k = {k}: ask for it with k=None")
    if directions.shape[:1] != (B,) or directions.shape[2:] != shape:
        raise ValueError(f"directions must be ({B}, K, {', '.join(map(str, shape))}), got {tuple(directions.shape)}")
    E, K = basis.eigenvectors.flatten(2), directions.shape[1]  # (B, d, d), a row a vector
    rest = torch.linalg.qr(directions.flatten(2).mT.to(E), mode="complete").Q[:, :, K:]  # (B, d, d - K)
    inside = E @ rest
    S = inside.mT @ (basis.eigenvalues[:, :, None] * inside)
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(S))
    residuals = _residuals(S @ vectors, values, vectors)
    vectors = (rest @ vectors).mT.reshape(B, d - K, *shape)
    return AdaptiveBasis(values, vectors, residuals, basis.asymmetry, basis.products)
