r"""What a network is asked for: the clean image, or the noise that was added last.

"denoising": $y = x + \sigma z$, and the target is x.

"increment" (after Yi, Sun & Li 2023): noise is added twice,

$$x_s = x + \sigma_s z, \qquad y = x_s + \tau\xi, \qquad
  \sigma_s^2 = u\,\sigma^2, \quad \tau^2 = (1-u)\,\sigma^2,$$

u uniform in [0, 1), and ξ is to be predicted. As $\mathbb E[\xi \mid y] =
\tau\,(y - f^\star(y))/\sigma^2$, a denoiser f predicts it by
$\tau\,(y - f(y))/\sigma^2$, and

$$\sigma^2\,\bigl\|\xi - \tau\,(y - f(y))/\sigma^2\bigr\|^2 = (1-u)\,\|f(y) - \tilde x\|^2,
  \qquad \tilde x = y - \sigma^2\xi/\tau.$$

With fresh z the target $\tilde x$ is x plus noise of variance
$\sigma^2 u/(1-u)$ that is independent of y: the minimiser is that of
"denoising", for any law of x. With `bank` noises z kept for each image it is not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .._points import per_point
from ..kernels.counter import normal
from .batches import Batch, mix, picked


class Task(NamedTuple):
    """What the network is given in one step, and what it should return."""

    y: Tensor  #: (b, …) noisy images
    target: Tensor  #: (b, …)
    sigma: Tensor  #: (b,) noise levels of y
    weight: Tensor  #: (b,) of the squared errors, on top of the weight of the noise level


def denoising(batch: Batch) -> Task:
    """y = x + σz, and x."""
    x, sigma, z = batch
    return Task(x + per_point(sigma, x) * z, x, sigma, torch.ones_like(sigma))


def increment(batch: Batch, z: Tensor, u: Tensor) -> Task:
    """y = x + σ√u z + σ√(1−u) ξ, with the ξ of `batch`, and the target with the weight 1 − u."""
    x, sigma, xi = batch
    left = per_point((1 - u).sqrt(), x)
    y = x + per_point(sigma, x) * (per_point(u.sqrt(), x) * z + left * xi)
    return Task(y, y - per_point(sigma, x) / left * xi, sigma, 1 - u)


class Increments:
    """What "increment" draws beside the batch of a step: z and u, from (seed, step) only."""

    def __init__(self, known: Tensor, bank: int | None, *, batch: int, seed: int):
        self.images, self.bank, self.batch, self.seed = len(known), bank, batch, seed
        self.shape = tuple(known.shape[1:])
        if bank is not None:
            kept = normal(seed, "bank", 0, self.images * bank, math.prod(self.shape))
            self.kept = kept.unflatten(1, self.shape)  # noise b of image i is number i·bank + b

    def draw(self, step: int, mine: slice, *, to: Tensor) -> tuple[Tensor, Tensor]:
        """z (b, …) and u (b,) of the share `mine` of a step's batch, like `to`."""
        generator = torch.Generator().manual_seed(mix(mix(self.seed, step), 1))
        u = torch.rand(self.batch, generator=generator)
        if self.bank is None:
            z = torch.randn((self.batch, *self.shape), generator=generator)
        else:
            which = torch.randint(self.bank, (self.batch,), generator=generator)
            z = self.kept[picked(self.images, self.batch, self.seed, step) * self.bank + which]
        return z[mine].to(to), u[mine].to(to)
