"""Numerical kernels of the book *Why diffusion models generalise*.

Every denoiser obeys one contract, ``denoiser(y, sigma=None) -> x_hat``, and
every measurement takes any of them. Names are imported when first used.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# public name -> module that defines it (also read by gahb.notebooks, to know
# which modules a chapter depends on)
_EXPORTS = {
    "Bandlet": "gahb.denoisers.bandlet",
    "BayesShrink": "gahb.denoisers.baselines",
    "BFCNN": "gahb.denoisers.networks",
    "PointNetwork": "gahb.denoisers.networks",
    "UNet": "gahb.denoisers.networks",
    "Empirical": "gahb.denoisers.closed_form",
    "Gaussian": "gahb.denoisers.closed_form",
    "GaussianMixture": "gahb.denoisers.closed_form",
    "NonLocalMeans": "gahb.denoisers.baselines",
    "OptimalDisks": "gahb.denoisers.optimal_disks",
    "Wavelet": "gahb.denoisers.shrinkage",
    "Wiener": "gahb.denoisers.shrinkage",
    "AdaptiveBasis": "gahb.basis",
    "adaptive_basis": "gahb.basis",
    "adaptive_filters": "gahb.jacobian",
    "effective_dimension": "gahb.jacobian",
    "trace_estimate": "gahb.jacobian",
    "kl_bound": "gahb.kl",
    "score": "gahb.risk",
    "psnr_curve": "gahb.risk",
    "ratio_of_means": "gahb.risk",
    "sure": "gahb.risk",
    "sample": "gahb.sampling",
    "nearest": "gahb.memorization",
    "twin_similarity": "gahb.memorization",
    "crossing": "gahb.memorization",
    "fit": "gahb.training",
}
_MODULES = ("claims", "figures", "harmonics", "images", "memorization", "rates", "risk", "widgets", "zoo")

__all__ = sorted([*_EXPORTS, *_MODULES])


def __getattr__(name: str):
    if name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"gahb.{name}")
    raise AttributeError(f"module 'gahb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
