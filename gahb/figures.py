"""The figures of the book: functions from data to a matplotlib `Figure`, in one style.

Colours are those of Okabe & Ito, told apart by colour-blind readers; every
curve also has its own marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from itertools import cycle

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ._text import plus_minus

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


def image_grid(
    rows: Sequence[Sequence],
    titles: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    *,
    signed: Sequence[int] = (),
    captions: Sequence[Sequence[str]] = (),
    width: float = 7.2,
) -> Figure:
    """Images in rows, grey or in colour, in [0, 1]; columns listed in `signed` share a diverging scale about zero.

    Parameters
    ----------
    rows : of each row its images, (H, W), (1, H, W) or (3, H, W), tensors or arrays. A
        row may be shorter than the others.
    titles : above the columns.
    row_labels : left of the rows.
    signed : indices of columns of grey images on the diverging scale; it ends at
        the 99.5th percentile of their absolute values.
    captions : ``captions[i][j]`` is written below image j of row i.
    width : of the figure, in inches.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(2, 16)
    >>> z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> rows = [[clean, clean + 0.2 * noise, noise] for clean, noise in zip(x, z)]
    >>> figure = gahb.figures.image_grid(rows, ["clean", "noisy", "noise"], signed=[2])
    >>> [axis.get_title() for axis in figure.axes]
    ['clean', 'noisy', 'noise', '', '', '']
    """
    pictures = [[_array(image) for image in row] for row in rows]
    columns = max(len(row) for row in pictures)
    ratio = pictures[0][0].shape[0] / pictures[0][0].shape[1]
    height = len(pictures) * (width / columns * ratio + (0.2 if captions else 0)) + (0.25 if titles else 0)
    figure, axes = plt.subplots(len(pictures), columns, figsize=(width, height), squeeze=False, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    limit = max((np.quantile(np.abs(row[j]), 0.995) for row in pictures for j in signed if j < len(row)), default=1.0)
    for i, row in enumerate(pictures):
        for j, axis in enumerate(axes[i]):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
            if j >= len(row):
                continue
            gray, diverging = {"cmap": "gray", "vmin": 0, "vmax": 1}, {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
            style = diverging if j in signed else gray
            axis.imshow(row[j].clip(0, 1) if row[j].ndim == 3 else row[j], **style)
            if i == 0 and j < len(titles):
                axis.set_title(titles[j])
            if captions and captions[i][j]:
                axis.set_xlabel(captions[i][j], fontsize=8, labelpad=2)
        if i < len(row_labels):
            axes[i, 0].set_ylabel(row_labels[i])
    return _done(figure)


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
    return _done(figure)


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
    return _done(figure)


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
            _vector(x), _vector(y), None if error is None else _vector(error), label=label,
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
            values = _vector(values)
            axis.hist(values, edges, weights=np.full(len(values), 1 / len(values)), color=COLOURS[k], label=label,
                      histtype="stepfilled", alpha=0.6, edgecolor=COLOURS[k])
        axis.set(title=title, xlabel=xlabel)
    axes[0, 0].set_ylabel("share of samples")
    _legend_below(figure)
    return _done(figure)


def copies(found, pairs: Sequence[tuple] = (), *, width: float = 7.2) -> Figure:
    """Samples beside images held out: cosine with the nearest training image, and the ratio of distances.

    Parameters
    ----------
    found : of :func:`gahb.copies`.
    pairs : (sample, training image, caption) to be shown below, at most ten: images (C, H, W) of bytes.
    width : of the figure, in inches.

    Examples
    --------
    >>> import gahb
    >>> train, new = gahb.images.dead_leaves(200, 16), gahb.images.dead_leaves(20, 16, seed=1)
    >>> found = gahb.copies(new, train, progress=False)
    >>> [axis.get_xlabel()[:12] for axis in gahb.figures.copies(found).axes]
    ['cosine with ', 'distance to ']
    """
    height, rows = 0.34 * width + 0.3, 2 * width / len(pairs) + 0.6 if len(pairs) else 0
    figure = plt.figure(figsize=(width, height + rows), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[height, rows]) if len(pairs) else (figure, None)
    axes = above.subplots(1, 2)
    null = "training images, each without itself" if found.from_train else "images held out"
    lowest = min(float(found.similarity.min()), float(found.null.min()))
    for axis, samples, held_out, limits in (
        (axes[0], found.similarity, found.null, (max(-1, lowest - 0.02), 1)),
        (axes[1], found.ratio, found.null_ratio, (0, 1)),
    ):
        edges = np.linspace(*limits, 41)
        for values, colour, label in ((held_out, COLOURS[5], null), (samples, COLOURS[1], "samples")):
            values = _vector(values).clip(*limits)
            axis.hist(values, edges, weights=np.full(len(values), 1 / len(values)), color=colour, label=label,
                      histtype="stepfilled", alpha=0.55, edgecolor=colour)
    axes[0].axvline(found.threshold, color="#777777", linestyle="--", linewidth=1.2,
                    label=f"exceeded by {100 * found.level:g} % of new images")
    axes[0].set(xlabel="cosine with the nearest training image", ylabel="share")
    axes[1].set(xlabel="distance to the nearest / to the second nearest")
    handles, labels = axes[0].get_legend_handles_labels()
    above.legend(handles, labels, loc="outside lower center", ncols=3)
    if below is not None:
        grid = below.subplots(2, len(pairs), squeeze=False)
        for k, (sample, image, caption) in enumerate(pairs):
            for axis, picture in ((grid[0, k], sample), (grid[1, k], image)):
                axis.imshow(_array(picture), cmap="gray", vmin=0, vmax=255)
                axis.set_axis_off()
            grid[0, k].set_title(caption, fontsize=7)
        below.suptitle("Most alike: samples above, training images below", fontsize=9)
    return _done(figure)


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
            axis.fill_between(_vector(x), _vector(y), color=colours[label], alpha=0.3, linewidth=0)
            axis.plot(_vector(x), _vector(y), color=colours[label], label=label)
        axis.set(title=title, xlabel="noise level σ", xscale="log", ylim=(0, 1.35 * axis.get_ylim()[1]))
        if k < len(notes):
            axis.text(0.03, 0.97, notes[k], transform=axis.transAxes, va="top", fontsize=8.5)
    axes[0, 0].set_ylabel(ylabel)
    _legend_below(figure)
    return _done(figure)


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
    return _done(figure)


def mixture_fields(mixture, sigmas: Sequence[float], *, extent: float = 2.4, arrows: int = 17) -> Figure:
    """Noisy density of a two-dimensional mixture and its score as arrows, a panel for each σ.

    Arrows show σ·score, the predicted unit noise with its sign turned.

    Parameters
    ----------
    mixture : of dimension two; it has `log_density(y, sigma)` and obeys the denoiser contract.
    sigmas : noise levels, positive.
    extent : the panels show [−extent, extent] of both coordinates.
    arrows : in each direction.

    Examples
    --------
    >>> import gahb, torch
    >>> means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> mixture = gahb.GaussianMixture([0.5, 0.5], means, 0.1 * torch.eye(2).expand(2, 2, 2))
    >>> figure = gahb.figures.mixture_fields(mixture, [0.1, 1.0])
    >>> [axis.get_title() for axis in figure.axes]
    ['σ = 0.1', 'σ = 1']
    """
    figure, axes = plt.subplots(1, len(sigmas), figsize=(7.2, 7.2 / len(sigmas) + 0.25), squeeze=False)
    fine, coarse = (torch.linspace(-extent, extent, n, dtype=torch.float64) for n in (160, arrows))
    for axis, sigma in zip(axes[0], sigmas):
        density = mixture.log_density(torch.cartesian_prod(fine, fine), sigma).exp().reshape(160, 160).T
        frame = dict(extent=[-extent, extent] * 2, origin="lower")
        axis.imshow(_vector(density.sqrt()), cmap=DENSITY, interpolation="bilinear", **frame)
        y = torch.cartesian_prod(coarse, coarse)
        arrow = (mixture(y, sigma) - y) / sigma
        axis.quiver(*_vector(y.T), *_vector(arrow.T), color="white", alpha=0.9, width=0.004, scale=55, pivot="tail")
        axis.set(title=f"σ = {sigma:g}", xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    return _done(figure)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence],
    *,
    caption: str = "",
    groups: Mapping[str, int] | None = None,
    bold_best: bool = False,
):
    """An HTML table for a notebook.

    A number has two decimals, a pair (value, standard error) is written as
    `value ± error`, None as a dash, and text as it is (``<`` is no tag).

    `groups` (label → columns) is a second header above the last columns. With
    `bold_best` the largest number of each row is bold, in each group apart.
    The result is an `IPython.display.HTML`, whose text is `data`.

    >>> import gahb
    >>> rows = [["cat", 24.3, 25.61], ["coins", (23.972, 0.112), None]]
    >>> table = gahb.figures.table(["picture", "wavelet", "network"], rows, caption="PSNR in dB.", bold_best=True)
    >>> print(table.data)
    <table class="table gahb-table"><caption>PSNR in dB.</caption>
    <thead>
    <tr><th scope="col">picture</th><th scope="col">wavelet</th><th scope="col">network</th></tr></thead><tbody>
    <tr><td>cat</td><td>24.30</td><td><strong>25.61</strong></td></tr>
    <tr><td>coins</td><td>23.97 ± 0.11</td><td>–</td></tr></tbody></table>
    """
    from IPython.display import HTML

    safe = partial(escape, quote=False)
    lines = [f"<caption>{safe(caption)}</caption>"] if caption else []
    groups = groups or {}
    first = len(header) - sum(groups.values())
    spans = [(first + sum(list(groups.values())[:k]), n) for k, n in enumerate(groups.values())] or [(0, len(header))]
    if groups:
        above = "".join(f'<th scope="colgroup" colspan="{n}">{safe(label)}</th>' for label, n in groups.items())
        lines.append(f'<thead><tr><td colspan="{first}"></td>{above}</tr>')
    else:
        lines.append("<thead>")
    lines.append("<tr>" + "".join(f'<th scope="col">{safe(h)}</th>' for h in header) + "</tr></thead><tbody>")
    for row in rows:
        cells = [safe(_cell(cell)) for cell in row]
        for start, n in spans if bold_best else ():
            numbers = [k for k in range(start, start + n) if isinstance(row[k], float)]
            if numbers:
                best = max(numbers, key=lambda k: row[k])
                cells[best] = f"<strong>{cells[best]}</strong>"
        lines.append("<tr>" + "".join(f"<td>{text}</td>" for text in cells) + "</tr>")
    return HTML('<table class="table gahb-table">' + "\n".join(lines) + "</tbody></table>")


def _cell(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return plus_minus(*value)
    return f"{value:,.2f}".replace("-", "−") if isinstance(value, float) else str(value)


def _done(figure: Figure) -> Figure:
    plt.close(figure)  # a notebook shows what a cell returns, and only that
    return figure


def _array(image) -> np.ndarray:
    """(H, W), or in colour (H, W, 3)."""
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    array = array.squeeze()
    return array.transpose(1, 2, 0) if array.ndim == 3 and len(array) == 3 else array


def _vector(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=float)
