r"""Drawing images from the density that is implicit in a denoiser.

All samplers start from noise, $y = m + \sigma_{\max} z$, and go down the noise
levels by steps along the residual $f(y) - y$, which is $\sigma^2$ times the
score (Miyasawa). They differ in how long the step is, and in how much noise is
put back. A method here has its settings, its noise levels, and a walk: a
generator that yields every evaluation of the denoiser.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from ._points import per_point
from ._progress import bar
from ._validate import check_denoises, check_sigma_range, positive_int, positive_number
from .contract import Denoiser, denoise, is_blind
from .denoisers.closed_form import Gaussian
from .inverse import Given, Measure
from .kernels.counter import normal


class Settings(TypedDict, total=False):
    """The settings of all methods of :func:`gahb.sample`; each takes its own."""

    h: float
    beta: float
    blind: bool | None
    steps: int
    gamma: float
    mu: float


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    n: int,
    shape: Sequence[int],
    *,
    seed: int = 0,
    method: str = "stochastic",
    start: Tensor | Gaussian | None = None,
    start_index: int = 0,
    sigma_range: tuple[float, float] = (0.01, 1.0),
    measure: Measure | Tensor | None = None,
    values: Tensor | None = None,
    gain: str = "covariance",
    batch: int = 64,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    callback: Callable[[int, Tensor, Tensor, Tensor, Tensor], object] | None = None,
    progress: bool = True,
    **settings: Unpack[Settings],
) -> Tensor:
    r"""Draw n images from the density that is implicit in `denoiser`; (n, \*shape).

    From $y = m + \sigma_{\max} z$ down to $\sigma_{\min}$, where $f(y)$ is
    returned. With $\hat x = f(y)$, one step of

    "stochastic" (Kadkhodaie & Simoncelli, NeurIPS 2021) is

    $$y \leftarrow y + h\,(\hat x - y) + \gamma z, \qquad
      \gamma^2 = \bigl[(1-\beta h)^2 - (1-h)^2\bigr]\,\sigma^2,$$

    which takes σ to $(1-\beta h)\,\sigma$; there are
    $\log(\sigma_{\max}/\sigma_{\min})/\beta h$ steps. A blind denoiser follows
    the algorithm as published: σ is estimated from the residual,
    $\|\hat x - y\|/\sqrt d$, and each image stops by itself once that is
    $\le \sigma_{\min}$. The residual is smaller than the noise, because the
    denoiser keeps a part of the noise. A blind denoiser, which reads σ off y,
    therefore stops too early, at a σ above $\sigma_{\min}$; one that is told
    this σ (`blind=True`) is biased unless its images lie near a manifold of few
    dimensions: a Gaussian's variance comes out 2.7 times too large in place of
    0.97 times on the schedule, at h = 0.05, β = 0.5.

    "ddim" is Euler's method in σ for the probability flow
    $\mathrm dy/\mathrm d\sigma = (y - \hat x)/\sigma$ (Song, Meng & Ermon 2021),
    on `steps` noise levels at equal distances in log σ,

    $$y \leftarrow y + (\sigma' - \sigma)\,\epsilon, \qquad \epsilon = (y - \hat x)/\sigma;$$

    "gradient-estimation" (Permenter & Yuan, ICML 2024) takes
    $\gamma\epsilon + (1 - \gamma)\,\epsilon_{\text{before}}$ in place of ε. Both
    are deterministic given the first noise.

    "ddpm" goes to a lower level σ″ and back up by fresh noise,

    $$y \leftarrow y + (\sigma'' - \sigma)\,\epsilon + \sqrt{\sigma'^2 - \sigma''^2}\,z,
      \qquad \sigma' = \sigma^{\mu}\,\sigma''^{\,1-\mu},$$

    with μ = 0 for DDIM and μ = ½ for the steps of Ho, Jain & Abbeel (NeurIPS 2020).

    With `measure` and `values`, $\hat x$ is an estimate of $\mathbb E[x \mid y, v]$
    at every step, and the images drawn have the values v, $Ax = v$: inpainting,
    super-resolution, deblurring (``gahb.inverse``). The start keeps its law,
    so that a Gaussian `start` should be that of images with these values
    (:meth:`gahb.Gaussian.given`).

    Parameters
    ----------
    n, shape : how many images, and the shape of one, such as (C, H, W).
    seed : ≥ 0. All noise of image i depends only on (seed, i) and the step:
        two denoisers given one seed start from the same noise, and an image
        comes out the same alone and among others, up to rounding.
    method : "stochastic", "ddim", "gradient-estimation" or "ddpm".
    start : m. None: grey, ½ everywhere. Clean images (n, \*shape) make the
        start a draw from $p_{\sigma_{\max}}$. A :class:`gahb.Gaussian` of
        images, such as ``gahb.Gaussian.of(images)``: m of image i is a draw
        from it that depends only on (seed, i).
    start_index : number of the first image, ≥ 0: ``n=1, start_index=37`` draws
        image 37 alone, the 38th of a batch. Clean images in `start` are those
        of the images drawn.
    sigma_range : $(\sigma_{\min}, \sigma_{\max})$, in the units of the images.
    measure, values : a linear A with orthonormal rows, as a matrix (m, d) or a
        function of images (B, \*shape) to values (B, …); and what it makes of the
        images to be drawn, (…) for all of them or (n, …).
    gain : how $\hat x$ follows from $f(y)$ and v: $f(y) + K\,(v - A f(y))$.
        "covariance": $K = J A^\top(A J A^\top)^{-1}$ with $J = \nabla f(y)$,
        exact for a Gaussian; it needs tens of products with J at each step, and
        a J that is nearly symmetric and positive: for a network it often is
        not, and then little is gained. "adjoint": $K = A^\top$ (Kadkhodaie &
        Simoncelli 2021), which needs none; its law is wrong, of a Gaussian too,
        unless "stochastic" walks slowly, with β of 0.05 or less.
    batch : images sampled at a time (changes nothing but speed, up to rounding).
    dtype, device : by default of the network's weights (else float32, CPU).
    callback : called at every step as ``callback(step, images, sigma, y, x_hat)``
        with the numbers (b,) of the images still on their way, their noise
        levels (b,), and their y and $\hat x$ (b, \*shape).
    progress : whether to show a bar, where the output is a terminal.
    h, beta : of "stochastic": step h, 0.05, and noise level kept β, 0.5; both
        in (0, 1]. At β = 1 no noise is injected.
    blind : of "stochastic", see above; None: whether `denoiser` works without σ.
    steps : of the other three: noise levels, and evaluations of the denoiser, 30;
        at least 2.
    gamma : of "gradient-estimation": γ > 0, 2; "ddim" is γ = 1.
    mu : of "ddpm", and of "gradient-estimation" where it is 0 if not given: μ in
        [0, 1), ½.

    Raises
    ------
    ValueError : for an argument out of range, a network in training mode, or a
        denoiser that breaks the contract (:func:`gahb.check_denoiser`).
    TypeError : for a setting that the method does not have.
    RuntimeError : if a blind denoiser's noise level does not fall to σ_min in ten
        times the steps of the schedule.

    Examples
    --------
    The optimal denoiser of three points draws these points:

    >>> import gahb, torch
    >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> drawn = gahb.sample(gahb.Empirical(points), 100, (2,), method="ddim", seed=1)
    >>> drawn.abs().round(decimals=3).unique(dim=0)
    tensor([[0., 0.],
            [0., 1.],
            [1., 0.]])

    Image 37 alone is the 38th of the batch:

    >>> alone = gahb.sample(gahb.Empirical(points), 1, (2,), method="ddim", seed=1, start_index=37)
    >>> torch.allclose(alone[0], drawn[37])
    True

    A disk from 4 × 4 means over squares:

    >>> x, means = gahb.images.disks(1, 16), gahb.inverse.block_means(4)
    >>> prior = gahb.Gaussian.of(gahb.images.disks(500, 16, seed=1))
    >>> drawn = gahb.sample(prior, 3, (1, 16, 16), method="ddim", steps=5, measure=means, values=means(x)[0])
    >>> bool((means(drawn) - means(x)).abs().max() < 0.01)
    True
    """
    check_denoises(denoiser)
    positive_int("n", n)
    positive_int("seed", seed, at_least=0)
    positive_int("batch", batch)
    positive_int("start_index", start_index, at_least=0)
    sampler = _sampler(method, settings)
    low, high = check_sigma_range(sigma_range)
    clean = _clean_images(start, n, shape, seed, start_index, _place(denoiser, dtype, device))
    if isinstance(sampler, Stochastic) and sampler.blind is None:
        sampler = Stochastic(sampler.h, sampler.beta, is_blind(denoiser, clean[:1]))

    if (measure is None) != (values is None):
        raise ValueError(f"values must be given with measure, and only with it, got measure = {measure!r} and "
                         f"values = {values!r}")
    given = None if measure is None else Given(measure, values, clean, gain)

    def answer(y: Tensor, sigma: Tensor, images: Tensor) -> Tensor:
        """What is known of the numbered images from y."""
        return denoise(denoiser, y, sigma) if given is None else given(denoiser, y, sigma, images - start_index)

    def noise(images: Tensor, step: int | str) -> Tensor:
        """Unit noise z of the numbered images at a step, (b, *shape)."""
        first, count = int(images[0]), int(images[-1] - images[0]) + 1
        z = normal(seed, f"sample {step}", first, count, clean[0].numel(), clean.device)
        return z[images - first].to(clean).unflatten(1, clean.shape[1:])

    out = torch.empty_like(clean, memory_format=torch.contiguous_format)
    steps = sampler.steps_of(low, high)
    total = None if steps is None else steps * math.ceil(n / batch)
    with bar(None, progress=progress, total=total, desc="sample", unit="step") as ticks:
        for part in torch.arange(n).split(batch):
            images = start_index + part
            y = clean[part] + high * noise(images, "start")
            for step in sampler.walk(answer, y, images, low, high, noise):
                ticks.update()
                if callback is not None:
                    callback(step.number, step.images, step.sigma, step.y, step.x_hat)
                arrived = step.arrived.cpu()
                out[step.images[arrived] - start_index] = step.x_hat[arrived]
    return out


@dataclass(frozen=True)
class Step:
    """One evaluation of the denoiser, at the images that are still on their way."""

    number: int
    images: Tensor  #: (b,) their numbers, on the CPU
    sigma: Tensor  #: (b,) their noise levels
    y: Tensor  #: (b, …)
    x_hat: Tensor  #: (b, …) what the denoiser returned
    arrived: Tensor  #: (b,) whether `x_hat` is the image drawn


Answer = Callable[[Tensor, Tensor, Tensor], Tensor]  # y, σ, numbers of the images
Noise = Callable[[Tensor, int | str], Tensor]


@dataclass(frozen=True)
class Stochastic:
    """Partial denoising steps with noise put back: the algorithm of Kadkhodaie & Simoncelli (2021)."""

    h: float = 0.05
    beta: float = 0.5
    blind: bool | None = None

    def __post_init__(self):
        if max(positive_number("h", self.h), positive_number("beta", self.beta)) > 1:
            raise ValueError(f"h and beta must be in (0, 1], got {self.h!r} and {self.beta!r}")

    def levels(self, low: float, high: float) -> list[float]:
        """σ, falling by 1 − βh a step, until it is at most `low`."""
        levels = [high]
        while levels[-1] > low:
            levels.append(levels[-1] * (1 - self.beta * self.h))
        return levels

    def steps_of(self, low: float, high: float) -> int | None:
        """Evaluations an image; None where they depend on the image."""
        return None if self.blind else len(self.levels(low, high))

    def walk(self, answer: Answer, y: Tensor, images: Tensor, low: float, high: float, noise: Noise) -> Iterator[Step]:
        """Every evaluation on the way from y."""
        if self.blind:
            return self._by_residual(answer, y, images, low, high, noise)

        def move(number: int, y: Tensor, x_hat: Tensor, sigma: float, _following: float) -> Tensor:
            return self._move(number, images, y, x_hat, y.new_full((len(y),), sigma), noise)

        return _down_the_levels(answer, y, images, self.levels(low, high), move)

    def _by_residual(self, answer, y, images, low, high, noise) -> Iterator[Step]:
        """As published: σ is read off the residual of each image, which stops once that is at most `low`."""
        count, sigma = len(images), y.new_full((len(y),), high)
        limit = 10 * len(self.levels(low, high))
        for number in range(limit):
            x_hat = answer(y, sigma, images)
            sigma = (x_hat - y).flatten(1).square().mean(dim=1).sqrt()
            arrived = sigma <= low
            yield Step(number, images, sigma, y, x_hat, arrived)
            images, sigma, y, x_hat = images[~arrived.cpu()], sigma[~arrived], y[~arrived], x_hat[~arrived]
            if len(images) == 0:
                return
            y = self._move(number, images, y, x_hat, sigma, noise)
        raise RuntimeError(
            f"{len(images)} of {count} images did not come down to a noise level of {low:g} in {limit} steps; "
            f"they are at {float(sigma.min()):.3g} to {float(sigma.max()):.3g}"
        )

    def _move(self, number: int, images: Tensor, y: Tensor, x_hat: Tensor, sigma: Tensor, noise: Noise) -> Tensor:
        injected = math.sqrt((1 - self.beta * self.h) ** 2 - (1 - self.h) ** 2)
        y = y + self.h * (x_hat - y)
        return y + injected * per_point(sigma, y) * noise(images, number) if injected else y


@dataclass(frozen=True)
class DDIM:
    """Euler steps of the probability flow, deterministic (Song, Meng & Ermon 2021)."""

    steps: int = 30

    gamma, mu = 1.0, 0.0  # no settings of this method

    def __post_init__(self):
        positive_int("steps", self.steps, at_least=2)
        positive_number("gamma", self.gamma)
        if isinstance(self.mu, bool) or not isinstance(self.mu, numbers.Real) or not 0 <= self.mu < 1:
            raise ValueError(f"mu must be a number in [0, 1), got {self.mu!r}")

    def levels(self, low: float, high: float) -> list[float]:
        """`steps` noise levels from `high` to `low`, at equal distances in log σ."""
        return np.geomspace(high, low, self.steps).tolist()

    def steps_of(self, low: float, high: float) -> int:
        """Evaluations an image."""
        return self.steps

    def walk(self, answer: Answer, y: Tensor, images: Tensor, low: float, high: float, noise: Noise) -> Iterator[Step]:
        """Every evaluation on the way from y."""
        before = None

        def move(number: int, y: Tensor, x_hat: Tensor, sigma: float, following: float) -> Tensor:
            nonlocal before
            epsilon = (y - x_hat) / sigma
            direction = epsilon if before is None else self.gamma * epsilon + (1 - self.gamma) * before
            before = epsilon
            down = (following / sigma**self.mu) ** (1 / (1 - self.mu))  # σ″ of σ′ = σ^μ σ″^(1 − μ)
            y = y + (down - sigma) * direction
            return y + math.sqrt(following**2 - down**2) * noise(images, number) if self.mu else y

        return _down_the_levels(answer, y, images, self.levels(low, high), move)


@dataclass(frozen=True)
class GradientEstimation(DDIM):
    """Euler steps along γ times this unit noise less γ − 1 times the one before (Permenter & Yuan 2024)."""

    gamma: float = 2.0
    mu: float = 0.0


@dataclass(frozen=True)
class DDPM(DDIM):
    """Steps to a lower noise level, and back up by fresh noise (Ho, Jain & Abbeel 2020 at μ = ½)."""

    mu: float = 0.5


METHODS = {"stochastic": Stochastic, "ddim": DDIM, "gradient-estimation": GradientEstimation, "ddpm": DDPM}


def _down_the_levels(answer: Answer, y: Tensor, images: Tensor, levels: list[float], move) -> Iterator[Step]:
    """At each noise level: denoise, and move to the next; what is denoised at the last is the image."""
    for number, (sigma, following) in enumerate(zip(levels, [*levels[1:], None])):
        told = y.new_full((len(y),), sigma)
        x_hat = answer(y, told, images)
        yield Step(number, images, told, y, x_hat, torch.full_like(told, following is None, dtype=torch.bool))
        if following is not None:
            y = move(number, y, x_hat, sigma, following)


def _sampler(method: str, settings: Settings):
    """The method with its settings."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    own = [field.name for field in fields(METHODS[method])]
    if unknown := sorted(set(settings) - set(own)):
        raise TypeError(f"settings of method={method!r} are {', '.join(own)}, got {', '.join(unknown)}")
    return METHODS[method](**settings)


def _place(denoiser, dtype: torch.dtype | None, device) -> Tensor:
    """An empty tensor of the dtype and on the device to sample in."""
    weight = next(denoiser.parameters(), None) if isinstance(denoiser, nn.Module) else None
    return (torch.empty(0) if weight is None else weight).new_empty(0, dtype=dtype, device=device)


def _clean_images(start, n: int, shape, seed: int, start_index: int, place: Tensor) -> Tensor:
    """m, the start without its noise: (n, *shape)."""
    try:
        shape = tuple(positive_int("shape", side) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape must be the sides of one image, such as (1, 32, 32), got {shape!r}") from None
    if start is None:
        return torch.full((), 0.5).to(place).expand(n, *shape)
    if isinstance(start, Gaussian):
        if start.d != math.prod(shape):
            raise ValueError(f"start must be a Gaussian of images of {math.prod(shape)} values, got one of {start.d}")
        return start.sample(n, seed=seed, start=start_index).reshape(n, *shape).to(place)
    if not isinstance(start, Tensor):
        raise TypeError(f"start must be None, clean images or a gahb.Gaussian, got {type(start).__name__}")
    if start.shape != (n, *shape):
        raise ValueError(f"start must be {(n, *shape)}, a clean image for each one drawn, got {tuple(start.shape)}")
    if len(shape) == 3 and float(start.abs().max()) > 16:  # of another scale than the noise levels
        raise ValueError(f"start must be in the units of sigma_range, images in [0, 1] by default, got values up to "
                         f"{float(start.abs().max()):.4g}")
    return start.to(place)
