"""Precomputed pictures over up to three sliders: drag, step by keys, or play."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .sliders import SliderWidget, check_size, check_sliders, check_text, finite, source


class FramesWidget(SliderWidget):
    """What `frames` returns: `value`, an index on each slider, follows the reader's hand, and may be set."""

    _esm = source("common.js", "sliders.js", "colours.js", "frames.js")
    _css = source("sliders.css", "frames.css")

    shape = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)  # positions, panels, H, W
    shown = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)  # positions × panels: number of the picture
    pixels = traitlets.Bytes(read_only=True).tag(sync=True)  # of all pictures: uint8, differences along rows, deflated
    titles = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    captions = traitlets.List(read_only=True).tag(sync=True)  # positions × panels, or nothing
    signed = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    limit = traitlets.Float(read_only=True).tag(sync=True)
    place = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)  # sliders that a click sets: row, column


def frames(
    frames,
    sliders: Mapping[str, Sequence],
    *,
    alt: str,
    titles: Sequence[str] = (),
    captions: Sequence | None = None,
    signed: Sequence[int] = (),
    place: tuple[str, str] | None = None,
) -> FramesWidget:
    """Small pictures in panels side by side, one position of the sliders at a time.

    Parameters
    ----------
    frames : (length of each slider …, panels, H, W), tensor or array, finite.
        Grey levels in [0, 1], cut there as a screen must; kept in 8 bits, a picture that
        comes several times only once.
    sliders : one to three names, each with the labels (numbers or texts) of its positions.
    alt : what the pictures show, for who cannot see them.
    titles : one above each panel.
    captions : (length of each slider …, panels) texts, below each panel.
    signed : panels on a diverging scale about zero instead, the same for all of
        them at every position; it ends at the 99.5th percentile of their absolute values.
    place : names of the sliders for row and column, if they say where in the
        pictures something is: a click on a picture, or a drag, then sets both
        to the labels nearest to that pixel.

    Returns
    -------
    A widget whose trait `value` (an index on each slider) can be read and set
    from Python; it opens at the first position of each.

    Raises
    ------
    ValueError : an argument of the wrong shape or value, by name; or pictures
        that take more than 1.5 MB on the page, compressed.

    Examples
    --------
    >>> import gahb, torch
    >>> x, sigmas = gahb.images.disks(1, 32), [0.05, 0.1, 0.2, 0.4]
    >>> z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> wavelet, positions = gahb.Wavelet(), []
    >>> for s in sigmas:
    ...     y = x + s * z
    ...     positions.append(torch.cat([y[0], wavelet(y, s)[0]]))  # (2, 32, 32): two panels
    >>> widget = gahb.widgets.frames(
    ...     torch.stack(positions), {"σ": sigmas}, titles=["noisy", "denoised"], alt="A noisy disk, denoised"
    ... )
    >>> widget
    <A noisy disk, denoised; sliders: σ (4)>
    >>> widget.value = [2]  # at σ = 0.2
    """
    sliders = check_sliders(sliders)
    lengths = tuple(map(len, sliders.values()))
    pictures = finite("frames", frames)
    if pictures.ndim != len(lengths) + 3 or pictures.shape[:-3] != lengths or not pictures.size:
        wanted = str((*lengths, "panels", "H", "W")).replace("'", "")
        raise ValueError(f"frames must have shape {wanted} for sliders {list(sliders)}, got {pictures.shape}")
    panels = pictures.shape[-3]
    if len(titles) not in (0, panels):
        raise ValueError(f"titles must be one for each of the {panels} panels, got {list(titles)}")
    if not all(panel in range(panels) for panel in signed):
        raise ValueError(f"signed must list panels from 0 to {panels - 1}, got {list(signed)}")
    if place is not None and not (len(set(place)) == 2 and all(map(_numeric, map(sliders.get, place)))):
        raise ValueError(f"place must name two of the sliders {list(sliders)} with numbers as labels, got {place!r}")

    pictures = pictures.reshape(-1, *pictures.shape[-3:])
    signed = sorted(map(int, set(signed)))
    limit = float(np.quantile(np.abs(pictures[:, signed]), 0.995)) if signed else 1.0
    limit = limit or 1.0  # nothing but zeros
    levels = 255 * pictures.clip(0, 1)
    levels[:, signed] = 128 + 127 * (pictures[:, signed] / limit).clip(-1, 1)  # zero is a level
    levels = levels.round().astype(np.uint8)
    pixels, shown = _packed(levels.reshape(-1, *levels.shape[2:]))
    check_size("frames", len(pixels) * 4 // 3, "give fewer positions, panels or pixels")  # base64
    return FramesWidget(
        sliders, shape=list(levels.shape), shown=shown, pixels=pixels, titles=[str(title) for title in titles],
        captions=_captions(captions, (*lengths, panels)), signed=signed, limit=limit, alt=check_text("alt", alt),
        place=[list(sliders).index(name) for name in place or ()],
    )


def _packed(pictures: np.ndarray) -> tuple[bytes, list[int]]:
    """The different ones of many pictures (n, H, W), in the order in which they come, and which of them each is."""
    numbers: dict[bytes, int] = {}
    shown = [numbers.setdefault(picture.tobytes(), len(numbers)) for picture in pictures]
    different = np.frombuffer(b"".join(numbers), np.uint8).reshape(-1, *pictures.shape[1:])
    return zlib.compress(np.diff(different, axis=-1, prepend=np.uint8(0)).tobytes(), 9), shown


def _numeric(labels: list[str] | None) -> bool:
    try:
        return labels is not None and all(map(math.isfinite, map(float, labels)))
    except ValueError:
        return False


def _captions(captions, shape: tuple[int, ...]) -> list[list[str]]:
    if captions is None:
        return []
    try:
        texts = np.array(captions)
    except ValueError:  # of unequal lengths
        texts = np.empty(0)
    if texts.dtype.kind != "U" or texts.shape != shape:
        raise ValueError(f"captions must be texts of shape {shape}, got shape {texts.shape} of {texts.dtype.name}")
    return texts.reshape(-1, shape[-1]).tolist()
