"""Widgets: live in JupyterLab, and on the built page with no kernel and no network.

Each is one anywidget whose picture is made in the page's own JavaScript, from
numbers computed there (`mixture`) or stored with it (`frames`, `curves`).
"""

from .curves import CurvesWidget, curves
from .frames import FramesWidget, frames
from .mixture import MixtureWidget, mixture

__all__ = ["CurvesWidget", "FramesWidget", "MixtureWidget", "curves", "frames", "mixture"]
