r"""Leaving out patches that have no weight, by bounds that are proved: a tree of the rows of `patch_posterior`.

Rows are put in order of a tree of median splits along their
principal axes, in leaves of `LEAF` rows. The score is a sum over principal
axes. Along each of the first `LEAD` the rows of a leaf lie in an interval, and

$$q_k x_k - x_k^2/2 \le q_k^2/2 - \mathrm{dist}(q_k, \text{interval})^2/2 .$$

On the other axes let c be the mean of the leaf, $u = x - c$, and τ > 0 a width
for each axis. By Cauchy and Schwarz

$$s(x) = s(c) + \langle q - c, u\rangle - \|u\|^2/2 \le s(c) + \|\tau(q - c)\|\, R,
  \qquad R = \max_u \|u/\tau\| .$$

There also $s(x) \le \|q\|^2/2 - (\|q - c\| - r)_+^2/2$ with $r = \max_u \|u\|$; the lower of the two is
taken. So the weight of a leaf is bounded from above. The whole weight is
bounded from below by that of the leaf that seems nearest. Leaves are left out
whose bounds add up to at most `tolerance` of the whole. An answer is a mean of
pixels, so that it moves by no more than `tolerance` times the range of the
pixels. What float32 may do to the bounds is added to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

LEAF = 128  # rows of a leaf
CHUNK = 1 << 18  # rows that are ordered together, and numbers of a bound
STEP = 1 << 12  # leaves that are bounded at a time
LEAD = 6  # principal axes that have intervals


class Rows(Protocol):
    """Patches of D values by number."""

    size: int
    d: int
    windows: Tensor  # on the device of the rows

    def rows(self, index: Tensor) -> Tensor:
        """(n, D)."""


@dataclass
class Leaves:
    """The rows of a bank in leaves (K, LEAF), and what bounds their weights; vectors in principal coordinates."""

    bank: Rows
    index: Tensor  # (K, LEAF) numbers of rows, -1 where a leaf has fewer
    count: Tensor  # (K,)
    centre: Tensor  # (D,) of all rows
    basis: Tensor  # (D, D) principal axes, as columns
    width: Tensor  # (D - LEAD,) τ
    low: Tensor  # (K, LEAD) intervals
    high: Tensor
    mean: Tensor  # (K, D); c on the other axes
    energy: Tensor  # (K,) mean of |x|²
    reach: Tensor  # (K,) R
    radius: Tensor  # (K,) r
    spread: float  # mean squared distance of rows from their mean

    @classmethod
    def of(cls, bank: Rows) -> Leaves:
        centre, basis, spread = _principal(bank)
        ordered = [_order(bank, start, centre, basis) for start in range(0, bank.size, CHUNK)]
        index = torch.cat(ordered)
        lows, highs, means, energies, inner = [], [], [], [], 0.0
        for x, inside in _of_leaves(bank, index, centre, basis):
            lows.append(x[:, :, :LEAD].where(inside, torch.inf).amin(1))
            highs.append(x[:, :, :LEAD].where(inside, -torch.inf).amax(1))
            means.append((x * inside).sum(1) / inside.sum(1))
            energies.append((x * inside).square().sum((1, 2)) / inside.sum((1, 2)))
            inner = inner + ((x - means[-1][:, None]) * inside).square().sum((0, 1))
        width = (inner / bank.size).sqrt()[LEAD:]
        width = width.clamp(min=1e-3 * float(width.max()) + 1e-30) if len(width) else width
        reach, radius = [], []
        for (x, inside), c in zip(_of_leaves(bank, index, centre, basis), means, strict=True):
            u = (x - c[:, None])[:, :, LEAD:] * inside
            radius.append(1.0001 * torch.linalg.vector_norm(u, dim=2).amax(1))
            reach.append(1.0001 * torch.linalg.vector_norm(u / width, dim=2).amax(1))
        return cls(bank, index, (index >= 0).sum(1), centre, basis, width, torch.cat(lows), torch.cat(highs),
                   torch.cat(means), torch.cat(energies), torch.cat(reach), torch.cat(radius),
                   spread)  # fmt: skip

    def near(self, queries: Tensor, variance: Tensor, tolerance: float, *, block: int, batch: int):
        """Parts of `block` queries: their numbers, a lower bound of the log of their weight, and the rows that matter.

        These come in batches of about `batch`.
        """
        if len(queries) == 0:
            return
        turned = (queries - self.centre) @ self.basis
        best = torch.cat([self._nearest(q) for q in turned.float().split(block)])
        order = best.argsort(stable=True)  # neighbours in the tree look at the same leaves
        order = order[variance[order].argsort(stable=True)]
        for part in order.split(block):
            q, v = queries[part], variance[part]
            least = self._weight(q, v, best[part])
            # scores are about zero there, about the mean of all rows here
            move = (q @ self.centre - 0.5 * self.centre.square().sum()) / v
            kept = self._kept(turned[part], v, least - move, -math.log(tolerance))
            yield part, least, self._batches(kept, batch)

    def _batches(self, kept: Tensor, batch: int) -> Iterator[Tensor]:
        for some in kept.split(batch // LEAF):
            numbers = self.index[some].flatten()
            yield self.bank.rows(numbers[numbers >= 0])

    def _nearest(self, q: Tensor) -> Tensor:
        """The leaf whose mean score is the highest (Q,): where the posterior is, most often."""
        tops = [
            torch.addmm(-0.5 * self.energy[at : at + STEP], q, self.mean[at : at + STEP].T).max(1)
            for at in range(0, len(self.index), STEP)
        ]
        which = torch.stack([top.values for top in tops]).argmax(0)
        return torch.stack([top.indices for top in tops]).gather(0, which[None])[0] + STEP * which

    def _weight(self, q: Tensor, v: Tensor, leaf: Tensor) -> Tensor:
        """log of the weight of one leaf for each query (Q,)."""
        numbers = self.index[leaf]  # (Q, LEAF)
        x = self.bank.rows(numbers.clamp(min=0).flatten()).double().unflatten(0, numbers.shape)
        scores = (x @ q[:, :, None])[:, :, 0] - 0.5 * x.square().sum(2)
        return (scores / v[:, None]).where(numbers >= 0, -torch.inf).logsumexp(1)

    def _kept(self, q: Tensor, v: Tensor, least: Tensor, limit: float) -> Tensor:
        """Leaves that any of the queries needs: for each, those left out weigh at most $e^{-limit}$ of the whole."""
        small, precision = q.float(), v.float()
        least = least - 0.5 * q[:, :LEAD].square().sum(1) / v  # as the bounds
        least = (least - 1e-6 * least.abs()).float()  # rounded down
        bounds = [self._most(slice(at, at + STEP), small, precision) for at in range(0, len(self.index), STEP)]
        most = torch.cat(bounds, dim=1).sub_(least[:, None])  # (Q, K)
        # a low level first, and whether what lies below it is little; if not, one that is sure
        low, sure = -limit - 2, -limit - math.log(len(self.index))
        below = most.clamp(-80, low).exp().where(most < low, 0.0).sum(1)
        level = torch.where(below <= math.exp(-limit), low, sure)
        return (most >= level[:, None]).any(0).nonzero()[:, 0]

    def _most(self, some: slice, q: Tensor, v: Tensor) -> Tensor:
        """log of an upper bound of the weights of leaves (Q, k), less what is common to all of them."""
        first, rest, c = q[:, :LEAD], q[:, LEAD:], self.mean[some, LEAD:]
        # squared distances, and what rounding may do; Higham (2002), section 3.1
        unit = 4 * (self.bank.d + 8) * 2.0**-24
        size, length = c.square().sum(1), rest.square().sum(1, keepdim=True)
        bound = torch.addmm(-0.5 * size, rest, c.T)  # s(c)
        ball = torch.addmm((1 - unit) * size, rest, c.T, alpha=-2).add_((1 - unit) * length).clamp_(min=0).sqrt_()
        ball = ball.sub_(self.radius[some]).clamp_(min=0).square_().neg_().add_(length).mul_(0.5)
        scaled, wide = c * self.width, rest * self.width
        size, length = scaled.square().sum(1), wide.square().sum(1, keepdim=True)
        away = torch.addmm((1 + unit) * size, wide, scaled.T, alpha=-2).add_((1 + unit) * length)
        bound.addcmul_(away.clamp_(min=0).sqrt_(), self.reach[some])
        bound = torch.minimum(bound, ball)
        for k in range(first.shape[1]):
            here, low, high = first[:, k, None], self.low[some, k], self.high[some, k]
            distance = torch.maximum(low - here, here - high).clamp_(min=0)
            bound.addcmul_(distance, distance, value=-0.5 * (1 - unit))
        far = torch.linalg.vector_norm(c, dim=1).max() if c.shape[1] else 0.0
        lengths = [torch.linalg.vector_norm(part, dim=1) for part in (rest, q)]
        rounding = unit * (far * (lengths[0] + far) + lengths[1].square())
        return bound.add_(rounding[:, None]).div_(v[:, None]).add_(self.count[some].float().log())


def _principal(bank: Rows) -> tuple[Tensor, Tensor, float]:
    """Mean, principal axes and total variance of the rows, from at most 2**16 of them."""
    some = torch.linspace(0, bank.size - 1, min(bank.size, 1 << 16), dtype=torch.float64).long()
    x = bank.rows(some.to(bank.windows.device)).double()
    centre = x.mean(0)
    values, basis = torch.linalg.eigh((x - centre).T @ (x - centre) / len(x))
    return centre, basis.flip(1), float(values.sum())


def _order(bank: Rows, start: int, centre: Tensor, basis: Tensor) -> Tensor:
    """Rows start … of a chunk in leaves of a tree of median splits (K, LEAF)."""
    number = min(CHUNK, bank.size - start)
    depth = max(0, math.ceil(math.log2(number / LEAF)))
    index = torch.arange(start, start + number, device=centre.device)
    x = ((bank.rows(index).double() - centre) @ basis[:, :8]).float()
    missing = (LEAF << depth) - number
    index = torch.cat([index, index.new_full((missing,), -1)])
    x = torch.cat([x, x[:1].expand(missing, -1)])
    for level in range(depth):
        nodes = x.view(1 << level, -1, x.shape[1])
        axis = nodes.var(1).argmax(1)  # (nodes,)
        key = nodes.gather(2, axis[:, None, None].expand(-1, nodes.shape[1], 1))[:, :, 0]
        order = key.argsort(1)
        x = nodes.gather(1, order[:, :, None].expand_as(nodes)).flatten(0, 1)
        index = index.view(1 << level, -1).gather(1, order).flatten()
    leaves = index.view(-1, LEAF)
    return leaves[(leaves >= 0).any(1)]


def _of_leaves(bank: Rows, index: Tensor, centre: Tensor, basis: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of leaves in principal coordinates (k, LEAF, D), and where there is one (k, LEAF, 1)."""
    for some in index.split(CHUNK // LEAF):
        x = ((bank.rows(some.clamp(min=0).flatten()).double() - centre) @ basis).float()
        yield x.unflatten(0, some.shape), (some >= 0)[:, :, None]
