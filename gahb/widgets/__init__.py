"""Widgets: live in JupyterLab, and on the built page with no kernel and no network.

Each is one anywidget whose numbers are computed in the page's own JavaScript.
"""

from .mixture import MixtureWidget, mixture

__all__ = ["MixtureWidget", "mixture"]
