r"""A law that clean images obey, as a part of the loss.

Clean images have $r(x) = 0$, or $r(x) \le 0$. Bastek, Sun & Kochmann (ICLR
2025) treat $r$ as a quantity that is observed to be 0, with a variance in
proportion to that of the noise, and add its log-likelihood to the loss. The
estimate of x that stands in it is the denoiser's, which is a mean, or what a
few steps of DDIM make of it, which is nearer to a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .._points import per_point
from .._validate import positive_int, positive_number
from ..contract import Denoiser

Penalty = Callable[[Denoiser, Tensor, Tensor, Tensor], Tensor]
ESTIMATES, KINDS = ("mean", "sample"), ("equality", "inequality")


@dataclass(frozen=True)
class Constraint:
    r"""The penalty of a differentiable constraint, for :func:`gahb.fit`.

    $$\ell = \frac{c}{2\sigma^2}\,\frac1m\sum_{j=1}^m r_j(\tilde x)^2$$

    for each noisy image, with m the number of the residuals. For an inequality,
    $r_j$ is replaced by $\max(r_j, 0)$. The estimate $\tilde x$ is $f(y)$
    ("mean"), or "sample": DDIM from y at σ down to `sigma_min`, in `steps`
    evaluations of f through which gradients pass. With 2 steps,

    $$\tilde x = f\bigl(\hat x + \tfrac{\sigma_{\min}}{\sigma}(y - \hat x),\ \sigma_{\min}\bigr),
      \qquad \hat x = f(y, \sigma).$$

    The minimiser of the squared error alone is $f^\star(y) = \mathbb E[x \mid y]$,
    and r of a mean is not the mean of r. Where r is not linear, the mean
    version therefore asks for another f than the data do, at every σ at which
    the posterior is broad; the sample version asks it at `sigma_min` only.

    Parameters
    ----------
    residual : images (B, …) → residuals (B, …), differentiable.
    c : weight, positive.
    estimate : "mean" or "sample".
    kind : "equality", r = 0, or "inequality", r ≤ 0.
    steps : of "sample": evaluations of the denoiser, at least 2.
    sigma_min : of "sample": the last noise level; where σ is below, f(y) is taken.

    Raises
    ------
    ValueError : for an argument out of range.
    TypeError : for a `residual` that cannot be called.

    References
    ----------
    Bastek, Sun & Kochmann (ICLR 2025), where the variance is that of a reverse
    step: on noise levels in geometric progression it is proportional to σ².

    Examples
    --------
    Points of a circle. Their posterior mean lies inside it, so that the two
    estimates have different residuals:

    >>> import gahb, torch
    >>> angles = 6.2832 * torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))
    >>> points = torch.cat([angles.cos(), angles.sin()], dim=1)
    >>> def circle(x):
    ...     return x.square().sum(dim=1) - 1
    >>> exact, sigma = gahb.Empirical(points), torch.full((2000,), 0.5)
    >>> y = points + 0.5 * torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    >>> for estimate in ("mean", "sample"):
    ...     constraint = gahb.training.Constraint(circle, c=0.1, estimate=estimate)
    ...     value = constraint(exact, y, sigma, exact(y, sigma)).mean()
    ...     print(estimate, bool(value > 1e-4))
    mean True
    sample False

    A network that is trained with it:

    >>> how = dict(optimiser="adam", steps=20, progress=False)
    >>> network = gahb.fit(gahb.PointNetwork(2, width=32), points, penalty=constraint, **how)

    The half plane $x_1 \ge 0$ as an inequality:

    >>> half = gahb.training.Constraint(lambda x: -x[:, :1], c=1.0, kind="inequality")
    >>> half.squares(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))
    tensor([4., 0.])
    """

    residual: Callable[[Tensor], Tensor]
    c: float
    estimate: str = "mean"
    kind: str = "equality"
    steps: int = 2
    sigma_min: float = 0.01

    def __post_init__(self):
        if not callable(self.residual):
            raise TypeError(f"residual must be a function of images, got {type(self.residual).__name__}")
        positive_number("c", self.c)
        positive_number("sigma_min", self.sigma_min)
        positive_int("steps", self.steps, at_least=2)
        for name, allowed in (("estimate", ESTIMATES), ("kind", KINDS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")

    def __call__(self, denoiser: Denoiser, y: Tensor, sigma: Tensor, x_hat: Tensor) -> Tensor:
        """ℓ of each noisy image, (B,), where `denoiser` has made `x_hat` of `y` (B, …) at `sigma` (B,)."""
        if self.estimate == "sample":
            x_hat = self._sample(denoiser, y, sigma, x_hat)
        return self.c / (2 * sigma**2) * self.squares(x_hat)

    def squares(self, x: Tensor) -> Tensor:
        """Mean square of the residuals of each image, or of what is above 0 of them, (B,)."""
        r = self.residual(x)
        return (r.relu() if self.kind == "inequality" else r).square().reshape(len(x), -1).mean(dim=1)

    def _sample(self, denoiser: Denoiser, y: Tensor, sigma: Tensor, x_hat: Tensor) -> Tensor:
        """DDIM on levels at equal distances in log σ."""
        ratio = (self.sigma_min / sigma).clamp(max=1) ** (1 / (self.steps - 1))
        for _ in range(self.steps - 1):
            y, sigma = x_hat + per_point(ratio, y) * (y - x_hat), ratio * sigma
            x_hat = denoiser(y, sigma).float()
        return x_hat

    def identity(self) -> str:
        """What a checkpoint is known by."""
        name = getattr(self.residual, "__qualname__", type(self.residual).__name__)
        return f"{name} {self.kind} c={self.c:g} {self.estimate} steps={self.steps} sigma_min={self.sigma_min:g}"
