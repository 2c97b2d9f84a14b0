"""One style for all figures: colours, marks, fonts, and what makes an array of what is shown."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DIVERGING = "RdBu_r"
DENSITY = "cividis"


def use_style() -> None:
    """Set matplotlib's defaults to those of the book; called once at the head of a chapter.

    Letters are DejaVu Sans, which comes with matplotlib and has every sign that the chapters
    write: a label with a formula in it is drawn from one font file.

    >>> import gahb, matplotlib
    >>> with matplotlib.rc_context():  # only so that this example changes nothing after it
    ...     gahb.figures.use_style()
    ...     matplotlib.rcParams["image.cmap"], matplotlib.rcParams["axes.grid"]
    ('gray', True)
    """
    matplotlib.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 200,
            "figure.constrained_layout.use": True,
            "font.family": ["DejaVu Sans"],
            "mathtext.fontset": "cm",  # as MathJax sets the formulas of the text
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.6,
            "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "lines.linewidth": 1.6,
            "lines.markersize": 4.5,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
        }
    )
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if getattr(get_ipython(), "kernel", None) is not None:
        set_matplotlib_formats("png", dpi=200)  # a notebook shows figures, whatever the backend


def done(figure: Figure) -> Figure:
    plt.close(figure)  # a notebook shows what a cell returns, and only that
    return figure


def array_of(image) -> np.ndarray:
    """(H, W), or in colour (H, W, 3)."""
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    array = array.squeeze()
    return array.transpose(1, 2, 0) if array.ndim == 3 and len(array) == 3 else array


def vector(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=float)
