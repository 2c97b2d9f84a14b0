"""Pictures in rows, samples beside training images, and fields of the plane."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from .style import COLOURS, DENSITY, DIVERGING, array_of, done, vector


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
    pictures = [[array_of(image) for image in row] for row in rows]
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
    return done(figure)


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
            values = vector(values).clip(*limits)
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
                axis.imshow(array_of(picture), cmap="gray", vmin=0, vmax=255)
                axis.set_axis_off()
            grid[0, k].set_title(caption, fontsize=7)
        below.suptitle("Most alike: samples above, training images below", fontsize=9)
    return done(figure)


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
        axis.imshow(vector(density.sqrt()), cmap=DENSITY, interpolation="bilinear", **frame)
        y = torch.cartesian_prod(coarse, coarse)
        arrow = (mixture(y, sigma) - y) / sigma
        axis.quiver(*vector(y.T), *vector(arrow.T), color="white", alpha=0.9, width=0.004, scale=55, pivot="tail")
        axis.set(title=f"σ = {sigma:g}", xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    return done(figure)
