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
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._points import as_block, as_columns, batches, sigma_of
from .._text import plus_minus
from .._validate import check_points, positive_int, positive_number
from ..contract import Denoiser
from .operator import Jacobian


@dataclass(frozen=True, repr=False)
class AdaptiveBasis:
    r"""Eigenvectors of $S = (J + J^\top)/2$ at each of B points, by descending eigenvalue.

    From :func:`gahb.adaptive_basis`.

    >>> import gahb, torch
    >>> basis = gahb.adaptive_basis(gahb.BFCNN(4, 3).eval(), torch.rand(2, 1, 4, 4))
    >>> basis.eigenvalues.shape, basis.eigenvectors.shape
    (torch.Size([2, 16]), torch.Size([2, 16, 1, 4, 4]))
    >>> gahb.adaptive_basis(gahb.Gaussian(torch.zeros(2), torch.eye(2)), torch.zeros(1, 2), 1.0)
    <AdaptiveBasis at 1 point: 2 eigenvectors (2,), λ from 0.5 to 0.5, residuals ≤ 0, asymmetry 0>
    """

    eigenvalues: Tensor  #: (B, k) λ, descending
    eigenvectors: Tensor  #: (B, k, …) orthonormal, each shaped like a point of y
    residuals: Tensor  #: (B, k) $\|S e_k - \lambda_k e_k\|$
    asymmetry: Tensor  #: (B,) $\|J - J^\top\| / \|J + J^\top\|$, Frobenius; by random probes when k is given
    products: Tensor  #: (B,) products with J and with its transpose that the basis took

    @classmethod
    def of(cls, matrices: Tensor, shape: Sequence[int]) -> AdaptiveBasis:
        """The basis of Jacobians that are written down (B, d, d), at points of `shape`; no products are counted.

        >>> import gahb, torch
        >>> from gahb.jacobian import AdaptiveBasis
        >>> AdaptiveBasis.of(torch.diag(torch.tensor([1.0, 0.0, 0.5, 0.2]))[None], (1, 2, 2)).eigenvalues
        tensor([[1.0000, 0.5000, 0.2000, 0.0000]])
        """
        values, vectors, residuals, asymmetry = _diagonalised(matrices)
        vectors = vectors.mT.reshape(*values.shape, *shape)
        return cls(values, vectors, residuals, asymmetry, torch.zeros(len(matrices), dtype=torch.long))

    @property
    def negative(self) -> Tensor:
        r"""Share of the spectrum below zero, $(\sum_{\lambda_k<0} \lambda_k^2 / \sum_k \lambda_k^2)^{1/2}$ (B,)."""
        return self.eigenvalues.clamp(max=0).norm(dim=1) / self.eigenvalues.norm(dim=1)

    def __repr__(self) -> str:
        n, k = self.eigenvalues.shape
        said = f"{n:,} point{'s' * (n != 1)}: {k:,} eigenvectors {tuple(self.eigenvectors.shape[2:])}"
        if self.eigenvalues.numel():
            low, high = self.eigenvalues.aminmax()
            said += (f", λ from {plus_minus(high, None)} to {plus_minus(low, None)}, residuals ≤ "
                     f"{self.residuals.max():.1g}, asymmetry {self.asymmetry.mean():.2g}")
        return f"<AdaptiveBasis at {said}>"


def adaptive_basis(
    denoiser: Denoiser,
    y: Tensor,
    sigma: float | Tensor | None = None,
    *,
    k: int | None = None,
    tol: float = 1e-3,
    block: int = 8,
    seed: int = 0,
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

    Examples
    --------
    The optimal denoiser of a Gaussian has the basis of its covariance, with
    $\lambda = c/(c + \sigma^2)$:

    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(3), torch.diag(torch.tensor([1.0, 4.0, 9.0])))
    >>> basis = gahb.adaptive_basis(f, torch.zeros(1, 3), sigma=1.0)
    >>> basis.eigenvalues
    tensor([[0.9000, 0.8000, 0.5000]])
    >>> basis.eigenvectors[0, 0].abs()
    tensor([0., 0., 1.])

    The first 5 of the 256 vectors of a network at a picture:

    >>> network = gahb.BFCNN(4, 3).eval()
    >>> basis = gahb.adaptive_basis(network, gahb.images.disks(1, 16), k=5)
    >>> basis.eigenvectors.shape, bool((basis.residuals < 1e-3).all())
    (torch.Size([1, 5, 1, 16, 16]), True)
    """
    check_points("y", y)
    d = y[0].numel() if len(y) else 0
    if d == 0:
        raise ValueError(f"y must have at least one point and one value, got shape {tuple(y.shape)}")
    if k is not None and positive_int("k", k) > d:
        raise ValueError(f"k must be at most d = {d}, the number of values of a point, got {k}")
    positive_number("tol", tol)
    positive_int("block", block)
    if k is None:
        _check_memory(y)
        d_products = torch.full((1,), d)
        parts = [(*_diagonalised(Jacobian(denoiser, y[part], level).matrix()), d_products)
                 for part, level in batches(len(y), sigma, 1)]
    else:
        parts = [
            _lanczos(denoiser, y[part], level, k, tol, min(block, d), seed)
            for part, level in batches(len(y), sigma, max(1, 64 // block))
        ]
    values, vectors, residuals, asymmetry, products = (torch.cat(column) for column in zip(*parts))
    return AdaptiveBasis(values, vectors.mT.reshape(len(y), -1, *y.shape[1:]), residuals, asymmetry, products)


def _diagonalised(J: Tensor) -> tuple[Tensor, ...]:
    """Values, vectors, residuals and asymmetry of matrices (B, d, d)."""
    S = (J + J.mT) / 2
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(S))
    return values, vectors, _residuals(S @ vectors, values, vectors), _ratio((J - J.mT) / 2, S)


def _lanczos(denoiser, y: Tensor, sigma, k: int, tol: float, block: int, seed: int) -> tuple[Tensor, ...]:
    """The top k pairs at each point: grow the span, look at its best vectors, stop where they are good enough."""
    d, room = y[0].numel(), max(4 * k, k + 8 * block, 256)
    span = _Span(Jacobian(denoiser, y, sigma), block, seed)
    points = list(range(len(y)))  # those that are still sought
    earlier = y.new_full((len(y), k), torch.nan)
    found = [None] * len(y)
    while True:
        span.grow()
        if span.size < min(k + block, d):
            continue
        pairs = span.best(k)
        accurate = (pairs.residuals <= tol).all(dim=1)
        settled = _settled(pairs.values, earlier, span, tol)
        done = accurate & settled
        earlier = torch.where((accurate & ~settled)[:, None], pairs.values, earlier)
        for i in done.nonzero().flatten().tolist():
            columns = pairs.values, pairs.vectors, pairs.residuals, span.asymmetry
            found[points[i]] = (*(column[i : i + 1] for column in columns), torch.tensor([span.products]))
        if bool(done.all()):
            return tuple(torch.cat(column) for column in zip(*found))
        if span.size == d or span.products >= max(d, 2048):
            raise ArithmeticError(
                f"the top k = {k} eigenpairs were not found to tol = {tol:.3g} with {span.products} products: the "
                f"largest residual is {float(pairs.residuals.max()):.3g}, λ_k about "
                f"{float(pairs.values[:, -1].max()):.3g}; ask for fewer, for a larger tol, or for the dense basis "
                f"(k=None), which takes {d} products"
            )
        if span.size + block > room:
            span.keep_best(pairs, (k + room) // 2)
        if bool(done.any()):
            points = [point for point, gone in zip(points, done.tolist()) if not gone]
            span.keep_points(~done, Jacobian(denoiser, y[points], sigma_of(sigma, points)))
            earlier = earlier[~done]


def _settled(values: Tensor, earlier: Tensor, span: _Span, tol: float) -> Tensor:
    """Whether accurate eigenvalues are the top ones (B,), with no copy of a multiple one missing.

    A block that runs dry says that the span is invariant, not that it holds all
    copies of an eigenvalue. Random directions then fill the block: wait until
    these have been in the span, and the eigenvalues are those found `earlier`,
    when they were accurate for the first time (NaN before that).
    """
    if span.size == span.d:
        return torch.ones_like(span.dry)
    first_time = earlier.isnan().all(dim=1)
    unchanged = ((values - earlier).abs() <= tol).all(dim=1)
    return torch.where(first_time, ~span.dry, unchanged)


@dataclass(frozen=True)
class _Pairs:
    """The best approximate eigenpairs in a span."""

    values: Tensor  #: (B, k)
    vectors: Tensor  #: (B, d, k)
    residuals: Tensor  #: (B, k)
    rotation: Tensor  #: (B, size, size) from the span's basis to all its Ritz vectors, best first


class _Span:
    """What block Lanczos searches at each point: V (B, d, size), orthonormal, and W = S V.

    W is kept, not recovered from a recurrence, so that the residuals are those
    of S whatever rounding did.
    """

    def __init__(self, jacobian: Jacobian, block: int, seed: int):
        y = jacobian.y
        self.jacobian, self.block, self.d = jacobian, block, y[0].numel()
        self.generator = torch.Generator().manual_seed(seed)
        self.next = torch.linalg.qr(_normal(y, block, self.generator)).Q
        self.V = self.W = self.next[:, :, :0]
        self.dry = torch.zeros(len(y), dtype=torch.bool, device=y.device)  # whether `next` had to be filled at random
        self.asymmetry, self.products = None, 0

    @property
    def size(self) -> int:
        return self.V.shape[2]

    def grow(self) -> None:
        """Take the next block in, and make the one after it of its image."""
        v = as_block(self.next, self.jacobian.y)
        right, left = as_columns(self.jacobian.forward(v)), as_columns(self.jacobian.transposed(v))
        image = (right + left) / 2
        self.products += 2 * self.next.shape[2]
        if self.asymmetry is None:
            self.asymmetry = _ratio((right - left) / 2, image)
        self.V, self.W = torch.cat([self.V, self.next], dim=2), torch.cat([self.W, image], dim=2)
        columns = min(self.block, self.d - self.size)
        self.next, self.dry = _next_block(self.V, image, columns, self.generator)

    def best(self, k: int) -> _Pairs:
        """Rayleigh–Ritz: eigenpairs of V' S V, carried back."""
        T = self.V.mT @ self.W
        values, rotation = (part.flip(-1) for part in torch.linalg.eigh((T + T.mT) / 2))
        values, vectors = values[:, :k], self.V @ rotation[:, :, :k]
        return _Pairs(values, vectors, _residuals(self.W @ rotation[:, :, :k], values, vectors), rotation)

    def keep_best(self, pairs: _Pairs, count: int) -> None:
        """A thick restart: the best `count` Ritz vectors in place of the span."""
        self.V, self.W = (A @ pairs.rotation[:, :, :count] for A in (self.V, self.W))

    def keep_points(self, which: Tensor, jacobian: Jacobian) -> None:
        """The other points leave; `jacobian` is that of those that stay."""
        self.jacobian = jacobian
        self.V, self.W, self.next, self.asymmetry = (a[which] for a in (self.V, self.W, self.next, self.asymmetry))


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


def deflated_basis(basis: AdaptiveBasis, directions: Tensor) -> AdaptiveBasis:
    r"""Eigenvectors of S orthogonal to `directions`: those of $(\mathrm{Id}-P)\,S\,(\mathrm{Id}-P)$, by falling λ.

    P is the orthogonal projection on the span of the directions (B, K, …) at
    each point. The K zero eigenvalues of that span are left out, so that there
    are d − K vectors; `asymmetry` and `products` are those of S.

    ValueError unless `basis` has all d vectors.

    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(3), torch.diag(torch.tensor([1.0, 4.0, 9.0])))
    >>> basis = gahb.adaptive_basis(f, torch.zeros(1, 3), sigma=1.0)
    >>> gahb.jacobian.deflated_basis(basis, torch.tensor([[[0.0, 0.0, 1.0]]])).eigenvalues
    tensor([[0.8000, 0.5000]])
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
