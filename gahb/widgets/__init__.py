"""Widgets: live in JupyterLab, and on the built page with no kernel and no network.

Each is one anywidget whose picture is made in the page's own JavaScript, from
numbers computed there (`mixture`, `live`) or stored with it (`frames`, `curves`).
They come with the extra ``[widgets]``. Without it this module can be imported, so
that all of gahb can be looked at, and a widget that is used says what to install.
"""

from .._validate import missing_modules as _missing_modules
from .._validate import require_extra as _require_extra

_NEEDED = ("anywidget", "ipywidgets", "traitlets")

__all__ = [
    "CurvesWidget", "FramesWidget", "LiveWidget", "MixtureWidget", "basis_frames", "curves", "filter_frames",
    "flow_lines", "frames", "live", "mixture",
]  # fmt: skip

if not _missing_modules(*_NEEDED):
    from .bases import basis_frames, filter_frames
    from .curves import CurvesWidget, curves
    from .flows import flow_lines
    from .frames import FramesWidget, frames
    from .live import LiveWidget, live
    from .mixture import MixtureWidget, mixture


def __getattr__(name: str):
    if name in __all__:
        _require_extra("widgets", f"gahb.widgets.{name}", *_NEEDED)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(name for name in globals() if name in __all__ or name.startswith("__"))
