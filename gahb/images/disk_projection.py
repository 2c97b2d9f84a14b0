r"""The nearest disk image to any picture: projection on the five-dimensional set of disks.

$$\operatorname{proj}(y) = \arg\min_{\theta, a, b} \|y - b - (a - b)\,m_\theta\|^2$$

over all shapes θ (row, column, radius) and greys of :func:`gahb.images.disks`.
The function has many local minima where the noise is large. The best shapes of
a grid are starts, and each goes down by damped Gauss–Newton steps; the best end
is the answer. How many starts have come to it, and how far the next step would
still go, is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._text import listed, plus_minus
from .._validate import check_points, positive_int
from ..kernels.disk import CENTRE, RADIUS, coverage
from .disks import disk_tangents

_LOW = torch.tensor([0.0, 0.0, CENTRE[0], CENTRE[0], RADIUS[0]], dtype=torch.float64)
_HIGH = torch.tensor([1.0, 1.0, CENTRE[1], CENTRE[1], RADIUS[1]], dtype=torch.float64)
_GRID = (13, 13, 9)  # rows, columns, radii of the starts
_STEPS = 60
_DONE = 1e-8  # a step of this length, as an image, is the last one
_SAME = 1e-4  # ends this near to each other, relative to the distance from y, are one


@dataclass(frozen=True, repr=False)
class DiskProjection:
    """What :func:`project_on_disks` returns, for B pictures.

    >>> import gahb
    >>> near = gahb.images.project_on_disks(2 * gahb.images.disks(3, 8))
    >>> near.images.shape, bool((near.second > near.distance).all()), int(near.starts.min()) >= 1
    (torch.Size([3, 1, 8, 8]), True, True)
    >>> near
    <DiskProjection of 3 pictures (8, 8): at distance 5.163, 0.3864, 0.4347>
    """

    images: Tensor  #: (B, 1, size, size) the nearest disk images, in the dtype of y
    distance: Tensor  #: (B,) ‖y − proj(y)‖, a norm over pixels, float64
    error: Tensor  #: (B,) how far the end still is from its minimum (length of the next Gauss–Newton step)
    starts: Tensor  #: (B,) number of starts that ended at this image
    second: Tensor  #: (B,) distance from y to the nearest end at another image; infinite where there is none
    centre: Tensor  #: (B, 2) row and column, in sides of the image
    radius: Tensor  #: (B,) in sides of the image
    foreground: Tensor  #: (B,) grey inside
    background: Tensor  #: (B,) grey outside

    def __repr__(self) -> str:
        n, _, *sides = self.images.shape
        distances = listed([plus_minus(each, None) for each in self.distance.tolist()])
        return f"<DiskProjection of {n:,} picture{'s' * (n != 1)} {tuple(sides)}: at distance {distances}>"


def project_on_disks(y: Tensor, *, starts: int = 6) -> DiskProjection:
    r"""The nearest of all images of :func:`gahb.images.disks` to each picture, in the Euclidean norm.

    The greys are those in [0, 1] that fit best for each shape, the centre is in
    [0.3, 0.7]² and the radius in [0.1, 0.3], as in the class: an optimum may
    lie on the border of this range. For pictures far from every disk (large
    noise) several optima may be almost equally near; `starts` and `second` of
    the result show it. Everything is computed in float64.

    Parameters
    ----------
    y : (B, 1, size, size), any values; size at least 4.
    starts : shapes of a grid from which the search goes down, the best ones
        that are no neighbours of better ones; at least 1.

    Raises
    ------
    ValueError : for pictures of another shape, a size below 4, values that are
        not finite, and starts < 1. TypeError for what is no floating tensor.

    Examples
    --------
    A disk is its own projection, and the noise on it is taken away:

    >>> import gahb, torch
    >>> x = gahb.images.disks(2, 16)
    >>> near = gahb.images.project_on_disks(x)
    >>> bool((near.images - x).abs().max() < 1e-4), bool(near.distance.max() < 1e-3)
    (True, True)
    >>> y = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> near = gahb.images.project_on_disks(y)
    >>> bool((near.images - x).square().mean() < 0.1 * (y - x).square().mean())
    True
    """
    check_points("y", y)
    positive_int("starts", starts)
    if y.ndim != 4 or y.shape[1] != 1 or y.shape[2] != y.shape[3] or y.shape[2] < 4:
        raise ValueError(f"y must be (B, 1, size, size) with size ≥ 4, got {tuple(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("y must be finite, got NaN or infinity among its values")
    size, flat = y.shape[-1], y.detach().flatten(1).double()
    found = _starts(flat, size, starts)  # (B, starts, 5)
    count = found.shape[1]
    ends, squared, left = _descend(flat.repeat_interleave(count, dim=0), found.flatten(0, 1), size)
    distance = squared.reshape(-1, count).sqrt()
    best = distance.argmin(dim=1)
    rows = torch.arange(len(y), device=y.device)
    theta = ends.reshape(-1, count, 5)[rows, best]
    images = _images(ends, size).reshape(-1, count, size**2)
    nearest = distance[rows, best]
    same = (images - images[rows, best][:, None]).norm(dim=2) <= _SAME * nearest[:, None] + 1e-6
    return DiskProjection(
        images=images[rows, best].reshape(y.shape).to(y.dtype),
        distance=nearest,
        error=left.reshape(-1, count)[rows, best],
        starts=same.sum(dim=1),
        second=torch.where(same, torch.inf, distance).amin(dim=1),
        centre=theta[:, 2:4], radius=theta[:, 4], foreground=theta[:, 0], background=theta[:, 1],
    )


def _starts(y: Tensor, size: int, count: int) -> Tensor:
    """(B, count, 5): the shapes of the grid with the nearest images, of which none is the neighbour of a better one."""
    sides = [torch.linspace(float(low), float(high), n, dtype=torch.float64, device=y.device)
             for low, high, n in zip(_LOW[2:], _HIGH[2:], _GRID)]
    shapes = torch.cartesian_prod(*sides)
    masks = torch.cat([coverage(part[:, :2], part[:, 2], size).flatten(1) for part in shapes.split(256)])
    a, b, squared = _best_greys(y @ masks.T, y.sum(dim=1, keepdim=True), masks.sum(dim=1), masks.square().sum(dim=1),
                                size**2)
    grid = squared.reshape(-1, 1, *_GRID)
    lowest = -torch.nn.functional.max_pool3d(-grid, 3, stride=1, padding=1)
    valleys = torch.where(grid == lowest, grid, torch.inf).flatten(1)
    count = min(count, int((valleys < torch.inf).sum(dim=1).max()))
    values, index = valleys.topk(count, dim=1, largest=False)
    index = torch.where(values < torch.inf, index, index[:, :1])  # fewer valleys: the best one again
    greys = torch.stack([a.gather(1, index), b.gather(1, index)], dim=2)
    return torch.cat([greys, shapes[index]], dim=2)


def _best_greys(inside: Tensor, total: Tensor, area: Tensor, square: Tensor, d: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""a, b in [0, 1] that minimise $\|a m + b (1 - m)\|^2 - 2\langle y, a m + b(1-m)\rangle$, and its minimum.

    `inside` is ⟨y, m⟩ (B, n), `total` ⟨y, 1⟩ (B, 1); area and square are the sums of m and m².
    A quadratic in two numbers: its minimum, or the best point on the four sides.
    """
    outside = total - inside
    aa, ab = square, area - square
    bb = d - area - ab
    determinant = aa * bb - ab.square()

    def value(a, b):
        return aa * a * a + 2 * ab * a * b + bb * b * b - 2 * (a * inside + b * outside)

    a, b = (bb * inside - ab * outside) / determinant, (aa * outside - ab * inside) / determinant
    within = (a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)
    best = (torch.where(within, a, 0.0), torch.where(within, b, 0.0))
    least = torch.where(within, value(*best), torch.inf)
    for side in (0.0, 1.0):
        fixed = torch.full_like(inside, side)
        a_given_b, b_given_a = (inside - ab * side) / aa, (outside - ab * side) / bb
        for pair in ((fixed, b_given_a.clamp(0, 1)), (a_given_b.clamp(0, 1), fixed)):
            here = value(*pair)
            better = here < least
            best = tuple(torch.where(better, new, old) for new, old in zip(pair, best))
            least = torch.where(better, here, least)
    return *best, least


def _descend(y: Tensor, theta: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ends (n, 5) of damped Gauss–Newton steps in the box, squared distances (n,), and lengths of the last step (n,).

    Parameters at the border stay there while the distance falls towards the
    outside. A step that does not lead nearer is taken again with more damping.
    """
    low, high = _LOW.to(y.device), _HIGH.to(y.device)
    squared = (y - _images(theta, size)).square().sum(dim=1)
    left = torch.full_like(squared, torch.inf)
    damping = torch.full_like(squared, 1e-3)
    going = torch.arange(len(y), device=y.device)
    for _ in range(_STEPS):
        here, target = theta[going], y[going]
        tangents = disk_tangents(here[:, 2:4], here[:, 4], here[:, 0], here[:, 1], size).flatten(2)  # (n, 5, d)
        slope = (tangents @ (target - _images(here, size))[..., None])[..., 0]
        held = ((here <= low) & (slope < 0)) | ((here >= high) & (slope > 0))
        normal = tangents @ tangents.mT
        newton = _step(normal, slope, held, torch.zeros_like(damping[going]))
        left[going] = (newton[:, None] @ tangents)[:, 0].norm(dim=1)
        moved = _step(normal, slope, held, damping[going])
        there = (here + moved).clamp(low, high)
        reached = (target - _images(there, size)).square().sum(dim=1)
        gained = squared[going] - reached
        nearer = gained > 0
        theta[going] = torch.where(nearer[:, None], there, here)
        damping[going] = torch.where(nearer, damping[going] / 10, damping[going] * 10).clamp(1e-9, 1e9)
        squared[going] = torch.where(nearer, reached, squared[going])
        slow = nearer & (gained < 1e-10 * reached)
        going = going[(left[going] > _DONE) & (damping[going] < 1e6) & ~slow]
        if len(going) == 0:
            break
    return theta, squared, left


def _step(normal: Tensor, slope: Tensor, held: Tensor, damping: Tensor) -> Tensor:
    """Solution (n, 5) of (N + damping · diag N) step = slope among the parameters that are not held."""
    free = (~held).to(normal)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    ridge = diagonal * damping[:, None] + 1e-12 * diagonal.amax(dim=1, keepdim=True) + held.to(normal)
    matrix = normal * free[:, :, None] * free[:, None] + torch.diag_embed(ridge)
    return torch.linalg.solve(matrix, slope * free)


def _images(theta: Tensor, size: int) -> Tensor:
    """(n, d) in float64."""
    a, b = theta[:, 0, None], theta[:, 1, None]
    return b + (a - b) * coverage(theta[:, 2:4], theta[:, 4], size).flatten(1)
