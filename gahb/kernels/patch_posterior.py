r"""Posteriors of patches: each pixel from the patch about it, against all patches of a set of images.

A *query* is a noisy patch q, a *row* a clean patch x, both of D values. The
weight of a row is $e^{s/\sigma^2}$ with the score
$s = \langle q, x\rangle - \|x\|^2/2$, up to what is common to all rows. Scores
come from matrix products of a block of queries with a tile of rows that fits
in the cache, and are summed while they are there; nothing of the size
queries × rows is ever held.

Where the noise is small, most rows have no weight: `patch_leaves` leaves out
those of which that is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .patch_leaves import Leaves

BLOCK, TILE = 256, 1024  # queries and rows whose scores fill a cache
BATCH = 1 << 15  # rows that are read at a time
WORTH = 1 << 15  # rows from which on leaves are worth their while
RESOLVED = 2e-2  # scores are taken in float32 if their rounding, over σ², is less
EXACT = 1e-12  # tolerance in float64


class PatchPosterior:
    """Of images (N, C, H, W), float32 or float64; y (B, C, H, W) is float64, and σ² (B,).

    `border`, `equivariant` and `tolerance` as in :class:`gahb.PatchEmpirical`.
    `exact` answers are computed in float64.
    """

    name = "patch posterior"

    def __init__(self, images: Tensor, border: str, equivariant: bool, tolerance: float):
        self.images, self.border, self.equivariant, self.tolerance = images, border, equivariant, tolerance
        self._banks: dict[int, list[tuple[Tensor, _Bank]]] = {}

    def to(self, device) -> PatchPosterior:
        return PatchPosterior(self.images.to(device), self.border, self.equivariant, self.tolerance)

    def mean(self, y: Tensor, variance: Tensor, patch: int, *, exact: bool) -> Tensor:
        """Posterior mean of each pixel (B, C, H, W)."""
        return self._average(y, variance, patch, _centres, exact).reshape(y.shape)

    def patches(self, y: Tensor, variance: Tensor, patch: int, *, exact: bool) -> Tensor:
        """Posterior mean of the patch about each pixel (B, C · patch², HW), what lies outside the image included."""
        return self._average(y, variance, patch, _rows, exact)

    def filters(self, y: Tensor, variance: Tensor, patch: int) -> Tensor:
        r"""$\mathrm{Cov}[x_i, x_\Omega]/\sigma^2$ (B, C, C · patch², HW): how pixel i follows the patch about it."""
        channels = y.shape[1]
        moments = self._average(y, variance, patch, _products, True)
        d = channels * patch**2
        first, second = moments[:, :d], moments[:, d:].unflatten(1, (channels, d))
        middle = first.unflatten(1, (channels, -1))[:, :, patch**2 // 2]  # (B, C, HW)
        return (second - middle[:, :, None] * first[:, None]) / variance[:, None, None, None]

    def _average(self, y: Tensor, variance: Tensor, patch: int, features: Callable, exact: bool) -> Tensor:
        """Posterior means of features of a row (B, features, HW)."""
        queries = cut(extended(y, patch, self.border), patch)  # (B, HW, D)
        out = None
        for pixels, bank in self._groups(patch):
            spread = variance.repeat_interleave(len(pixels))
            means = bank.average(queries[:, pixels].flatten(0, 1), spread, features, exact)
            if out is None:
                out = means.new_empty(len(y), means.shape[1], queries.shape[1])
            out[:, :, pixels] = means.unflatten(0, (len(y), len(pixels))).transpose(1, 2)
        return out

    def _groups(self, patch: int) -> list[tuple[Tensor, _Bank]]:
        """Pixels, and the rows that they are compared with: those about the same pixels."""
        if patch not in self._banks:
            pixels = torch.arange(self.images[0, 0].numel(), device=self.images.device)
            kinds = pixels if not self.equivariant else self._kinds(patch).to(pixels)
            padded = extended(self.images, patch, self.border)
            centre = float(self.images.mean(dtype=torch.float64))
            alike = [pixels[kinds == kind] for kind in kinds.unique()]
            self._banks[patch] = [(some, _Bank(padded, patch, some, centre, self.tolerance)) for some in alike]
        return self._banks[patch]

    def _kinds(self, patch: int) -> Tensor:
        """A number for each pixel (HW,), the same where the border cuts the patch off in the same way."""
        height, width = self.images.shape[2:]
        if self.border != "exact":
            return torch.zeros(height * width)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        before = torch.stack([rows, columns]).clamp(max=patch // 2)
        after = torch.stack([height - 1 - rows, width - 1 - columns]).clamp(max=patch // 2)
        return torch.cat([before, after]).flatten(1).unique(dim=1, return_inverse=True)[1]


def extended(images: Tensor, patch: int, border: str) -> Tensor:
    """Images with a border of patch // 2 pixels, periodic or zero."""
    return F.pad(images, [patch // 2] * 4, mode="circular" if border == "circular" else "constant")


def cut(padded: Tensor, patch: int) -> Tensor:
    """All patches of padded images (B, C, H + patch - 1, …): (B, HW, C · patch²)."""
    windows = padded.unfold(2, patch, 1).unfold(3, patch, 1)  # (B, C, H, W, patch, patch)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _centres(rows: Tensor, channels: int) -> Tensor:
    """1 and the middle pixels of rows (n, D), of C channels: (1 + C, n)."""
    each = rows.shape[1] // channels
    return torch.cat([rows.new_ones(1, len(rows)), rows.T[each // 2 :: each]])


def _rows(rows: Tensor, channels: int) -> Tensor:
    return torch.cat([rows.new_ones(1, len(rows)), rows.T])


def _products(rows: Tensor, channels: int) -> Tensor:
    middle = _centres(rows, channels)[1:]
    return torch.cat([_rows(rows, channels), (middle[:, None] * rows.T).flatten(0, 1)])


class _Bank:
    """The patches of `padded` images about `pixels`."""

    def __init__(self, padded: Tensor, patch: int, pixels: Tensor, centre: float, tolerance: float):
        self.windows = padded.unfold(2, patch, 1).unfold(3, patch, 1)
        self.count, self.channels, _, self.width = self.windows.shape[:4]
        self.places = (pixels // self.width).to(padded.device), (pixels % self.width).to(padded.device)
        self.here, self.centre, self.tolerance = len(pixels), centre, tolerance
        self.d = self.channels * patch**2
        self.size = self.count * self.here
        self._leaves: Leaves | None = None

    def rows(self, index: Tensor) -> Tensor:
        """Rows (n, D) by number; number k is pixel k mod `here` of image k // `here`."""
        image, place = index // self.here, index % self.here
        return self.windows[image, :, self.places[0][place], self.places[1][place]].flatten(1)

    def block(self, start: int, stop: int) -> Tensor:
        """All rows of images start … stop - 1."""
        if self.here == 1:
            i, j = (int(place) for place in self.places)
            return self.windows[start:stop, :, i, j].flatten(1)
        every = self.windows[start:stop].permute(0, 2, 3, 1, 4, 5)
        if self.here == every.shape[1] * every.shape[2]:
            return every.flatten(3).flatten(0, 2)
        return every[:, self.places[0], self.places[1]].flatten(2).flatten(0, 1)

    def leaves(self) -> Leaves:
        if self._leaves is None:
            self._leaves = Leaves.of(self)
        return self._leaves

    def average(self, queries: Tensor, variance: Tensor, features: Callable, exact: bool) -> Tensor:
        """Posterior means of `features` (Q, …) at queries (Q, D) float64."""
        tolerance = min(self.tolerance, EXACT) if exact else self.tolerance
        pruned = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
        numbers, means = [], []
        if tolerance > 0 and self.size >= WORTH:
            # where patches at a third of their mean distance keep weight, bounds cost more than they save
            pruned = 2 * variance * -math.log(tolerance) < self.leaves().spread / 10
            chosen = pruned.nonzero()[:, 0]
            near = self.leaves().near(queries[chosen], variance[chosen], tolerance, block=BLOCK, batch=BATCH)
            for part, least, rows in near:
                numbers.append(chosen[part])
                q = queries[numbers[-1]]
                means.append(self._mean(q, variance[numbers[-1]], rows, features, exact, q.mean(0), least))
        rest = (~pruned).nonzero()[:, 0]
        for some in rest.split(16 * BLOCK) if len(rest) else ():
            numbers.append(some)
            shift = queries.new_full((self.d,), self.centre)
            means.append(self._mean(queries[some], variance[some], self._all(), features, exact, shift))
        return torch.cat(means)[torch.cat(numbers).argsort()]

    def _all(self) -> Iterator[Tensor]:
        step = max(1, BATCH // self.here)
        for start in range(0, self.count, step):
            yield self.block(start, start + step)

    def _mean(self, queries, variance, rows: Iterator[Tensor], features, exact, shift, least=None) -> Tensor:
        """Over batches of `rows`, with all patches less `shift`; `least` (Q,) bounds the log of the whole weight."""
        if least is not None:  # scores change with what is subtracted
            least = least - (queries @ shift - 0.5 * shift.square().sum()) / variance
        blocks = [
            _Sums(queries[part] - shift, variance[part], None if least is None else least[part])
            for part in torch.arange(len(queries), device=queries.device).split(BLOCK)
        ]
        height = TILE * max(1, BLOCK // len(queries))
        for batch in rows:
            for raw in batch.split(height):
                tiles: dict[torch.dtype, tuple[Tensor, Tensor]] = {}
                small = raw.float() - shift.float()
                longest = float(torch.linalg.vector_norm(small, dim=1).max())
                for block in blocks:
                    kind = torch.float64 if exact or not block.resolved(longest) else torch.float32
                    if kind not in tiles:
                        x = small if kind == torch.float32 else raw.double() - shift
                        tiles[kind] = _scored(x), features(x, self.channels)
                    block.add(*tiles[kind])
        means = torch.cat([block.result() for block in blocks])  # (Q, features)
        return _moved_back(means, shift, self.channels, features)


def _moved_back(means: Tensor, shift: Tensor, channels: int, features: Callable) -> Tensor:
    """Means of features of rows, from those of rows less `shift`."""
    if features is not _products:
        return means + features(shift[None], channels)[1:, 0]
    d = len(shift)
    first, second = means[:, :d], means[:, d:].unflatten(1, (channels, d))
    at = _centres(shift[None], channels)[1:, 0]  # (C,)
    middle = first.unflatten(1, (channels, -1))[:, :, d // channels // 2]
    second = second + at[:, None] * first[:, None] + (middle + at)[:, :, None] * shift
    return torch.cat([first + shift, second.flatten(1)], dim=1)


def _scored(x: Tensor) -> Tensor:
    """Rows with what makes a score of a product: x, -|x|²/2, 1.  (n, D + 2)"""
    half = -0.5 * x.square().sum(1, keepdim=True)
    return torch.cat([x, half, torch.ones_like(half)], dim=1)


class _Sums:
    """Weighted sums for a block of queries, weights over $e^{top}$."""

    def __init__(self, queries: Tensor, variance: Tensor, top: Tensor | None):
        self.queries = torch.cat([queries / variance[:, None], 1 / variance[:, None]], dim=1)
        self.longest, self.least = float(torch.linalg.vector_norm(queries, dim=1).max()), float(variance.min())
        self.d, self.top, self.sums = queries.shape[1], top, None
        self._ready: dict[torch.dtype, Tensor] = {}

    def resolved(self, size: float) -> bool:
        """Whether float32 resolves the weights of rows not longer than `size` (compare `posterior`)."""
        return math.sqrt(self.d) * 2.0**-24 * size * (self.longest + size) / self.least < RESOLVED

    def add(self, scored: Tensor, features: Tensor) -> None:
        """Rows (n, D + 2) and their features (F, n)."""
        if self.top is None:  # weights are over that of the heaviest of the first rows, until one overflows
            self._raise(scored)
        sums = self._weighed(scored, features)
        if not bool(torch.isfinite(sums).all()):
            self._raise(scored)
            sums = self._weighed(scored, features)
        self.sums = sums if self.sums is None else self.sums + sums

    def _weighed(self, scored: Tensor, features: Tensor) -> Tensor:
        weights = torch.mm(scored, self._query(scored.dtype))  # (n, Q)
        weights.clamp_(min=-80).exp_()  # subnormal numbers are slow
        return torch.mm(features, weights).double()  # (F, Q)

    def _query(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._ready:
            self._ready[dtype] = torch.cat([self.queries, -self.top[:, None]], dim=1).T.to(dtype).contiguous()
        return self._ready[dtype]

    def _raise(self, scored: Tensor) -> None:
        """Weights over that of the heaviest of these rows, if it is heavier."""
        logits = torch.mm(scored[:, :-1].double(), self.queries.T)
        best = logits.amax(dim=0)
        if self.top is not None:
            best = torch.maximum(best, self.top)
            if self.sums is not None:
                self.sums = self.sums * torch.exp(self.top - best)
        self.top, self._ready = best, {}

    def result(self) -> Tensor:
        """Weighted means of all features but the first, which is 1: (Q, features)."""
        return (self.sums[1:] / self.sums[0]).T
