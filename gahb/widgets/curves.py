"""Curves whose points answer to the pointer and to the keyboard, at each position of up to three sliders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import traitlets

from .sliders import SliderWidget, check_size, check_sliders, check_text, finite, source


class CurvesWidget(SliderWidget):
    """What `curves` returns: `value` and `hidden` follow the reader's hand, and may be set."""

    _esm = source("common.js", "sliders.js", "curves.js")
    _css = source("sliders.css", "curves.css")

    lines = traitlets.List(read_only=True).tag(sync=True)  # label, x, y, stderr: 1 or positions × points
    reference = traitlets.Dict(None, allow_none=True, read_only=True).tag(sync=True)  # the same
    xlabel = traitlets.Unicode(read_only=True).tag(sync=True)
    ylabel = traitlets.Unicode(read_only=True).tag(sync=True)
    logx = traitlets.Bool(read_only=True).tag(sync=True)
    logy = traitlets.Bool(read_only=True).tag(sync=True)
    hidden = traitlets.List(traitlets.Unicode()).tag(sync=True)  # labels switched off in the legend


def curves(
    series: Mapping[str, tuple],
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = False,
    reference: tuple[str, Sequence, Sequence] | None = None,
    sliders: Mapping[str, Sequence] | None = None,
    alt: str | None = None,
) -> CurvesWidget:
    r"""Curves with markers and error bars, called as `gahb.figures.curves` is.

    Parameters
    ----------
    series : label → (x, y) or (x, y, standard error); each of shape (n,) or, where
        it changes with the sliders, (length of each slider …, n). Finite.
    xlabel, ylabel : with units.
    logx, logy : logarithmic axes, on which every value is positive.
    reference : (label, x, y), a thin dashed line without markers.
    sliders : one to three names, each with the labels of its positions. The axes
        hold every position, so that they stay where they are.
    alt : what is shown; "ylabel against xlabel" if None.

    Returns
    -------
    A widget whose traits `value` (an index on each slider) and `hidden` (labels
    of the curves switched off) can be read and set from Python.

    Raises
    ------
    ValueError : an argument of the wrong shape or value, by name; or curves that
        take more than 1.5 MB on the page.

    Examples
    --------
    At each σ, the mean squared error of $f(y) = a y$ with $a = v/(v+\sigma^2)$ where the
    data have variance 1 and v is assumed, $(1 - a)^2 + a^2\sigma^2$:

    >>> import gahb, torch
    >>> sigmas, assumed = [0.1, 0.3, 1.0], torch.logspace(-1, 1, 21)
    >>> slopes = [assumed / (assumed + s**2) for s in sigmas]
    >>> errors = torch.stack([(1 - a) ** 2 + (a * s) ** 2 for a, s in zip(slopes, sigmas)])  # (3, 21)
    >>> widget = gahb.widgets.curves(
    ...     {"true v = 1": (assumed, errors)},
    ...     xlabel="assumed v", ylabel="mean squared error", logx=True, sliders={"σ": sigmas},
    ... )
    >>> widget
    <mean squared error against assumed v; sliders: σ (3)>
    >>> widget.value = [2]  # at σ = 1
    """
    sliders = {} if sliders is None else check_sliders(sliders)
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f"series must map at least one label to (x, y) or (x, y, stderr), got {series!r}")
    lengths, log = tuple(map(len, sliders.values())), {"x": logx, "y": logy}
    lines = [_line(f"series[{label!r}]", label, data, lengths, log) for label, data in series.items()]
    if reference is not None:
        label, *data = reference
        reference = _line("reference", label, data, lengths, log)
    check_size("series", len(json.dumps([lines, reference])), "give fewer positions or points")
    xlabel, ylabel = check_text("xlabel", xlabel), check_text("ylabel", ylabel)
    return CurvesWidget(
        sliders, lines=lines, reference=reference, xlabel=xlabel, ylabel=ylabel, logx=bool(logx), logy=bool(logy),
        alt=f"{ylabel} against {xlabel}" if alt is None else check_text("alt", alt),
    )


def _line(name: str, label, data, lengths: tuple[int, ...], log: Mapping[str, bool]) -> dict:
    if not isinstance(data, Sequence) or len(data) not in (2, 3):
        raise ValueError(f"{name} must be (x, y) or (x, y, stderr), got {data!r}")
    arrays = {part: finite(f"{name} {part}", v) for part, v in zip(("x", "y", "stderr"), data) if v is not None}
    n = arrays["x"].shape[-1] if arrays["x"].ndim else 0
    for part, array in arrays.items():
        if n == 0 or array.shape not in ((n,), (*lengths, n)):
            shapes = dict.fromkeys(str((*axes, n or "n")).replace("'", "") for axes in ((), lengths))
            wanted = " or ".join(shapes)
            raise ValueError(f"{name} {part} must have shape {wanted}, got {array.shape}")
        if log.get(part) and array.min() <= 0:
            raise ValueError(f"{name} {part} must be positive on a logarithmic axis, got {array.min():g}")
    if "stderr" in arrays and arrays["stderr"].min() < 0:
        raise ValueError(f"{name} stderr must not be negative, got {arrays['stderr'].min():g}")
    return {"label": str(label)} | {part: array.reshape(-1, n).tolist() for part, array in arrays.items()}
