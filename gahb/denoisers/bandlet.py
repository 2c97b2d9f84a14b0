r"""Orthogonal bandlets of the second generation: wavelet coefficients, transformed again along a flow.

Near a regular contour the wavelet coefficients of a subband are large, and
regular in the contour's direction. In each dyadic square of a subband the
points are sorted by the line of a flow that they lie on, and along each line;
an orthonormal Alpert basis of the sorted points then needs few coefficients
where the flow follows the contour. (Peyré & Mallat 2008; for denoising Dossal,
Le Pennec & Mallat 2011.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._validate import positive_int, positive_number, sigma_vector
from ..transforms import analyse, flow_bases
from .shrinkage import CycleSpun, check_image_shape


@dataclass(frozen=True)
class Geometry:
    """The best bandlet basis of images; a level's (B, 3 C, h, w) holds its three subbands, finest level first.

    From :meth:`gahb.Bandlet.geometry`.

    >>> import gahb, torch
    >>> geometry = gahb.Bandlet(levels=1, sides=(4,)).geometry(gahb.images.disks(1, 16), 0.1)
    >>> geometry.sides[0].shape, bool((geometry.angles[0].isnan() == (geometry.sides[0] == 1)).all())
    (torch.Size([1, 3, 8, 8]), True)
    """

    lagrangian: Tensor  #: (B,) of the detail coefficients in this basis
    sides: list[Tensor]  #: for each level, side of the square that a coefficient lies in, 1 where there is no flow
    angles: list[Tensor]  #: for each level, the flow's angle in [0, π), from rightwards to downwards; NaN without


class Bandlet(CycleSpun):
    r"""Hard thresholding at $T = \lambda\sigma$ in the best orthogonal bandlet basis of the noisy image.

    The basis of each wavelet subband minimises

    $$\mathcal L = \sum_{|c| \le T} c^2 + T^2\,\bigl(M + \gamma F\bigr)
      = \sum_k \min(c_k^2, T^2) + \gamma F T^2$$

    with M the coefficients kept and F the squares with a flow, over all
    partitions into dyadic squares, each with one of 2 × side directions; what
    is left without a flow stays in wavelets. The minimum is exact, from the
    smallest squares up; wavelets themselves are one candidate, so that
    $\mathcal L$ never exceeds theirs. The result is averaged over circular
    shifts, each with its own basis. Autograd holds the basis and the kept
    coefficients fixed: the derivative misses the jumps between them.

    Parameters
    ----------
    wavelet, levels, shifts : as in :class:`Wavelet`.
    multiple : λ.
    sides : of the squares, powers of two from 2 on, rising; those that do not
        divide a subband are left out there.
    moments : vanishing moments along the flow (1: Haar's basis; at most 4).
        On C^α images of up to 512 pixels more than 1 gains nothing.
    flow_cost : γ, what a flow costs, in coefficients.

    Raises
    ------
    ValueError for settings out of range; in a call as for :class:`Wavelet`.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.c_alpha(2, 32, 2.0)
    >>> curve = gahb.psnr_curve(gahb.Bandlet(shifts=1), x, [0.1])
    >>> bool(curve.psnr > curve.input_psnr + 5)
    True
    """

    def __init__(
        self,
        wavelet: str = "sym4",
        *,
        levels: int = 4,
        multiple: float = 3.0,
        shifts: int = 4,
        sides: tuple[int, ...] = (4, 8),
        moments: int = 1,
        flow_cost: float = 1.0,
    ):
        super().__init__(wavelet, levels=levels, multiple=multiple, shifts=shifts)
        self.sides = tuple(positive_int("sides", side, at_least=2) for side in sides)
        if any(side & (side - 1) for side in self.sides) or list(self.sides) != sorted(set(self.sides)):
            raise ValueError(f"sides must be rising powers of two, got {sides!r}")
        self.moments = positive_int("moments", moments)
        if self.moments > 4:
            raise ValueError(f"moments must be at most 4, got {moments!r}")
        self.flow_cost = positive_number("flow_cost", flow_cost)

    def geometry(self, y: Tensor, sigma: float | Tensor) -> Geometry:
        """The basis that is chosen for `y` (B, C, H, W), not shifted, at the threshold λσ.

        ValueError for y that is not 4-D, and a sigma that is None or not positive.

        >>> import gahb, torch
        >>> geometry = gahb.Bandlet(levels=1).geometry(gahb.images.disks(1, 16), 0.1)
        >>> geometry.lagrangian.shape, geometry.angles[0].shape  # one level of three subbands
        (torch.Size([1]), torch.Size([1, 3, 8, 8]))
        """
        check_image_shape(y)
        height = self.multiple * sigma_vector(sigma, y)[:, None, None, None]
        lagrangian, sides, angles = 0.0, [], []
        for level in analyse(y, self.wavelet, self.levels)[1]:
            _, cost, side, flow = self._best(torch.cat(level, dim=-3)[None], height)
            lagrangian = lagrangian + cost.sum(dim=(1, 2, 3))
            sides.append(side)
            angles.append(torch.where(side > 1, flow * math.pi / (2 * side), math.nan))
        return Geometry(lagrangian, sides, angles)

    def _shrink(self, c: Tensor, sigma: Tensor, decisions: bool) -> Tensor:
        return self._best(c, sigma if decisions else self.multiple * sigma, decisions)[0]

    def _best(self, c: Tensor, height: Tensor, decisions: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The last of `c` (1 or 2, B, C, h, w) chooses the basis, the first is thresholded in it.

        Returns what is kept (B, C, h, w), the Lagrangian of the largest squares
        (B, C, h / side, w / side), and of each coefficient the square's side
        and the number of its flow.
        """
        judge = -1 if decisions else 0
        kept = torch.where(c[judge].abs() > height, c[0], 0.0)
        cost = torch.minimum(c[-1].square(), height.square())
        sides, flows, last = torch.ones_like(cost), torch.zeros_like(cost), 1
        for side in self.sides:
            if c.shape[-2] % side or c.shape[-1] % side:
                break
            bases = flow_bases(side, self.moments).to(c)  # (K, side², side²)
            # (1 or 2, B, C, h / side, w / side, K, side²)
            coefficients = (_squares(c, side) @ bases.flatten(0, 1).T).unflatten(-1, bases.shape[:2])
            limit = height[..., None]  # (B, 1, 1, 1, 1)
            energy = torch.minimum(coefficients[-1].square(), limit[..., None].square()).sum(dim=-1)
            least, flow = energy.min(dim=-1)
            least = least + self.flow_cost * height.square()
            coefficients = coefficients.take_along_dim(flow[None, ..., None, None], dim=-2).squeeze(-2)
            along = torch.where(coefficients[judge].abs() > limit, coefficients[0], 0.0)
            along = (along[..., None, :] @ bases[flow]).squeeze(-2)
            children = _squares(cost, side // last).sum(dim=-1)
            better = least < children
            cost = torch.where(better, least, children)
            inside = _enlarge(better, side)
            kept = torch.where(inside, _image(along, side), kept)
            sides = torch.where(inside, float(side), sides)
            flows = torch.where(inside, _enlarge(flow, side).to(flows), flows)
            last = side
        return kept, cost, sides, flows


def _squares(c: Tensor, side: int) -> Tensor:
    """(…, h, w) -> (…, h / side, w / side, side²)."""
    return c.unflatten(-1, (-1, side)).unflatten(-3, (-1, side)).transpose(-3, -2).flatten(-2)


def _image(squares: Tensor, side: int) -> Tensor:
    """Inverse of `_squares`."""
    return squares.unflatten(-1, (side, side)).transpose(-3, -2).flatten(-4, -3).flatten(-2)


def _enlarge(values: Tensor, side: int) -> Tensor:
    """One value a square -> one a coefficient."""
    return values.repeat_interleave(side, dim=-2).repeat_interleave(side, dim=-1)
