"""The Jacobian of a denoiser: products with it, its eigenvectors, its trace, its rows."""

from .basis import AdaptiveBasis, adaptive_basis, deflated_basis
from .filters import adaptive_filters
from .operator import Jacobian
from .traces import TraceEstimate, divergence, effective_dimension, trace_estimate

__all__ = [
    "AdaptiveBasis",
    "Jacobian",
    "TraceEstimate",
    "adaptive_basis",
    "adaptive_filters",
    "deflated_basis",
    "divergence",
    "effective_dimension",
    "trace_estimate",
]
