r"""Exact optimal denoisers $f^\star(y) = \mathbb E[x \mid y]$ of densities known in closed form.

All take images (B, C, H, W) or points (B, d) of any float dtype, compute in
float64, and need `sigma`.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from .._validate import check_points, positive_int, sigma_vector
from ..kernels.counter import normal
from ..kernels.posterior import EmpiricalPosterior
from ..kernels.posterior_mean import PosteriorMean
from .placement import Placed, described


class _ClosedForm(Placed):
    """Flattens points, checks σ, and gives back the shape and dtype that came."""

    d: int  #: values of a point

    def __repr__(self) -> str:
        return described(self, d=self.d)

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        flat, variance = self._prepare(y, sigma)
        return self._mean(flat, variance).reshape(y.shape).to(y.dtype)

    def _prepare(self, y: Tensor, sigma) -> tuple[Tensor, Tensor]:
        check_points("y", y)
        if math.prod(y.shape[1:]) != self.d:
            raise ValueError(f"y must have d = {self.d} values a point, got shape {tuple(y.shape)}")
        flat = y.flatten(1).double()
        return flat, sigma_vector(sigma, flat).square()

    def _mean(self, y: Tensor, variance: Tensor) -> Tensor:
        raise NotImplementedError


class Empirical(_ClosedForm):
    r"""The optimal denoiser of a finite set of images: their softmax-weighted mean.

    $$f^\star(y) = \sum_i w_i x_i, \qquad
      w_i = \frac{\exp(-\|y - x_i\|^2/2\sigma^2)}{\sum_j \exp(-\|y - x_j\|^2/2\sigma^2)}$$

    This is what a network with unlimited capacity and training would become.
    Points in float64 are computed in float64; others to 1e-4 or better, most
    often to the rounding of the answer, at about the speed of two float32
    matrix products. On CUDA, with Triton installed and images of up to 2,048
    values on the device, by one fused kernel that reads each image once for
    every 16 points.
    Its Jacobian is the posterior covariance over σ², in forward and reverse
    mode, at a memory that does not depend on N; second derivatives, and
    derivatives in σ, are refused.

    Parameters
    ----------
    images : (N, …), N ≥ 1; float, or uint8 (then divided by 255). They are
        not copied: a memory-mapped array (``torch.from_numpy(numpy.memmap(…))``)
        may be larger than memory.
    block : images read at a time.

    Raises
    ------
    ValueError for no images, images that are not finite or block < 1; in a
    call, for points of another size and a sigma that is None or not positive.

    Examples
    --------
    Between two images, and near one of them:

    >>> import gahb, torch
    >>> f = gahb.Empirical(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> f(torch.tensor([[0.5, 0.5], [0.9, 0.9]]), 0.2)
    tensor([[0.5000, 0.5000],
            [1.0000, 1.0000]])
    """

    def __init__(self, images: Tensor, *, block: int = 1024):
        if not isinstance(images, Tensor) or images.ndim < 2 or len(images) == 0:
            raise ValueError(f"images must be a tensor (N, …) with N ≥ 1, got {_describe(images)}")
        self.block = positive_int("block", block)
        self._scale = 255.0 if images.dtype == torch.uint8 else 1.0
        self.images = images
        self.d = images[0].numel()
        self._flat = images.detach().flatten(1)
        total = torch.zeros(self.d, dtype=torch.float64, device=images.device)
        for start in range(0, len(images), block):
            total += self._flat[start : start + block].double().sum(dim=0)
        _check_finite("images", total)
        self._centre = total / len(images)

    def __repr__(self) -> str:
        return described(self, N=len(self.images), shape=tuple(self.images.shape[1:]))

    def to(self, device=None, dtype=None) -> Self:
        moved = super().to(device, dtype)
        moved._flat = moved.images.detach().flatten(1)  # the same memory, and not twice the images
        return moved

    to.__doc__ = Placed.to.__doc__

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        flat, variance = self._prepare(y, sigma)
        # uint8 images: everything in units of 1/255; images on another device come block by block
        scale, exact = self._scale, y.dtype == torch.float64
        posterior = EmpiricalPosterior(self._flat, self._centre.to(y.device), self.block, exact=exact)
        mean = PosteriorMean.apply(flat * scale, variance * scale**2, posterior)
        return (mean / scale).reshape(y.shape).to(y.dtype)


class Gaussian(_ClosedForm):
    r"""The optimal denoiser of $\mathcal N(\mu, C)$: linear shrinkage in the eigenbasis of C.

    $$f^\star(y) = \mu + C (C + \sigma^2 \mathrm{Id})^{-1} (y - \mu)$$

    Parameters
    ----------
    mean : (d,) or image-shaped. covariance : (d, d), symmetric, eigenvalues ≥ 0.

    Raises
    ------
    ValueError for a covariance that is not (d, d), symmetric and finite with
    eigenvalues ≥ 0; in a call as for :class:`gahb.Empirical`.

    Examples
    --------
    >>> import gahb, torch
    >>> f = gahb.Gaussian(torch.zeros(2), torch.diag(torch.tensor([3.0, 0.0])))
    >>> f(torch.tensor([[1.0, 1.0]]), 1.0)
    tensor([[0.7500, 0.0000]])
    >>> f
    Gaussian(shape=(2,))
    """

    def __init__(self, mean: Tensor, covariance: Tensor):
        covariance = torch.as_tensor(covariance)
        self.mean = torch.as_tensor(mean).double()
        self.covariance = covariance.double()
        self.d = self.mean.numel()
        _check_finite("mean", self.mean)
        self._eigenvalues, self._basis = _eigen("covariance", covariance, self.d)

    def __repr__(self) -> str:
        return described(self, shape=tuple(self.mean.shape))

    @classmethod
    def of(cls, images: Tensor) -> Gaussian:
        r"""With the mean and covariance of `images` (n, …): the linear optimum of the set itself.

        $$\mu = \tfrac1n \sum_i x_i, \qquad C = \tfrac1n \sum_i (x_i - \mu)(x_i - \mu)^\top$$

        Needs d² numbers, d the values of an image. ValueError for no images.

        >>> import gahb, torch
        >>> gahb.Gaussian.of(gahb.images.disks(20, 8))
        Gaussian(shape=(1, 8, 8))
        """
        if images.ndim < 2 or len(images) == 0:
            raise ValueError(f"images must be (n, …) with n ≥ 1, got {tuple(images.shape)}")
        rows = images.flatten(1).double()
        centred = rows - rows.mean(0)
        return cls(rows.mean(0).reshape(images.shape[1:]), centred.T @ centred / len(rows))

    def given(self, measure: Tensor, values: Tensor) -> Gaussian:
        r"""The law of x once $Ax = v$ is known, a Gaussian with

        $$\mu + C A^\top (A C A^\top)^{+} (v - A\mu), \qquad C - C A^\top (A C A^\top)^{+} A C .$$

        Parameters
        ----------
        measure : A (m, d), any rows (:func:`gahb.inverse.matrix`). values : v, of m values.

        Raises
        ------
        ValueError for other shapes.

        Examples
        --------
        Of two equal numbers, one is known:

        >>> import gahb, torch
        >>> f = gahb.Gaussian(torch.zeros(2), torch.ones(2, 2)).given(torch.tensor([[1.0, 0.0]]), torch.tensor([3.0]))
        >>> f.mean
        tensor([3., 3.], dtype=torch.float64)
        """
        A, v = torch.as_tensor(measure).double(), torch.as_tensor(values).double().flatten()
        if A.ndim != 2 or A.shape[1] != self.d:
            raise ValueError(f"measure must be (m, {self.d}), got {tuple(A.shape)}")
        if len(v) != len(A):
            raise ValueError(f"values must be {len(A)}, one for each row of measure, got {len(v)}")
        across = self.covariance @ A.T
        gain = across @ torch.linalg.pinv(A @ across, hermitian=True)
        mean = self.mean + (gain @ (v - A @ self.mean.flatten())).reshape(self.mean.shape)
        covariance = self.covariance - gain @ across.T
        values, basis = torch.linalg.eigh((covariance + covariance.T) / 2)
        return Gaussian(mean, (basis * values.clamp(min=0)) @ basis.T)

    def _mean(self, y: Tensor, variance: Tensor) -> Tensor:
        mean, basis = self.mean.flatten().to(y.device), self._basis.to(y.device)
        spectrum = self._eigenvalues.to(y.device)
        shrinkage = spectrum / (spectrum + variance[:, None])
        return mean + ((y - mean) @ basis * shrinkage) @ basis.T

    def log_density(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$\log p_\sigma(y)$ (B,), in nats."""
        return _mixture_of(self).log_density(y, sigma)

    def sample(self, n: int, *, seed: int = 0, start: int = 0) -> Tensor:
        r"""n points $\mu + C^{1/2} z$, shaped like the mean, float64; point i depends only on (seed, start + i).

        ValueError for n < 1, seed < 0 or start < 0.

        >>> import gahb, torch
        >>> points = gahb.Gaussian(torch.zeros(2), torch.diag(torch.tensor([4.0, 0.0]))).sample(1000, seed=1)
        >>> points.std(dim=0).round()
        tensor([2., 0.], dtype=torch.float64)
        """
        positive_int("n", n)
        positive_int("seed", seed, at_least=0)
        positive_int("start", start, at_least=0)
        z = normal(seed, "gaussian", start, n, self.d, self.mean.device).double()
        points = self.mean.flatten() + (z * self._eigenvalues.sqrt()) @ self._basis.T
        return points.reshape(n, *self.mean.shape)


class GaussianMixture(_ClosedForm):
    r"""The optimal denoiser of $\sum_k \pi_k\, \mathcal N(\mu_k, C_k)$.

    $$f^\star(y) = \sum_k r_k(y)\, m_k(y), \qquad
      m_k(y) = \mu_k + C_k (C_k + \sigma^2\mathrm{Id})^{-1}(y - \mu_k),$$

    with responsibilities $r_k \propto \pi_k\,\mathcal N(y; \mu_k, C_k + \sigma^2\mathrm{Id})$.

    Parameters
    ----------
    weights : (K,), positive, summing to one (to 1e-6).
    means : (K, d) or (K, C, H, W).
    covariances : (K, d, d); singular ones (points, lines) are allowed.

    Raises
    ------
    ValueError for weights that are not positive or do not sum to one, and for
    means or covariances that do not fit or are no covariances; in a call as for
    :class:`gahb.Empirical`.

    Examples
    --------
    Two points of the plane:

    >>> import gahb, torch
    >>> means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> f = gahb.GaussianMixture(torch.tensor([0.5, 0.5]), means, torch.zeros(2, 2, 2))
    >>> f(torch.tensor([[0.0, 0.0], [0.9, 0.0]]), 0.3)
    tensor([[0., 0.],
            [1., 0.]])
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor):
        self.weights = torch.as_tensor(weights).double()
        self.means = torch.as_tensor(means).double()
        self.covariances = torch.as_tensor(covariances).double()
        if self.weights.ndim != 1 or not bool((self.weights > 0).all()):
            raise ValueError(f"weights must be a vector of positive numbers, got {weights}")
        if abs(float(self.weights.sum()) - 1) > 1e-6:
            raise ValueError(f"weights must sum to 1, got a sum of {float(self.weights.sum()):.6g}")
        count = len(self.weights)
        if self.means.ndim < 2 or len(self.means) != count:
            raise ValueError(f"means must be ({count}, d), one for each weight, got {tuple(self.means.shape)}")
        _check_finite("means", self.means)
        self.d = self.means[0].numel()
        if self.covariances.shape != (count, self.d, self.d):
            raise ValueError(
                f"covariances must be ({count}, {self.d}, {self.d}), got {tuple(self.covariances.shape)}"
            )
        given = torch.as_tensor(covariances)
        pairs = [_eigen(f"covariances[{k}]", c, self.d) for k, c in enumerate(given)]
        self._eigenvalues = torch.stack([values for values, _ in pairs])  # (K, d)
        self._basis = torch.stack([basis for _, basis in pairs])  # (K, d, d)

    def __repr__(self) -> str:
        return described(self, K=len(self.weights), shape=tuple(self.means.shape[1:]))

    def _components(self, y: Tensor, variance: Tensor):
        """log of π_k N(y; μ_k, C_k + σ²) (B, K), and the component means m_k (B, K, d)."""
        means = self.means.flatten(1).to(y.device)
        basis, spectrum = self._basis.to(y.device), self._eigenvalues.to(y.device)
        coefficients = torch.einsum("bkd,kde->bke", y[:, None] - means, basis)
        noisy = spectrum + variance[:, None, None]  # (B, K, d)
        quadratic = (coefficients.square() / noisy).sum(dim=2)
        log = self.weights.to(y.device).log() - 0.5 * (
            quadratic + noisy.log().sum(dim=2) + self.d * math.log(2 * math.pi)
        )
        return log, means + torch.einsum("bke,kde->bkd", coefficients * spectrum / noisy, basis)

    def _mean(self, y: Tensor, variance: Tensor) -> Tensor:
        log, component_means = self._components(y, variance)
        return torch.einsum("bk,bkd->bd", log.softmax(dim=1), component_means)

    def log_density(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$\log p_\sigma(y)$ (B,), in nats.

        Arguments as for the denoiser.

        >>> import gahb, torch
        >>> f = gahb.GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2, 2))
        >>> f.log_density(torch.zeros(1, 2), 1.0).exp() * 2 * torch.pi
        tensor([1.], dtype=torch.float64)
        """
        return self._components(*self._prepare(y, sigma))[0].logsumexp(dim=1)

    def posterior_covariance(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$\mathrm{Cov}[x \mid y]$ (B, d, d): the law of total covariance over components.

        Arguments as for the denoiser.

        >>> import gahb, torch
        >>> f = gahb.GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
        >>> f.posterior_covariance(torch.zeros(1, 2), 1.0)
        tensor([[[0.5000, 0.0000],
                 [0.0000, 0.5000]]], dtype=torch.float64)
        """
        y, variance = self._prepare(y, sigma)
        log, means = self._components(y, variance)
        r = log.softmax(dim=1)
        spectrum, basis = self._eigenvalues.to(y.device), self._basis.to(y.device)
        noise = variance[:, None, None]
        within = torch.einsum("bk,bke,kde,kfe->bdf", r, spectrum * noise / (spectrum + noise), basis, basis)
        centred = means - torch.einsum("bk,bkd->bd", r, means)[:, None]
        return within + torch.einsum("bk,bkd,bke->bde", r, centred, centred)

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """n points of the mixture (without noise), shaped like its means, float64.

        ValueError for n < 1.

        >>> import gahb, torch
        >>> f = gahb.GaussianMixture(torch.ones(1), torch.ones(1, 2), torch.zeros(1, 2, 2))
        >>> f.sample(1)
        tensor([[1., 1.]], dtype=torch.float64)
        """
        positive_int("n", n)
        generator = torch.Generator().manual_seed(seed)
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.d, generator=generator, dtype=torch.float64)
        points = torch.einsum("nde,ne->nd", self._basis[which], z * self._eigenvalues[which].sqrt())
        return (points + self.means.flatten(1)[which]).reshape(n, *self.means.shape[1:])


def _mixture_of(gaussian: Gaussian) -> GaussianMixture:
    return GaussianMixture(torch.ones(1), gaussian.mean.flatten()[None], gaussian.covariance[None])


def _check_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity among them")


def _eigen(name: str, covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
    if covariance.shape != (d, d):
        raise ValueError(f"{name} must be ({d}, {d}), got {tuple(covariance.shape)}")
    tolerance = 1e-8 if covariance.dtype == torch.float64 else 1e-5  # what rounding does to a singular matrix
    covariance = covariance.double()
    scale = float(covariance.abs().max())
    if not math.isfinite(scale) or float((covariance - covariance.T).abs().max()) > tolerance * scale:
        raise ValueError(f"{name} must be symmetric and finite")
    values, basis = torch.linalg.eigh(covariance)
    if float(values.min()) < -tolerance * max(scale, 1e-300):
        raise ValueError(f"{name} must have eigenvalues ≥ 0, got {float(values.min()):.3g}")
    return values.clamp(min=0), basis


def _describe(value) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
