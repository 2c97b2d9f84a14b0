"""Curves, histograms, areas and estimates, in panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .style import COLOURS, DENSITY, MARKERS, done, vector


def curves(
    series: Mapping[str, tuple],
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = False,
    reference: tuple[str, Sequence, Sequence] | None = None,
    width: float = 5.2,
) -> Figure:
    """Curves with markers and error bars: label → (x, y) or (x, y, standard error).

    Parameters
    ----------
    series : the curves; x, y and error are (n,), tensors or sequences of numbers.
    xlabel, ylabel : with units.
    logx, logy : whether the axes are logarithmic.
    reference : (label, x, y), drawn as a thin dashed line.
    width : of the figure, in inches.

    Examples
    --------
    >>> import gahb
    >>> run = gahb.psnr_curve(gahb.Wavelet(shifts=1), gahb.images.disks(8, 16), [0.05, 0.1, 0.2])
    >>> figure = gahb.figures.curves(
    ...     {"wavelet": (run.input_psnr, run.psnr, run.stderr)},
    ...     xlabel="input PSNR (dB)",
    ...     ylabel="output PSNR (dB)",
    ...     reference=("no denoising", run.input_psnr, run.input_psnr),
    ... )
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['no denoising', 'wavelet']
    """
    figure, axis = plt.subplots(figsize=(width, 0.66 * width))
    _draw_curves(axis, series, COLOURS, MARKERS, reference)
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logx else "linear", yscale="log" if logy else "linear")
    axis.legend()
    return done(figure)


def curve_panels(panels: Mapping[str, Mapping[str, tuple]], *, ylabel: str, **options) -> Figure:
    """Panels of :func:`curves` side by side, more than four in rows of three: title → series.

    `options` as of :func:`curve_grid`, `xlabel` among them.

    >>> import gahb
    >>> classes = {"disks": gahb.images.disks(8, 16), "dead leaves": gahb.images.dead_leaves(8, 16)}
    >>> panels = {}
    >>> for name, images in classes.items():
    ...     run = gahb.psnr_curve(gahb.Wavelet(shifts=1), images, [0.1, 0.2])
    ...     panels[name] = {"wavelet": (run.input_psnr, run.psnr, run.stderr)}
    >>> figure = gahb.figures.curve_panels(panels, xlabel="input PSNR (dB)", ylabel="output PSNR (dB)")
    >>> [axis.get_title() for axis in figure.axes]
    ['disks', 'dead leaves']
    """
    columns = len(panels) if len(panels) <= 4 else 3
    rows = [dict(list(panels.items())[k : k + columns]) for k in range(0, len(panels), columns)]
    return curve_grid([(ylabel, row) for row in rows], **options)


def curve_grid(
    rows: Mapping[str, Mapping[str, Mapping[str, tuple]]] | Sequence[tuple[str, Mapping[str, Mapping[str, tuple]]]],
    *,
    xlabel: str,
    logx: bool = False,
    logy: bool = False,
    reference: tuple[str, Sequence, Sequence] | None = None,
    ordered: bool = False,
    markers: bool = True,
    width: float = 7.2,
) -> Figure:
    r"""Panels of :func:`curves` in rows, with common axes (y of one label) and one legend: y label → title → series.

    Parameters
    ----------
    rows : a mapping, or pairs (y label, panels) where a y label repeats. A title is
        left out under an equal one.
    xlabel : of all panels, with units.
    logx, logy : whether the axes are logarithmic.
    reference : (label, x, y), a thin dashed line in every panel.
    ordered : whether the labels are steps of one quantity, coloured from dark to bright.
    markers : whether every value has one; without, as for signals, a thin line joins the values.
    width : of the figure, in inches.

    Examples
    --------
    The optimal denoiser of $\mathcal N(0, v)$ is $f(y) = a y$ with
    $a = v/(v+\sigma^2)$; its mean squared error is $a\sigma^2$:

    >>> import gahb, torch
    >>> sigmas, slopes, errors = torch.logspace(-1, 1, 9), {}, {}
    >>> for v in (1, 4):
    ...     slope = v / (v + sigmas**2)
    ...     slopes[f"v = {v}"] = {"optimum": (sigmas, slope)}
    ...     errors[f"v = {v}"] = {"optimum": (sigmas, sigmas**2 * slope)}
    >>> rows = {"slope of f": slopes, "mean squared error": errors}
    >>> figure = gahb.figures.curve_grid(rows, xlabel="σ", logx=True)
    >>> [axis.get_title() for axis in figure.axes]
    ['v = 1', 'v = 4', '', '']
    """
    rows = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    columns = max(len(panels) for _, panels in rows)
    height = 0.5 + len(rows) * (0.42 if len(rows) == 1 else 0.34) * width
    figure, axes = plt.subplots(len(rows), columns, figsize=(width, height), sharex=True, squeeze=False)
    labels = list(dict.fromkeys(label for _, panels in rows for series in panels.values() for label in series))
    palette = [matplotlib.colormaps[DENSITY](0.9 * k / max(1, len(labels) - 1)) for k in range(len(labels))]
    colours = dict(zip(labels, palette if ordered else COLOURS))
    signs = dict(zip(labels, cycle(MARKERS if markers else ("",))))
    first = {ylabel: axis for (ylabel, _), axis in reversed([*zip(rows, axes[:, 0])])}  # of each y label
    for i, (ylabel, panels) in enumerate(rows):
        for j, axis in enumerate(axes[i]):
            axis.set_visible(j < len(panels))
            axis.tick_params(labelleft=j == 0)
            if axis is not first[ylabel]:
                axis.sharey(first[ylabel])
        for j, (axis, (title, series)) in enumerate(zip(axes[i], panels.items())):
            _draw_curves(axis, series, *([look[label] for label in series] for look in (colours, signs)), reference)
            if not markers:
                plt.setp(axis.lines, linewidth=1)
            axis.set(xscale="log" if logx else "linear", yscale="log" if logy else "linear")
            axis.set_title("" if i > 0 and axes[i - 1, j].get_title() == title else title)
            if i + 1 == len(rows) or j >= len(rows[i + 1][1]):  # nothing below
                axis.set_xlabel(xlabel)
                axis.tick_params(labelbottom=True)
            if logx:
                axis.xaxis.set_minor_formatter(NullFormatter())  # over less than two decades they would overlap
        axes[i, 0].set_ylabel(ylabel)
    _legend_below(figure)
    return done(figure)


def _legend_below(figure: Figure) -> None:
    """One legend for all panels, each label once."""
    handles = {label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels())}
    letters = sum(len(label) + 6 for label in handles)
    lines = -(-letters // int(13 * figure.get_figwidth()))  # about 13 letters an inch
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=-(-len(handles) // lines))


def _draw_curves(axis, series: Mapping[str, tuple], colours: Sequence, markers: Sequence, reference) -> None:
    if reference is not None:
        label, x, y = reference
        axis.plot(x, y, "--", color="#777777", linewidth=1, label=label)
    for k, (label, data) in enumerate(series.items()):
        x, y, error = (*data, None)[:3]
        axis.errorbar(
            vector(x), vector(y), None if error is None else vector(error), label=label,
            color=colours[k % len(colours)], marker=markers[k % len(markers)], capsize=2,
        )


def distributions(
    panels: Mapping[str, Mapping[str, Sequence]], *, xlabel: str, limits: tuple[float, float] = (-1, 1), bins: int = 40,
    width: float = 7.2,
) -> Figure:
    """Histograms (shares) of one quantity, a panel for each title: title → label → values.

    Parameters
    ----------
    panels : the values are (n,), tensors or sequences of numbers; at most seven labels a panel.
    xlabel : of the quantity, with units.
    limits : of the histograms; values outside are left out.
    bins : between the limits.
    width : of the figure, in inches.

    Examples
    --------
    New disks, and the disk of a set of N that is most like each:

    >>> import gahb
    >>> new, panels = gahb.images.disks(20, 16, seed=1), {}
    >>> for n in (10, 100):
    ...     similarity, index = gahb.nearest(new, gahb.images.disks(n, 16))
    ...     panels[f"N = {n}"] = {"nearest of the set": similarity}
    >>> figure = gahb.figures.distributions(panels, xlabel="cosine similarity")
    >>> [axis.get_title() for axis in figure.axes]
    ['N = 10', 'N = 100']
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 0.3 * width + 0.5), sharex=True, sharey=True,
                                squeeze=False)
    edges = np.linspace(*limits, bins + 1)
    for axis, (title, series) in zip(axes[0], panels.items()):
        for k, (label, values) in enumerate(series.items()):
            values = vector(values)
            axis.hist(values, edges, weights=np.full(len(values), 1 / len(values)), color=COLOURS[k], label=label,
                      histtype="stepfilled", alpha=0.6, edgecolor=COLOURS[k])
        axis.set(title=title, xlabel=xlabel)
    axes[0, 0].set_ylabel("share of samples")
    _legend_below(figure)
    return done(figure)


def areas(
    panels: Mapping[str, Mapping[str, tuple]], *, ylabel: str, notes: Sequence[str] = (), width: float = 7.2
) -> Figure:
    """Densities over log σ, filled so that areas can be compared: title → label → (σ, density).

    Parameters
    ----------
    panels : σ and density are (n,), tensors or sequences of numbers; the density is
        that of a unit of log σ, so that the area under it is the integral.
    ylabel : of the density, with units.
    notes : ``notes[i]`` is written into panel i.
    width : of the figure, in inches.

    Examples
    --------
    >>> import gahb, torch
    >>> f, optimal = (gahb.Gaussian(torch.zeros(2), v * torch.eye(2)) for v in (1.0, 0.5))
    >>> sigmas = torch.logspace(-1, 1, 9)
    >>> bound = gahb.kl_bound(f, optimal, optimal.sample(100), sigmas)
    >>> figure = gahb.figures.areas(
    ...     {"two Gaussians": {"E‖f − f*‖² / σ²": (bound.sigmas, bound.by_sigma)}},
    ...     ylabel="nats for each unit of log σ",
    ...     notes=[f"area {bound.value:.2f}"],
    ... )
    >>> figure.axes[0].get_title(), figure.axes[0].get_xscale()
    ('two Gaussians', 'log')
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 0.36 * width + 0.4), sharex=True, squeeze=False)
    colours = dict(zip(dict.fromkeys(label for series in panels.values() for label in series), COLOURS))
    for k, (axis, (title, series)) in enumerate(zip(axes[0], panels.items())):
        for label, (x, y) in series.items():
            axis.fill_between(vector(x), vector(y), color=colours[label], alpha=0.3, linewidth=0)
            axis.plot(vector(x), vector(y), color=colours[label], label=label)
        axis.set(title=title, xlabel="noise level σ", xscale="log", ylim=(0, 1.35 * axis.get_ylim()[1]))
        if k < len(notes):
            axis.text(0.03, 0.97, notes[k], transform=axis.transAxes, va="top", fontsize=8.5)
    axes[0, 0].set_ylabel(ylabel)
    _legend_below(figure)
    return done(figure)


def estimates(values: Mapping[str, tuple[float, float]], *, xlabel: str, truth: float = 0.0, width: float = 6.0):
    """One dot a line with its ±2 standard errors, about a true value: label → (value, standard error).

    Parameters
    ----------
    values : numbers, in the order of the lines, the first one above.
    xlabel : of the quantity, with units.
    truth : where the dashed line stands.
    width : of the figure, in inches.

    Examples
    --------
    Is SURE the squared error, on average?

    >>> import gahb, torch
    >>> x = gahb.images.disks(30, 8)
    >>> y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> bias = {}
    >>> for name, f in {"Gaussian": gahb.Gaussian.of(x), "wavelet": gahb.Wavelet(shifts=1)}.items():
    ...     excess = gahb.sure(f, y, 0.2, probes=4) - (f(y, 0.2) - x).square().mean(dim=(1, 2, 3))
    ...     bias[name] = gahb.statistics.mean_and_error(excess)
    >>> figure = gahb.figures.estimates(bias, xlabel="bias of SURE")
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['Gaussian', 'wavelet']
    """
    figure, axis = plt.subplots(figsize=(width, 0.75 + 0.34 * len(values)))
    axis.axvline(truth, color="#777777", linewidth=1, linestyle="--")
    for k, (value, error) in enumerate(values.values()):
        axis.errorbar(value, -k, xerr=2 * error, color=COLOURS[k % len(COLOURS)],
                      marker=MARKERS[k % len(MARKERS)], capsize=3)
    axis.set_yticks([-k for k in range(len(values))], list(values))
    axis.set(xlabel=xlabel, ylim=(-len(values) + 0.5, 0.5))
    axis.grid(axis="y", visible=False)
    return done(figure)
