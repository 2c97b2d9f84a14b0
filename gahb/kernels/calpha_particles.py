r"""Particles that follow the posterior of contour and greys as the noise falls.

Sequential Monte Carlo (Del Moral, Doucet & Jasra 2006) from the prior to
$p(\theta \mid y)$, see `calpha_posterior`. The noise falls in steps, each as
long as the weights of the particles allow; then they are drawn anew by weight
and moved.

The moves are Metropolis steps that keep a Gaussian invariant (Rudolf & Sprungk
2018). It is the Gauss–Newton approximation of the posterior, averaged over
particles; most independent draws from it are accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .calpha import greys
from .calpha_evidence import Ensemble, Grid, Window, extent

FEW = 4  # draws weighed at a time on other pixels than the particles' own
FIRST = 1e-3  # precision 1/σ² of the first posterior, hardly more than the prior
FLOOR, TARGET = 0.1, 3.0  # least effective share of particles, and wanted variance of log-weights, as noise falls
SWEEPS = 2  # after each fall of noise
STEPS = (1.0, 1.0, 0.4)  # lengths of the contour's moves in a sweep
ACCEPT = 0.3  # share of accepted moves that steps are adapted to; 1 is the longest step
GUIDES = 6  # particles over which a Gauss–Newton approximation is averaged
PROBE, WIDER = 0.05, 1.2  # step of the differences in the greys; how much wider than it their Gaussian is taken
MARGIN, SPREAD = 1.0, 0.5  # pixels, and share of their range, by which uncertain pixels reach beyond all particles
NARROWER = 0.8  # share of uncertain pixels at which the others are eliminated anew


class Particles:
    """Particles θ that follow the posterior of y as the noise falls.

    A particle is the weights of its contour's waves, two more normal numbers,
    whose distribution function gives u and v of its greys, and which region is
    bright.
    """

    def __init__(self, waves: Tensor, y: Tensor, count: int, generator: torch.Generator):
        self.waves, self.image, self.generator = waves, y, generator
        self.weights, self.normals = self._normal(count, len(waves)), self._normal(count, 2)
        self.flip = torch.arange(count) % 2 == 0
        self.precision = 0.0  # 1/σ² of the posterior that the particles follow
        self.log = torch.zeros(count, dtype=y.dtype)  # log p(y | θ)
        self.growth, self.steps = 2.0, [1.0, 1.0]  # of the precision; lengths of the moves of contour and greys
        self.adapting = self.turning = True

    def enter(self, grid: Grid) -> None:
        """Sees y on `grid` from now on: under the same noise, or more if y says too much more there."""
        self.grid, self.y = grid, grid.pool(self.image)
        if not self.precision:
            rows = torch.full((grid.size,), grid.size)
            self.window = Window(grid, self.y, torch.zeros_like(rows), rows)
            return
        self._frame(anew=True)
        before, best = self.log, None
        for precision in (self.precision / more for more in (1, 1.3, 1.7, 2.2, 3)):
            given, log = self._evaluate(precision)
            effective = _effective(log - before)
            if best is None or effective > best[0]:
                best = effective, precision, given, log
            if effective > 0.5:
                break
        _, self.precision, self.given, self.log = best
        self.growth = 1.3
        self._resample(self.log - before)
        self._mix()

    def cool(self, goal: float) -> None:
        """Lets the noise fall until its precision is `goal`."""
        while self.precision < goal:
            self._fall(goal)
            self._mix()

    def settle(self) -> None:
        """Adapts for the last time: what follows is a Markov chain that keeps the posterior invariant."""
        self._frame(anew=True)
        self.given, self.log = self._evaluate(self.precision)
        self._mix()
        self._refer()
        self.adapting = False

    def sweep(self) -> None:
        """Moves every particle: the contour given the greys, and the greys given the contour."""
        for step in STEPS:
            weights = self.contours.propose(self.weights, step * self.steps[0], self.generator)
            heights = self._heights(weights)
            log = self.window.evidence(self.window.shares(heights), self.given, self._variance)[0]
            gain = log - self.log + self.contours.log_ratio(weights) - self.contours.log_ratio(self.weights)
            taken = self._taken(gain) & self.window.holds(heights)
            self.weights = torch.where(taken[:, None], weights, self.weights)
            self.log = torch.where(taken, log, self.log)
            if step == 1:
                self._adapt(0, taken)
        if self.turning:
            self._turn()
        normals = self.greys.propose(self.normals, self.steps[1], self.generator)
        gain = self.greys.log_ratio(normals) - self.greys.log_ratio(self.normals)
        self._adapt(1, self._try_greys(normals, self.flip, gain))

    def draws(self, grid: Grid) -> Iterator[tuple[Tensor, Ensemble]]:
        """Log-weights and draws for the posterior given y on `grid`, a few at a time where it is not their own.

        The weights are then the ratio of the two densities of y.
        """
        centre, gain = self._greys(self.normals, self.flip)
        heights = self._heights(self.weights)
        if grid is self.grid:
            shares = self.window.shares(heights)
            _, roots, _ = self.window.evidence(shares, self.given, self._variance)
            yield torch.zeros_like(self.log), Ensemble(
                self.window, self.y, self._variance, shares, centre, gain, roots
            )
            return
        y, variance = grid.pool(self.image), 1 / (self.precision * grid.factor**2)
        low, high = extent(heights, grid.size)
        window = Window(grid, y, low.amin(dim=0).floor().long(), high.amax(dim=0).ceil().long())
        for part in torch.arange(len(heights)).split(FEW):
            shares, given = window.shares(heights[part]), window.given(centre[part], gain[part], variance)
            log, roots, _ = window.evidence(shares, given, variance)
            yield log - self.log[part], Ensemble(window, y, variance, shares, centre[part], gain[part], roots)

    def _fall(self, goal: float) -> None:
        """Raises the precision as far as the particles' weights allow, and draws them anew by weight."""
        self._frame()
        start = self.precision
        trial = min(goal, start * self.growth if start else FIRST)
        while True:
            given, log = self._evaluate(trial)
            weights = log - self.log
            if _effective(weights) > FLOOR or trial < 1.02 * start:
                break
            trial = math.sqrt(trial * start) if start else trial / 4
        if start:  # log-weights are about linear in the logarithm of the precision
            spread = max(float(weights.var()), 1e-6)
            growth = math.log(trial / start) * min(max(math.sqrt(TARGET / spread), 0.4), 2.5)
            self.growth = math.exp(min(max(growth, 0.05), 3.0)) if math.isfinite(growth) else 1.05
        self.precision, self.given, self.log = trial, given, log
        self._resample(weights)

    def _mix(self) -> None:
        self._refer()
        self.turning = self._turn()
        for _ in range(SWEEPS):
            self.sweep()

    def _turn(self) -> bool:
        """Exchanges bright and dark, at the same contrast, where y allows it; whether it did."""
        # the means ½ + u/2 and v/2 are mirrored at ½: u' = 1 − v and v' = 1 − u, which the prior does not notice
        return bool(self._try_greys(-self.normals.flip(1), ~self.flip, torch.zeros_like(self.log)).any())

    def _try_greys(self, normals: Tensor, flip: Tensor, gain: Tensor) -> Tensor:
        given = self.window.given(*self._greys(normals, flip), self._variance)
        log = self.window.evidence(self.window.shares(self._heights(self.weights)), given, self._variance)[0]
        taken = self._taken(gain + log - self.log)
        self.normals = torch.where(taken[:, None], normals, self.normals)
        self.flip, self.log = torch.where(taken, flip, self.flip), torch.where(taken, log, self.log)
        for old, new in zip(self.given, given):
            old.replace(taken, new)
        return taken

    def _refer(self) -> None:
        """The Gaussians that contours and greys are proposed from."""
        guides = torch.randperm(len(self.log), generator=self.generator)[:GUIDES]
        self.contours = self._contour_reference(guides)
        self.greys = self._grey_reference(guides)

    def _contour_reference(self, guides: Tensor) -> _Reference:
        """Gauss–Newton: y is about linear in the contour, $y \\approx m_i + J_i(\\theta - \\theta_i)$ at each guide."""
        heights, size = self._heights(self.weights[guides]), self.grid.size
        given = [side.select(guides) for side in self.given]
        _, roots, residual = self.window.evidence(self.window.shares(heights), given, self._variance)
        precision = torch.eye(len(self.waves), dtype=self.y.dtype)
        pull = torch.zeros(len(self.waves), dtype=self.y.dtype)
        contrast = given[0].mean - given[1].mean
        for k, weights in enumerate(self.weights[guides]):
            slope = contrast[k, :, None] * self._slopes(heights[k], size)  # (m, columns)
            both = torch.column_stack([slope @ self.waves.T, residual[k]])
            white = torch.linalg.solve_triangular(roots[k], both, upper=False)
            J, r = white[:, :-1], white[:, -1]
            precision += J.T @ J / len(guides)
            pull += J.T @ (J @ weights + r) / len(guides)
        return _Reference(torch.linalg.solve(precision, pull), precision)

    def _slopes(self, heights: Tensor, size: int) -> Tensor:
        """Derivative (m, columns) of the shares of uncertain pixels in the heights (columns,)."""
        row, column = self.window.pixels // size, self.window.pixels % size
        width = len(heights) // size
        places = column[:, None] * width + torch.arange(width)  # (m, width)
        depth = size * heights[places] - row[:, None]
        slopes = torch.zeros(len(row), len(heights), dtype=heights.dtype)
        return slopes.scatter_(1, places, ((depth > 0) & (depth < 1)).to(slopes) * (size / width))

    def _grey_reference(self, guides: Tensor) -> _Reference:
        """The quadratic that second differences of log p(y | θ) give, averaged over guides."""
        normals, flip = self.normals[guides], self.flip[guides]
        shares = self.window.shares(self._heights(self.weights[guides]))
        shifts = PROBE * torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]], dtype=shares.dtype)
        o, a, A, b, B, ab, AB = (
            self.window.evidence(
                shares, self.window.given(*self._greys(normals + shift, flip), self._variance), self._variance
            )[0]
            for shift in shifts
        )
        first, second = (a + A - 2 * o) / PROBE**2, (b + B - 2 * o) / PROBE**2
        mixed = ((ab + AB - 2 * o) / PROBE**2 - first - second) / 2
        curvature = -torch.stack([first, mixed, mixed, second], dim=1).reshape(-1, 2, 2)
        slope = torch.stack([a - A, b - B], dim=1) / (2 * PROBE)
        pull = ((curvature @ normals[..., None])[..., 0] + slope).mean(dim=0)
        values, vectors = torch.linalg.eigh(curvature.mean(dim=0).nan_to_num() + torch.eye(2, dtype=shares.dtype))
        convex = bool(values.min() > 0.5)
        precision = (vectors * values.clamp(min=1)) @ vectors.T  # never wider than the prior
        mean = torch.linalg.solve(precision, pull) if convex else self.normals.mean(dim=0)
        return _Reference(mean, precision / WIDER)

    def _frame(self, *, anew: bool = False) -> None:
        """Chooses the uncertain pixels anew where they have become too few or many more than needed."""
        low, high = extent(self._heights(self.weights), self.grid.size)
        low, high = low.amin(dim=0), high.amax(dim=0)
        beyond = MARGIN + SPREAD * (high - low)
        first = (low - beyond).floor().clamp(min=0).long()
        last = (high + beyond).ceil().clamp(max=self.grid.size).long()
        if not anew:
            short = (low - beyond / 2 < self.window.low) & (self.window.low > 0)
            short |= (high + beyond / 2 > self.window.high) & (self.window.high < self.grid.size)
            if not bool(short.any()) and int((last - first).sum()) >= NARROWER * len(self.window.pixels):
                return
        self.window = Window(self.grid, self.y, first, last)

    def _evaluate(self, precision: float):
        """What sure pixels say, and log p(y | θ), under noise of that precision."""
        variance = self._variance_at(precision)
        given = self.window.given(*self._greys(self.normals, self.flip), variance)
        return given, self.window.evidence(self.window.shares(self._heights(self.weights)), given, variance)[0]

    def _resample(self, log_weights: Tensor) -> None:
        """Systematic resampling: a particle of weight w becomes n w of them, rounded up or down."""
        count = len(log_weights)
        at = (torch.arange(count) + torch.rand(1, generator=self.generator, dtype=log_weights.dtype)) / count
        chosen = torch.searchsorted(log_weights.softmax(dim=0).cumsum(dim=0), at).clamp(max=count - 1)
        self.weights, self.normals, self.flip = self.weights[chosen], self.normals[chosen], self.flip[chosen]
        self.log, self.given = self.log[chosen], tuple(side.select(chosen) for side in self.given)

    def _adapt(self, which: int, taken: Tensor) -> None:
        if self.adapting:
            step = self.steps[which] * math.exp(0.3 * (float(taken.double().mean()) - ACCEPT))
            self.steps[which] = min(max(step, 0.02), 1.0)

    def _taken(self, gain: Tensor) -> Tensor:
        return torch.rand(gain.shape, generator=self.generator, dtype=gain.dtype).log() < gain

    def _heights(self, weights: Tensor) -> Tensor:
        return (0.5 + weights @ self.waves).clamp(0, 1)

    def _greys(self, normals: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
        return greys(*torch.special.ndtr(normals).unbind(dim=1), flip)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=self.image.dtype)

    @property
    def _variance(self) -> float:
        return self._variance_at(self.precision)

    def _variance_at(self, precision: float) -> float:
        return 1 / (precision * self.grid.factor**2)


class _Reference:
    """A Gaussian N(mean, precision⁻¹) close to the posterior of standard normal coordinates."""

    def __init__(self, mean: Tensor, precision: Tensor):
        self.mean, self.root = mean, torch.linalg.cholesky(precision)

    def propose(self, at: Tensor, step: float, generator: torch.Generator) -> Tensor:
        """A move from `at` (n, p) that keeps the Gaussian invariant; an independent draw if step = 1."""
        z = torch.randn(at.shape, generator=generator, dtype=at.dtype)
        draw = torch.linalg.solve_triangular(self.root.T, z.T, upper=True).T
        return self.mean + math.sqrt(1 - step**2) * (at - self.mean) + step * draw

    def log_ratio(self, at: Tensor) -> Tensor:
        """log of prior over Gaussian (n,), up to a constant."""
        return ((at - self.mean) @ self.root).square().sum(dim=1) / 2 - at.square().sum(dim=1) / 2


def _effective(log_weights: Tensor) -> float:
    """Effective sample size over the number of particles."""
    return float(1 / log_weights.softmax(dim=0).square().sum()) / len(log_weights)
