"""The figures of the book: functions from data to a matplotlib `Figure`, in one style.

Colours are those of Okabe & Ito, told apart by colour-blind readers; every
curve also has its own marker.
"""

from .curves import areas, curve_grid, curve_panels, curves, distributions, estimates
from .pictures import copies, image_grid, mixture_fields
from .style import COLOURS, DENSITY, DIVERGING, MARKERS, use_style
from .tables import table

__all__ = [
    "COLOURS", "DENSITY", "DIVERGING", "MARKERS", "areas", "copies", "curve_grid", "curve_panels", "curves",
    "distributions", "estimates", "image_grid", "mixture_fields", "table", "use_style",
]
