r"""A two-dimensional Gaussian mixture: drag a noisy point, slide σ, see it denoised.

With $x \sim \sum_k w_k\,\mathcal N(\mu_k, C_k)$ and $y = x + \sigma z$, the
density of y, the posterior mean, the score and the Jacobian are closed forms:

$$p_\sigma = \sum_k w_k\,\mathcal N(\mu_k, C_k + \sigma^2\mathrm{Id}), \qquad
  f^\star(y) = y + \sigma^2\,\nabla\log p_\sigma(y), \qquad
  \nabla f^\star(y) = \mathrm{Cov}[x\mid y] / \sigma^2 .$$

They are computed in `mixture.js`, in the page, in float64; Python only checks
the parameters and hands them over. A covariance may be degenerate: zero for a
single point, of rank one for a line.
"""

from __future__ import annotations

import math

import anywidget
import numpy as np
import traitlets

from .sliders import source


class MixtureWidget(anywidget.AnyWidget):
    """What `mixture` returns: `sigma`, `y` and `show_score` follow the reader's hand, and may be set."""

    _esm = source("common.js", "mixture.js")
    _css = source("mixture.css")

    weights = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    means = traitlets.List(read_only=True).tag(sync=True)  # K × 2
    covariances = traitlets.List(read_only=True).tag(sync=True)  # K × 2 × 2
    extent = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)  # x from, to; y from, to
    sigma_range = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    sigma = traitlets.Float(0.5).tag(sync=True)
    y = traitlets.List(traitlets.Float()).tag(sync=True)
    show_score = traitlets.Bool(True).tag(sync=True)
    alt = traitlets.Unicode("A noisy point, where it is denoised to, and the score of a mixture").tag(sync=True)

    def __init__(self, *, weights, means, covariances, extent, sigma_range, **traits):
        fixed = {"weights": weights, "means": means, "covariances": covariances}
        fixed |= {"extent": extent, "sigma_range": sigma_range}
        for name, value in fixed.items():
            self.set_trait(name, np.asarray(value, dtype=np.float64).tolist())
        super().__init__(**traits)

    @traitlets.validate("sigma")
    def _check_sigma(self, proposal):
        return _sigma(proposal["value"])

    @traitlets.validate("y")
    def _check_y(self, proposal):
        return _array("y", proposal["value"], (2,)).tolist()


def mixture(weights, means=None, covariances=None, *, y=None, sigma=0.5, extent=None) -> MixtureWidget:
    r"""A draggable picture of $f^\star(y)=\mathbb E[x\mid y]$, its score and its Jacobian.

    Parameters
    ----------
    weights : (K,) positive, summing to one; or a `gahb.GaussianMixture` of
        dimension two, and then neither `means` nor `covariances`.
    means : (K, 2) centres.
    covariances : (K, 2, 2) symmetric, positive semidefinite; zero and rank one allowed.
    y : the noisy point shown first, two numbers; one standard deviation off the mean if None.
    sigma : noise standard deviation shown first, positive.
    extent : (left, right, bottom, top) of the picture; a square around the mixture if None.

    Returns
    -------
    A widget whose traits `sigma` and `y` can be read and set from Python.

    Raises
    ------
    ValueError, TypeError : an argument of the wrong shape or value, by name.

    Examples
    --------
    A single point, and points on a line:

    >>> import gahb
    >>> covariances = [[[0, 0], [0, 0]], [[0.5, 0.5], [0.5, 0.5]]]
    >>> widget = gahb.widgets.mixture([0.3, 0.7], [[-1, 0], [1, 0]], covariances, y=[0, 1])
    >>> widget.sigma, widget.y
    (0.5, [0.0, 1.0])
    >>> widget.sigma = 0.2  # as if the reader had moved the slider
    """
    if means is None and covariances is None:
        missing = [name for name in ("weights", "means", "covariances") if not hasattr(weights, name)]
        if missing:
            raise TypeError(
                "weights must come with means and covariances, or be a GaussianMixture; "
                f"got a {type(weights).__name__} alone"
            )
        weights, means, covariances = weights.weights, weights.means, weights.covariances
    elif means is None or covariances is None:
        missing = "means" if means is None else "covariances"
        raise TypeError(f"{missing} must be given too: weights, means and covariances go together")

    weights = _weights(weights)
    k = len(weights)
    means = _array("means", means, (k, 2))
    covariances = _covariances(covariances, k)
    sigma = _sigma(sigma)

    centre = weights @ means
    spread = np.sqrt(weights @ ((means - centre) ** 2 + covariances.diagonal(axis1=1, axis2=2)))
    y = centre + spread * (-1, 1) if y is None else _array("y", y, (2,))
    extent = _square_around(means, covariances, y, spread.max()) if extent is None else _extent(extent)
    span = max(extent[1] - extent[0], extent[3] - extent[2])
    sigma_range = [min(span / 160, sigma), max(span / 2, sigma)]

    return MixtureWidget(
        weights=weights, means=means, covariances=covariances, extent=extent, sigma_range=sigma_range,
        sigma=sigma, y=y.tolist(),
    )


def _array(name: str, value, shape: tuple[int, ...]) -> np.ndarray:
    """Finite float64 of the given shape, from lists, numpy or torch (on any device, with or without grad)."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers of shape {shape}, got {value!r}") from None
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array


def _weights(value) -> np.ndarray:
    size = len(value) if hasattr(value, "__len__") else 0
    if size == 0:
        raise ValueError(f"weights must be a sequence of at least one number, got {value!r}")
    weights = _array("weights", value, (size,))
    if (weights <= 0).any() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"weights must be positive and sum to 1, got {weights.tolist()}")
    return weights / weights.sum()


def _covariances(value, k: int) -> np.ndarray:
    covariances = _array("covariances", value, (k, 2, 2))
    for i, c in enumerate(covariances):
        slack = 1e-6 * np.abs(c).max()  # rounding in single precision
        if np.abs(c - c.T).max() > slack or np.linalg.eigvalsh(c)[0] < -slack:
            raise ValueError(
                f"covariances must be symmetric and positive semidefinite, got {c.tolist()} at index {i}"
            )
    return (covariances + covariances.transpose(0, 2, 1)) / 2


def _sigma(value) -> float:
    try:
        sigma = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"sigma must be a positive number, got {value!r}") from None
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {value!r}")
    return sigma


def _extent(value) -> np.ndarray:
    extent = _array("extent", value, (4,))
    if not (extent[0] < extent[1] and extent[2] < extent[3]):
        raise ValueError(
            "extent must be (left, right, bottom, top) with left < right and bottom < top, "
            f"got {extent.tolist()}"
        )
    return extent


def _square_around(means: np.ndarray, covariances: np.ndarray, y: np.ndarray, spread: float) -> list[float]:
    """A square with y and every component to 2.5 standard deviations, and room around single points."""
    reach = np.maximum(2.5 * np.sqrt(covariances.diagonal(axis1=1, axis2=2).clip(0)), 0.6 * spread)
    low = np.minimum((means - reach).min(0), y)
    high = np.maximum((means + reach).max(0), y)
    side = (high - low).max()
    half = 0.55 * side if side > 0 else 1.0  # 1 around one single point
    cx, cy = (low + high) / 2
    return [cx - half, cx + half, cy - half, cy + half]
