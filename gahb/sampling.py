r"""Drawing images from the density that is implicit in a denoiser.

All samplers start from noise, $y = m + \sigma_{\max} z$, and go down the noise
levels by steps along the residual $f(y) - y$, which is $\sigma^2$ times the
score (Miyasawa). They differ in how long the step is, and in how much noise is
put back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ._progress import bar
from ._validate import check_eval, check_sigma_range, positive_int, positive_number
from .contract import denoise
from .kernels.counter import normal

METHODS = ("stochastic", "ddim", "gradient-estimation")


@torch.no_grad()
def sample(
    denoiser,
    n: int,
    shape: Sequence[int],
    *,
    seed: int = 0,
    method: str = "stochastic",
    sigma_range: tuple[float, float] = (0.01, 1.0),
    mean: float | Tensor = 0.5,
    h: float = 0.05,
    beta: float = 0.5,
    blind: bool | None = None,
    steps: int = 30,
    batch: int = 64,
    dtype: torch.dtype | None = None,
    device=None,
    callback: Callable | None = None,
    progress: bool = True,
) -> Tensor:
    r"""Draw n images from the density that `denoiser` holds; (n, \*shape).

    From $y = m + \sigma_{\max} z$ down to $\sigma_{\min}$, where $f(y)$ is
    returned. With $\hat x = f(y)$, one step of

    "stochastic" (Kadkhodaie & Simoncelli, NeurIPS 2021) is

    $$y \leftarrow y + h\,(\hat x - y) + \gamma z, \qquad
      \gamma^2 = \bigl[(1-\beta h)^2 - (1-h)^2\bigr]\,\sigma^2,$$

    which takes σ to $(1-\beta h)\,\sigma$; there are
    $\log(\sigma_{\max}/\sigma_{\min})/\beta h$ steps. A blind denoiser follows
    the algorithm as published: σ is estimated from the residual,
    $\|\hat x - y\|/\sqrt d$, and each image stops by itself once that is
    $\le \sigma_{\min}$. The residual falls short of the noise by what the
    denoiser keeps of it. A blind denoiser, which reads σ off y, so stops too
    early, at a σ above $\sigma_{\min}$; one that is told this σ (`blind=True`)
    is biased unless its images lie near a manifold of few dimensions: a
    Gaussian's variance comes out 2.7 times too large in place of 0.97 times on
    the schedule, at h = 0.05, β = 0.5.

    "ddim" is Euler's method in σ for the probability flow
    $\mathrm dy/\mathrm d\sigma = (y - \hat x)/\sigma$ (Song, Meng & Ermon 2021),
    on `steps` noise levels at equal distances in log σ,

    $$y \leftarrow y + (\sigma' - \sigma)\,\epsilon, \qquad \epsilon = (y - \hat x)/\sigma;$$

    "gradient-estimation" (Permenter & Yuan, ICML 2024) takes
    $2\epsilon - \epsilon_{\text{before}}$ in its place. Both are deterministic
    given the first noise.

    Parameters
    ----------
    n, shape : how many images, and the shape of one, such as (C, H, W).
    seed : ≥ 0. All noise of image i depends only on (seed, i) and the step:
        two denoisers given one seed start from the same noise, and an image
        comes out the same alone and among others, but for rounding.
    sigma_range : $(\sigma_{\min}, \sigma_{\max})$.
    mean : m, a number or a tensor that broadcasts to (n, \*shape). Clean images
        here make the start a draw from $p_{\sigma_{\max}}$.
    h, beta : step h and noise level kept β of "stochastic", both in (0, 1]; at
        β = 1 no noise is injected.
    blind : of "stochastic", see above; None: whether `denoiser` does without σ.
    steps : ≥ 2, noise levels of the other two: evaluations of the denoiser.
    batch : images sampled at a time.
    dtype, device : by default of the network's weights (else float32, CPU).
    callback : called at every step as ``callback(step, images, sigma, y, x_hat)``
        with the indices (b,) of the images still on their way, their noise
        levels (b,), and their y and $\hat x$ (b, \*shape).

    Raises
    ------
    ValueError for an argument out of range or a network in training mode;
    RuntimeError if a blind denoiser's noise level does not fall to σ_min in ten
    times the steps of the schedule.
    """
    check_eval(denoiser)
    positive_int("n", n), positive_int("seed", seed, at_least=0)
    positive_int("batch", batch), positive_int("steps", steps, at_least=2)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if max(positive_number("h", h), positive_number("beta", beta)) > 1:
        raise ValueError(f"h and beta must be in (0, 1], got {h!r} and {beta!r}")
    low, high = check_sigma_range(sigma_range)
    mean = _first_mean(mean, n, shape, denoiser, dtype, device)

    def noise(images: Tensor, step: int | str) -> Tensor:
        first, count = int(images[0]), int(images[-1] - images[0]) + 1
        z = normal(seed, f"sample {step}", first, count, mean[0].numel(), mean.device)
        return z[images - first].to(mean).unflatten(1, mean.shape[1:])

    def watch(step: int, images: Tensor, sigma: Tensor, y: Tensor, x_hat: Tensor) -> None:
        ticks.update()
        if callback is not None:
            callback(step, images, sigma, y, x_hat)

    if method == "stochastic":
        levels = [high]
        while levels[-1] > low:
            levels.append(levels[-1] * (1 - beta * h))
        if blind is None:
            blind = _does_without_sigma(denoiser, mean[:1])

        def run(y: Tensor, images: Tensor) -> Tensor:
            return _stochastic(denoiser, y, images, levels, low if blind else None, h, beta, noise, watch)
    else:
        levels, blind = np.geomspace(high, low, steps).tolist(), False
        weight = 1 if method == "ddim" else 2

        def run(y: Tensor, images: Tensor) -> Tensor:
            return _deterministic(denoiser, y, images, levels, weight, watch)

    total = None if blind else len(levels) * math.ceil(n / batch)
    with bar(None, progress=progress, total=total, desc="sample", unit="step") as ticks:
        parts = torch.arange(n).split(batch)
        return torch.cat([run(mean[images] + high * noise(images, "start"), images) for images in parts])


def _stochastic(denoiser, y, images, levels, low, h, beta, noise, watch) -> Tensor:
    """On the schedule, or (if σ_min is given) with σ from the residual, image by image."""
    out, first = torch.empty_like(y), images[0]
    injected = math.sqrt((1 - beta * h) ** 2 - (1 - h) ** 2)
    sigma = y.new_full((len(y),), levels[0])
    for step in range(len(levels) if low is None else 10 * len(levels)):
        if low is None:
            sigma = torch.full_like(sigma, levels[step])
        x_hat = denoise(denoiser, y, sigma)
        if low is not None:
            sigma = (x_hat - y).flatten(1).square().mean(dim=1).sqrt()
        watch(step, images, sigma, y, x_hat)
        if low is not None:
            going = ~(sigma <= low).cpu()  # NaN goes on, to the error below
            out[images[~going] - first] = x_hat[~going]
            images, sigma, y, x_hat = (t[going] for t in (images, sigma, y, x_hat))
            if len(images) == 0:
                return out
        y = y + h * (x_hat - y)
        if injected:
            y = y + injected * sigma.reshape(-1, *[1] * (y.ndim - 1)) * noise(images, step)
    if low is None:
        return x_hat
    raise RuntimeError(
        f"{len(images)} of {len(out)} images did not come down to a noise level of {low:g} in {step + 1} steps; "
        f"they are at {float(sigma.min()):.3g} to {float(sigma.max()):.3g}"
    )


def _deterministic(denoiser, y, images, levels, weight, watch) -> Tensor:
    """Euler steps along weight × ε + (1 − weight) × the ε before."""
    before = None
    for step, level in enumerate(levels):
        sigma = y.new_full((len(y),), level)
        x_hat = denoise(denoiser, y, sigma)
        watch(step, images, sigma, y, x_hat)
        if step + 1 < len(levels):
            epsilon = (y - x_hat) / level
            direction = epsilon if before is None else weight * epsilon + (1 - weight) * before
            y, before = y + (levels[step + 1] - level) * direction, epsilon
    return x_hat


def _first_mean(mean, n: int, shape, denoiser, dtype, device) -> Tensor:
    """The start without its noise, (n, *shape), in the dtype and on the device to sample in."""
    try:
        shape = tuple(positive_int("shape", side) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape must be the sides of one image, such as (1, 32, 32), got {shape!r}") from None
    weight = next(denoiser.parameters(), None) if isinstance(denoiser, nn.Module) else None
    like = (torch.empty(0) if weight is None else weight).new_empty(0, dtype=dtype, device=device)
    mean = torch.as_tensor(mean).to(like)
    try:
        return mean.expand(n, *shape)
    except RuntimeError:
        raise ValueError(
            f"mean must be a number or broadcast to {(n, *shape)}, got shape {tuple(mean.shape)}"
        ) from None


def _does_without_sigma(denoiser, y: Tensor) -> bool:
    try:
        denoiser(y)
    except (TypeError, ValueError):
        return False
    return True
