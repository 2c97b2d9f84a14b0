"""Widgets: live in JupyterLab, and on the built page with no kernel and no network.

Each is one anywidget whose picture is made in the page's own JavaScript, from
numbers computed there (`mixture`, `live`) or stored with it (`frames`, `curves`).
They come with the extra ``[widgets]``.
"""

from .._validate import require_extra

require_extra("widgets", "gahb.widgets", "anywidget", "ipywidgets", "traitlets")

# ruff: noqa: E402
from .bases import basis_frames, filter_frames
from .curves import CurvesWidget, curves
from .flows import flow_lines
from .frames import FramesWidget, frames
from .live import LiveWidget, live
from .mixture import MixtureWidget, mixture

__all__ = [
    "CurvesWidget", "FramesWidget", "LiveWidget", "MixtureWidget", "basis_frames", "curves", "filter_frames",
    "flow_lines", "frames", "live", "mixture",
]  # fmt: skip
