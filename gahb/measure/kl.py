r"""The KL bound: how far the density of a denoiser is from the true one, from its excess error, in nats.

Let $p_\theta$ be the law at $\sigma_\min$ of the reverse diffusion that uses
the score $(f(y) - y)/\sigma^2$ and starts at $\sigma_\max$ from a law π. Then

$$D(p_{\sigma_\min} \| p_\theta) \le D(p_{\sigma_\max} \| \pi)
    + \int_{\sigma_\min}^{\sigma_\max} \mathbb E\|f(y) - f^\star(y)\|^2\, \sigma^{-3}\, d\sigma,$$

squared norms being sums over pixels (equations (2) and (5) of the paper;
Song et al. 2021), with equality if and only if f is the optimal denoiser of
one density at every σ (Verdú 2010). `kl_bound` measures the integral,
`gaussian_divergence` the first term where both laws are Gaussian.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._points import noisy_batches
from .._text import plus_minus
from .._validate import check_denoises, check_sample, noise_levels, positive_int
from ..contract import Denoiser, denoise
from .statistics import mean_and_error


@dataclass(frozen=True, repr=False)
class KLBound:
    r"""The integral of $\mathbb E\|f - f^\star\|^2 \sigma^{-3} d\sigma$ over a range of σ, in nats an image.

    In $\log\sigma$ the integrand is $\mathbb E\|f - f^\star\|^2/\sigma^2$: the
    area under `by_sigma`, drawn over $\log\sigma$, is `value`. `excess` is the
    same integral of $\mathbb E[\|f - x\|^2 - \|f^\star - x\|^2]$. The two have
    one expectation if and only if $f - f^\star$ and $f^\star - x$ are
    orthogonal: their agreement is a test of $f^\star$.

    From :func:`gahb.kl_bound`.

    >>> import gahb, torch
    >>> f, optimal = (gahb.Gaussian(torch.zeros(2), c * torch.eye(2)) for c in (1.0, 0.5))
    >>> bound = gahb.kl_bound(f, optimal, optimal.sample(100), [0.1, 0.3, 1.0])
    >>> bound.by_sigma.shape, bound.per_image.shape, bound.value > 0
    (torch.Size([3]), torch.Size([3, 100]), True)
    >>> gahb.kl_bound(optimal, optimal, optimal.sample(100), [0.1, 0.3, 1.0])
    <KLBound of 100 images, 3 levels from σ = 0.1 to 1: 0 nats an image, by the excess 0; quadrature 0>
    """

    value: float  #: the bound's integral, nats an image
    stderr: float  #: its standard error over images and noise
    quadrature: float  #: its change by the trapezoid rule or on every other level, whichever is larger
    excess: float  #: the integral of the excess squared error, nats an image
    excess_stderr: float  #: its standard error
    sigmas: Tensor  #: (S,) noise levels
    by_sigma: Tensor  #: (S,) $\mathbb E\|f - f^\star\|^2/\sigma^2$: nats for each unit of log σ
    by_sigma_stderr: Tensor  #: (S,) standard error of `by_sigma`
    excess_by_sigma: Tensor  #: (S,) $\mathbb E[\|f - x\|^2 - \|f^\star - x\|^2]/\sigma^2$
    per_image: Tensor  #: (S, n) what `by_sigma` is the mean of
    excess_per_image: Tensor  #: (S, n) what `excess_by_sigma` is the mean of

    def __repr__(self) -> str:
        levels, n = self.per_image.shape
        return (f"<KLBound of {n:,} images, {levels} levels from σ = {self.sigmas[0]:g} to {self.sigmas[-1]:g}: "
                f"{plus_minus(self.value, self.stderr)} nats an image, by the excess "
                f"{plus_minus(self.excess, self.excess_stderr)}; quadrature {self.quadrature:.1g}>")

    def between(self, low: float = 0.0, high: float = math.inf) -> Tensor:
        """The integral over σ from `low` to `high` alone, for each image with its noise (n,).

        Ends between two levels are met by a straight line in log σ; what lies
        outside all levels was not measured and adds nothing.

        Raises
        ------
        ValueError unless 0 ≤ low ≤ high.

        Examples
        --------
        >>> import gahb, torch
        >>> f, optimal = (gahb.Gaussian(torch.zeros(2), c * torch.eye(2)) for c in (1.0, 0.5))
        >>> bound = gahb.kl_bound(f, optimal, optimal.sample(100).float(), [0.1, 0.2, 0.4, 0.8, 1.6])
        >>> parts = bound.between(high=0.4) + bound.between(low=0.4)
        >>> torch.allclose(parts, bound.between())
        True
        """
        if not 0 <= low <= high:
            raise ValueError(f"low and high must be noise levels, 0 ≤ low ≤ high, got {low!r} and {high!r}")
        order = self.sigmas.argsort()
        u, values = self.sigmas[order].log(), self.per_image[order]
        ends = torch.tensor([low, high], dtype=u.dtype).log().clamp(u[0], u[-1])
        right = torch.searchsorted(u, ends).clamp(min=1)  # u[right - 1] ≤ ends ≤ u[right]
        part = ((ends - u[right - 1]) / (u[right] - u[right - 1]))[:, None]
        first, last = values[right - 1] + part * (values[right] - values[right - 1])
        inside = (u > ends[0] + 1e-9) & (u < ends[1] - 1e-9)
        nodes = torch.cat([ends[:1], u[inside], ends[1:]])
        return quadrature_weights(nodes.exp()) @ torch.cat([first[None], values[inside], last[None]])

    def averaged(self, *others: KLBound) -> KLBound:
        """The mean of this integral and `others`, image by image, as of two twins on the same noisy images.

        Its `stderr` is over images and noise: how the denoisers differ is not in it.

        Raises
        ------
        ValueError if levels or the number of images differ.

        Examples
        --------
        >>> import gahb, torch
        >>> first, second, optimal = (gahb.Gaussian(torch.zeros(2), c * torch.eye(2)) for c in (1.0, 2.0, 0.5))
        >>> x, sigmas = optimal.sample(100), [0.1, 0.3, 1.0]
        >>> runs = [gahb.kl_bound(f, optimal, x, sigmas) for f in (first, second)]
        >>> mean = runs[0].averaged(runs[1])
        >>> abs(mean.value - (runs[0].value + runs[1].value) / 2) < 1e-9
        True
        """
        for other in others:
            if not torch.equal(other.sigmas, self.sigmas) or other.per_image.shape != self.per_image.shape:
                raise ValueError(
                    f"others must have these {len(self.sigmas)} levels and {self.per_image.shape[1]} images, "
                    f"got {len(other.sigmas)} levels, {other.sigmas.tolist()}, and {other.per_image.shape[1]} images"
                )
        mean = [torch.stack([getattr(run, name) for run in (self, *others)]).mean(dim=0)
                for name in ("per_image", "excess_per_image")]
        return _bound(self.sigmas, *mean)


def kl_bound(
    denoiser: Denoiser, optimal: Denoiser, images: Tensor, sigmas: Sequence[float], *, seed: int = 0, batch: int = 64
) -> KLBound:
    r"""$\int \mathbb E\|f(y) - f^\star(y)\|^2\, \sigma^{-3}\, d\sigma$ from the first to the last of `sigmas`.

    Both denoisers see the same noisy images, and the same unit noise serves
    all levels: the integral is taken for each image, by Simpson's rule in
    log σ, and its error over the images holds what the levels have in common.

    Parameters
    ----------
    denoiser, optimal : f and $f^\star$. With two networks trained on disjoint
        sets in their place, half of `value` estimates the variance part of
        either's integral; the excess then means nothing.
    images : (n, …), n ≥ 1, drawn from p; values of any range.
    sigmas : noise levels > 0, at least three, rising or falling. The range
        matters: the integral diverges at σ = 0 unless
        $\mathbb E\|f - f^\star\|^2$ falls faster than σ².
    seed : of the noise. batch : images denoised at a time (changes nothing but speed).

    Raises
    ------
    ValueError for no images, fewer than three levels or unordered ones, and a
    denoiser or `optimal` that breaks the contract.

    Examples
    --------
    For two Gaussians the integral over all σ is their divergence:

    >>> import gahb, torch
    >>> mean, C, other = torch.zeros(2), torch.eye(2), 0.5 * torch.eye(2)
    >>> f, optimal = gahb.Gaussian(mean, other), gahb.Gaussian(mean, C)
    >>> sigmas = torch.logspace(-2, 2, 17).tolist()
    >>> bound = gahb.kl_bound(f, optimal, optimal.sample(500), sigmas)
    >>> exact = gahb.kl.gaussian_divergence(mean, C, mean, other)
    >>> abs(bound.value - exact) < 3 * bound.stderr, round(exact, 3)
    (True, 0.307)
    """
    check_denoises(denoiser)
    check_denoises(optimal, "optimal")
    check_sample("images", images)
    positive_int("batch", batch)
    levels, rows = _levels(sigmas), []
    with torch.no_grad():
        for sigma, pairs in noisy_batches(images, levels.tolist(), seed=seed, batch=batch):
            parts = [_squared_differences(denoiser, optimal, x, y, sigma) for x, y in pairs]
            rows.append(torch.cat(parts, dim=1).cpu() / sigma**2)
    distance, excess = torch.stack(rows, dim=1)  # (S, n) each, nats for a unit of log σ
    return _bound(levels, distance, excess)


def quadrature_weights(sigmas: Tensor) -> Tensor:
    """Simpson's rule in log σ as weights (S,), for levels in any spacing, rising or falling.

    >>> import gahb, torch
    >>> gahb.kl.quadrature_weights(torch.tensor([1.0, 2.0, 4.0]).double()).sum() / torch.tensor(4.0).log()
    tensor(1.0000, dtype=torch.float64)
    """
    from scipy.integrate import simpson

    u = sigmas.double().log()
    rule = torch.from_numpy(simpson(torch.eye(len(u)).numpy(), x=u.numpy()))
    return rule if u[0] < u[-1] else -rule


def gaussian_divergence(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor,
                        sigma: float = 0.0) -> float:
    r"""$D(\mathcal N(\mu, S) \,\|\, \mathcal N(\mu', S'))$ in nats, both diffused to σ.

    $$\tfrac12\bigl[\operatorname{tr}(S'^{-1} S) - d + (\mu - \mu')^\top S'^{-1} (\mu - \mu')
        + \log\det S' - \log\det S\bigr],$$

    with $S = C + \sigma^2\mathrm{Id}$ and $S' = C' + \sigma^2\mathrm{Id}$ positive definite.

    Parameters
    ----------
    mean, other_mean : (d,) or image-shaped. covariance, other_covariance : (d, d).
    sigma : noise level ≥ 0 to which both are diffused.

    Raises
    ------
    ValueError for shapes that do not fit together, sigma < 0, and matrices that
    are not positive definite.

    Examples
    --------
    >>> import gahb, torch
    >>> mean, C = torch.zeros(2), torch.eye(2)
    >>> round(gahb.kl.gaussian_divergence(mean, C, mean, 2 * C), 4)  # log 2 − ½
    0.1931
    """
    d = mean.numel()
    if other_mean.numel() != d:
        raise ValueError(f"other_mean must have {d} values, as mean has, got {other_mean.numel()}")
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must be a number ≥ 0, got {sigma!r}")
    noise = sigma**2 * torch.eye(d, dtype=torch.float64)
    factors = []
    for name, c in (("covariance", covariance), ("other_covariance", other_covariance)):
        if c.shape != (d, d):
            raise ValueError(f"{name} must be ({d}, {d}), as the mean has {d} values, got {tuple(c.shape)}")
        factor, info = torch.linalg.cholesky_ex(c.double() + noise)
        if info:
            raise ValueError(f"{name} + sigma² Id must be positive definite, at sigma = {sigma:g} it is not")
        factors.append(factor)
    first, second = factors
    away = (mean.double().flatten() - other_mean.double().flatten())[:, None]
    squares = torch.linalg.solve_triangular(second, torch.cat([first, away], dim=1), upper=False).square().sum()
    logs = 2 * (second.diagonal().log() - first.diagonal().log()).sum()
    return (0.5 * (squares - d + logs)).item()


def cached(denoiser: Denoiser) -> Denoiser:
    """The denoiser, keeping its answers: an exact optimum that serves many networks is computed once.

    Answers to the same points and the same float sigma are computed once.

    >>> import gahb, torch
    >>> calls = []
    >>> def halve(y, sigma=None):
    ...     calls.append(sigma)
    ...     return y / 2
    >>> f, y = gahb.kl.cached(halve), torch.ones(1, 2)
    >>> torch.equal(f(y, 0.1), f(y, 0.1)), calls
    (True, [0.1])
    """
    answers: dict[tuple, Tensor] = {}

    def ask(y: Tensor, sigma=None) -> Tensor:
        key = (sigma, y.shape, y.dtype, hashlib.sha256(y.detach().cpu().contiguous().numpy().tobytes()).digest())
        if key not in answers:
            answers[key] = denoiser(y, sigma).detach()
        return answers[key]

    return ask


def _squared_differences(denoiser, optimal, x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """‖f − f*‖² and ‖f − x‖² − ‖f* − x‖² of each point, sums over pixels: (2, B)."""
    f = denoise(denoiser, y, sigma).flatten(1).double()
    best = denoise(optimal, y, sigma, name="optimal").flatten(1).double()
    x = x.flatten(1).double()
    # the second as a product: its two terms may agree to many digits
    return torch.stack([(f - best).square().sum(1), ((f - best) * (f + best - 2 * x)).sum(1)])


def _levels(sigmas: Sequence[float]) -> Tensor:
    levels = torch.tensor(noise_levels(sigmas), dtype=torch.float64)
    steps = levels.diff()
    ordered = bool((steps > 0).all() or (steps < 0).all())
    if len(levels) < 3 or not ordered:
        raise ValueError(f"sigmas must be three or more positive levels, rising or falling, got {levels.tolist()}")
    return levels


def _bound(levels: Tensor, distance: Tensor, excess: Tensor) -> KLBound:
    """The integrals of (S, n) integrands and their errors."""
    weights = quadrature_weights(levels)
    by_sigma, by_sigma_stderr = mean_and_error(distance)
    value, stderr = mean_and_error(weights @ distance)
    excess_value, excess_stderr = mean_and_error(weights @ excess)
    kept = sorted({*range(0, len(levels), 2), len(levels) - 1})
    rougher = [quadrature_weights(levels[kept]) @ by_sigma[kept], torch.trapezoid(by_sigma, levels.log()).abs()]
    return KLBound(
        value=value.item(),
        stderr=stderr.item(),
        quadrature=max(abs(value - other).item() for other in rougher),
        excess=excess_value.item(),
        excess_stderr=excess_stderr.item(),
        sigmas=levels,
        by_sigma=by_sigma,
        by_sigma_stderr=by_sigma_stderr,
        excess_by_sigma=excess.mean(dim=1),
        per_image=distance,
        excess_per_image=excess,
    )
