r"""Closed forms whose pixels see a part of the noisy image: what a network of limited sight would compute.

Each pixel is a posterior mean, $f_i(y) = \mathbb E[x_i \mid y_{\Omega_i}]$,
under the law of a training set, given the pixels $\Omega_i$ about it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from .._validate import check_points, positive_number, sigma_vector
from ..contract import Denoiser
from ..kernels.local_mean import Local, folded
from ..kernels.patch_posterior import PatchPosterior
from ..kernels.posterior_mean import PosteriorMean
from .closed_form import Gaussian, _check_finite, _ClosedForm
from .placement import described

BORDERS = ("zero", "circular", "exact")


class _Patches(_ClosedForm):
    """Checks and holds images, the size of the patch by σ, and their posterior."""

    def __init__(
        self,
        images: Tensor,
        patch: int | Mapping[float, int] | Callable[[float], int],
        *,
        equivariant: bool = True,
        border: str = "zero",
        tolerance: float = 1e-6,
    ):
        if not isinstance(images, Tensor) or images.ndim != 4 or images.numel() == 0:
            given = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a tensor (N, C, H, W) with N ≥ 1, got {given}")
        if border not in BORDERS:
            raise ValueError(f"border must be one of {', '.join(map(repr, BORDERS))}, got {border!r}")
        if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not 0 <= tolerance < 1:
            raise ValueError(f"tolerance must be a number from 0 to 1 (1 left out), got {tolerance!r}")
        _check_finite("images", images)
        if images.dtype == torch.uint8:
            images = images / 255
        elif images.dtype not in (torch.float32, torch.float64):
            images = images.float()
        self.shape, self.d = tuple(images.shape[1:]), images[0].numel()
        self.patch, self.equivariant, self.border = patch, bool(equivariant), border
        self._posterior = PatchPosterior(images.detach(), border, self.equivariant, float(tolerance))
        if isinstance(patch, Mapping):
            if not patch:
                raise ValueError("patch must name at least one noise level, got an empty map")
            for sigma, size in patch.items():
                positive_number("a noise level of patch", sigma)
                self._checked(size)
        elif not callable(patch):
            self._checked(patch)

    def __repr__(self) -> str:
        patch = dict(self.patch) if isinstance(self.patch, Mapping) else self.patch
        patch = "σ → size" if callable(patch) else patch
        return described(self, N=len(self._posterior.images), shape=self.shape, patch=patch,
                         equivariant=self.equivariant, border=self.border)  # fmt: skip

    def size_at(self, sigma: float) -> int:
        """Side of the patch at noise level `sigma`, in pixels.

        >>> import gahb
        >>> x = gahb.images.disks(4, 8)
        >>> gahb.PatchEmpirical(x, {0.1: 3, 1.0: 7}).size_at(0.2)
        3
        """
        if isinstance(self.patch, Mapping):
            return int(self.patch[min(self.patch, key=lambda level: abs(math.log(level / sigma)))])
        return self._checked(self.patch(sigma)) if callable(self.patch) else int(self.patch)

    def _checked(self, size) -> int:
        side = min(self.shape[1:])
        most = side - (side + 1) % 2 if self.border == "circular" else 2 * max(self.shape[1:]) - 1
        whole = isinstance(size, numbers.Integral) and not isinstance(size, bool)
        if not whole or not (1 <= size <= most and size % 2):
            raise ValueError(f"patch must be an odd number of pixels from 1 to {most}, got {size!r}")
        return int(size)

    def _by_size(self, y: Tensor, variance: Tensor) -> dict[int, Tensor]:
        """Size of the patch → which points have it."""
        sizes = torch.tensor([self.size_at(math.sqrt(v)) for v in variance.tolist()], device=y.device)
        return {int(size): (sizes == size).nonzero()[:, 0] for size in sizes.unique()}


class PatchEmpirical(_Patches):
    r"""Each pixel's posterior mean given the patch about it, over the patches of a training set.

    $$f_i(y) = \frac{\sum_k w_k\, x_k}{\sum_k w_k}, \qquad
      w_k = \exp\Bigl(-\frac{\|y_{\Omega_i} - x_{\Omega_k}\|^2}{2\sigma^2}\Bigr),$$

    where $\Omega_i$ is the square of `patch` × `patch` pixels about pixel i,
    and k goes through the same pixel of all training images
    (``equivariant=False``, a local score) or through all their pixels (an
    equivariant local score). This is the optimum among the denoisers that see
    no more than the patch and, if equivariant, do the same at every pixel
    (Kamb & Ganguli 2025). In the limit of a patch that covers everything,
    from the same place, it is :class:`gahb.Empirical`.

    Patches reach over the border of the image. With ``border="zero"`` images
    are continued by zeros, which are compared like pixels; with
    ``"circular"`` they are continued periodically. With ``"exact"`` what lies
    outside tells without noise where the border is, as to a network that pads
    by zeros: a patch is compared only with those that the border cuts off in
    the same way.

    Patches are read block by block, so that memory does not grow as their
    number does (a tree of 8 bytes a patch apart). Patches that together weigh
    at most `tolerance` of the whole are left out where that can be proved from
    bounds, so that an answer changes by at most `tolerance` times the range of
    the pixels. Points in float64 are computed in float64, with a tolerance of
    at most 1e-12. The Jacobian, in forward and reverse mode, has the rows
    $\mathrm{Cov}[x_i, x_\Omega \mid y_{\Omega_i}]/\sigma^2$; it is not
    symmetric. Second derivatives, and derivatives in σ, are refused.

    Parameters
    ----------
    images : (N, C, H, W), N ≥ 1; float, or uint8 (then divided by 255).
    patch : side of the patch, an odd number of pixels, up to 2 · size − 1 (the
        side of the image if the border is periodic); or a map from noise
        levels to sizes, of which the nearest (in log σ) counts; or a function
        of σ.
    equivariant : whether patches from all places are compared.
    border : "zero", "circular" or "exact".
    tolerance : share of the weight that may be left out, in [0, 1); 0: nothing.

    Raises
    ------
    ValueError for images that are not (N, C, H, W) and finite, a patch that is
    even or out of range, an unknown border, a tolerance out of range; in a call
    as for :class:`gahb.Empirical`.

    Examples
    --------
    Black and white images: the mean of a patch decides, which may be on either
    side from place to place, so that mixtures of both come out.

    >>> import gahb, torch
    >>> x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    >>> f = gahb.PatchEmpirical(x, 3, border="circular")
    >>> y = torch.tensor([0.1, 0.1, 0.9, 0.9]).expand(1, 1, 4, 4)
    >>> f(y, 0.2)[0, 0, 0]  # means of the patches: 0.37, 0.37, 0.63, 0.63
    tensor([0., 0., 1., 1.])
    >>> f
    PatchEmpirical(N=2, shape=(1, 4, 4), patch=3, equivariant=True, border='circular')
    """

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        flat, variance = self._prepare(y, sigma)
        local = _Local(self, exact=y.dtype == torch.float64)
        return PosteriorMean.apply(flat.unflatten(1, self.shape), variance, local).reshape(y.shape).to(y.dtype)


class _Local(Local):
    """The mean of a PatchEmpirical and its filters."""

    name = PatchPosterior.name

    def __init__(self, denoiser: PatchEmpirical, *, exact: bool):
        self.denoiser, self.border, self.exact = denoiser, denoiser.border, exact

    def mean(self, y: Tensor, variance: Tensor) -> Tensor:
        out = torch.empty_like(y)
        for size, some in self.denoiser._by_size(y, variance).items():
            out[some] = self._posterior(y).mean(y[some], variance[some], size, exact=self.exact)
        return out

    def filters(self, y: Tensor, variance: Tensor) -> Tensor:
        sizes, channels = self.denoiser._by_size(y, variance), y.shape[1]
        most = max(sizes, default=1)
        out = y.new_zeros(len(y), channels, channels, most, most, y[0, 0].numel())
        for size, some in sizes.items():
            filters = self._posterior(y).filters(y[some], variance[some], size)
            edge = slice((most - size) // 2, (most + size) // 2)
            out[some, :, :, edge, edge] = filters.unflatten(2, (channels, size, size))
        return out.flatten(2, 4)

    def _posterior(self, y: Tensor) -> PatchPosterior:
        posterior = self.denoiser._posterior
        return posterior if posterior.images.device == y.device else posterior.to(y.device)


class PatchComposite(_Patches):
    r"""Posterior means of patches, laid over each other and averaged.

    $$f_i(y) = \frac{1}{|\{j : i \in \Omega_j\}|} \sum_{j : i \in \Omega_j}
      \mathbb E[x_i \mid y_{\Omega_j}]$$

    Every patch about a pixel j of the image gives a mean for all its pixels,
    and a pixel takes the average over the patches that hold it (the patch set
    posterior composites of Niedoba et al. 2025, with squares and equal
    weights). :class:`gahb.PatchEmpirical` takes the patch about the pixel only.

    Derivatives are refused. Parameters, errors and cost as for
    :class:`gahb.PatchEmpirical`.

    Raises
    ------
    NotImplementedError where a derivative is asked for.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(50, 12)
    >>> y = x[:4] + 0.2 * torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    >>> f = gahb.PatchComposite(x[4:], 5)
    >>> bool((f(y, 0.2) - x[:4]).square().mean() < 0.5 * 0.2**2)
    True
    """

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        flat, variance = self._prepare(y, sigma)
        composite = _Composite(self, exact=y.dtype == torch.float64)
        return PosteriorMean.apply(flat.unflatten(1, self.shape), variance, composite).reshape(y.shape).to(y.dtype)


class _Composite(_Local):
    name = "composite of patches"

    def mean(self, y: Tensor, variance: Tensor) -> Tensor:
        out = torch.empty_like(y)
        for size, some in self.denoiser._by_size(y, variance).items():
            patches = self._posterior(y).patches(y[some], variance[some], size, exact=self.exact)
            padded = tuple(n + size - 1 for n in y.shape[2:])
            total = folded(F.fold(patches, padded, size), size // 2, self.border)
            count = folded(F.fold(torch.ones_like(patches[:1]), padded, size), size // 2, self.border)
            out[some] = total / count
        return out

    def filters(self, y: Tensor, variance: Tensor) -> Tensor:
        raise NotImplementedError(f"derivatives of the {self.name} are not implemented")


class WienerLocal(_ClosedForm):
    r"""Each pixel's posterior mean given the pixels that Wiener's filter looks at, over a training set.

    $$f_i(y) = \frac{\sum_n w_{in}\, x_{n,i}}{\sum_n w_{in}}, \qquad
      w_{in} = \exp\Bigl(-\frac{1}{2\sigma^2} \sum_{k \in \Omega_i} (y_k - x_{n,k})^2\Bigr),$$

    $$\Omega_i = \bigl\{k : |W_{ik}| \ge \theta \max_j |W_{ij}|\bigr\},$$

    with the matrix $W = C(C + \sigma^2\mathrm{Id})^{-1}$ of the linear
    optimum, C the covariance of the images. The locality comes from the
    statistics of the data and from nothing else: if the pixels of all images
    are permuted, so are the answers.

    Lukoianov et al. (2025) also take or leave a pixel by a threshold. Their
    published code differs in detail: it divides each row of W by its diagonal
    element, compares with 0.02 times the largest element of the whole matrix,
    and reads the mask of pixel i from column i.

    Computed in float64, with memory of N · d numbers; derivatives in y by
    `torch.func`, those of Ω left out.

    Parameters
    ----------
    images : (N, …), N ≥ 1.
    threshold : θ in (0, 1].

    Raises
    ------
    ValueError for images that are not (N, …) and finite, and a threshold out of
    range; in a call as for :class:`gahb.Empirical`.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(100, 8)
    >>> f = gahb.WienerLocal(x[1:])
    >>> y = x[:1] + 0.1
    >>> moved = gahb.WienerLocal(gahb.images.shuffle_pixels(x[1:]))
    >>> torch.allclose(moved(gahb.images.shuffle_pixels(y), 0.1), gahb.images.shuffle_pixels(f(y, 0.1)))
    True
    """

    def __init__(self, images: Tensor, *, threshold: float = 0.05):
        if not isinstance(images, Tensor) or images.ndim < 2 or len(images) == 0:
            given = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a tensor (N, …) with N ≥ 1, got {given}")
        if isinstance(threshold, bool) or not isinstance(threshold, numbers.Real) or not 0 < threshold <= 1:
            raise ValueError(f"threshold must be a number above 0 and at most 1, got {threshold!r}")
        _check_finite("images", images)
        self.shape, self.threshold = tuple(images.shape[1:]), float(threshold)
        self.linear = Gaussian.of(images.detach())
        self.d = self.linear.d
        self.rows = images.detach().flatten(1).double() - self.linear.mean.flatten()

    def __repr__(self) -> str:
        return described(self, N=len(self.rows), shape=self.shape, threshold=self.threshold)

    def mask(self, sigma: float) -> Tensor:
        r"""Which pixels each pixel looks at: (d, d), 1 where $k \in \Omega_i$, float64.

        >>> import gahb
        >>> f = gahb.WienerLocal(gahb.images.disks(100, 8))
        >>> bool(f.mask(0.01).sum() < f.mask(1.0).sum())
        True
        """
        return self._mask(torch.as_tensor(positive_number("sigma", sigma) ** 2, dtype=torch.float64))

    def _mask(self, variance: Tensor) -> Tensor:
        values, basis = self.linear._eigenvalues, self.linear._basis
        matrix = ((basis * (values / (values + variance.to(values)))) @ basis.T).abs()
        return (matrix >= self.threshold * matrix.amax(dim=1, keepdim=True)).to(values)

    def _mean(self, y: Tensor, variance: Tensor) -> Tensor:
        rows, centre = self.rows.to(y.device), self.linear.mean.flatten().to(y.device)
        masks = {}
        out = []
        for point, v in zip(y - centre, variance, strict=True):
            key = _number(v)
            mask = masks.get(key) if key is not None else None
            if mask is None:
                mask = masks[key] = self._mask(v).to(y.device)
            scores = (mask * point) @ rows.T - 0.5 * mask @ rows.square().T  # (d, N)
            out.append(((scores / v).softmax(dim=1) * rows.T).sum(dim=1))
        return torch.stack(out) + centre if out else y


def _number(value: Tensor) -> float | None:
    try:
        return float(value)
    except RuntimeError:  # under vmap the values cannot be read
        return None


class HandOver:
    r"""One denoiser below a noise level, another from it on.

    $$f(y, \sigma) = \begin{cases} f_{\text{low}}(y, \sigma) & \sigma < s \\
      f_{\text{high}}(y, \sigma) & \sigma \ge s \end{cases}$$

    Where σ is large, a network is close to the linear optimum (Wang & Vastola
    2024; Li, Dai & Qu 2024); below, it is not.

    Parameters
    ----------
    low, high : denoisers. sigma : the level s > 0.

    Raises
    ------
    ValueError for a sigma that is not positive; in a call for one that is None.

    Examples
    --------
    >>> import gahb
    >>> x = gahb.images.disks(20, 8)
    >>> f = gahb.HandOver(gahb.PatchEmpirical(x, 3), gahb.Gaussian.of(x), 0.3)
    >>> bool((f(x, 0.3) == gahb.Gaussian.of(x)(x, 0.3)).all())
    True
    """

    def __init__(self, low: Denoiser, high: Denoiser, sigma: float):
        for name, denoiser in (("low", low), ("high", high)):
            if not callable(denoiser):
                raise TypeError(f"{name} must be callable as denoiser(y, sigma=None), got {type(denoiser).__name__}")
        self.low, self.high, self.sigma = low, high, positive_number("sigma", sigma)

    def __repr__(self) -> str:
        return described(self, low=self.low, high=self.high, sigma=self.sigma)

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        check_points("y", y)
        levels = sigma_vector(sigma, y)
        below = levels < self.sigma
        try:
            sides = set(below.tolist())
        except RuntimeError:  # under vmap the values cannot be read
            sides = {True, False}
        if len(sides) == 1:
            return (self.low if sides.pop() else self.high)(y, sigma)
        return torch.where(below.reshape(-1, *[1] * (y.ndim - 1)), self.low(y, sigma), self.high(y, sigma))
