r"""A denoiser that runs in the page: noise to drag, a filter to click for, eigenvectors, the reverse diffusion.

The weights travel with the widget, and the page computes: $f(y)$, the products
$\nabla f(y)\,v$ and $\nabla f(y)^\top w$, the leading eigenvectors of
$(\nabla f + \nabla f^\top)/2$, and the steps of the sampler. No kernel is
asked, so that JupyterLab and the built page do the same. The sums over
channels and taps are WebAssembly of some two kilobytes that the page
assembles for itself (`unet.js`); nothing is fetched.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
import traitlets
from torch import Tensor

from .._validate import check_denoises, positive_int, positive_number
from ..denoisers.networks import UNet
from ..images import c_alpha, centre, disks, photograph
from .sliders import SliderWidget, check_size, check_text, finite, source

ALT = "A small denoiser at work: a picture, the same with noise, denoised, and the filter of one pixel"
_MOST = 128  # pixels a side
_MADE = 320  # pixels a side of the built-in pictures, before they are reduced


class LiveWidget(SliderWidget):
    """What `live` returns: `network`, `picture`, `sigma` and `pixel` follow the reader's hand, and may be set."""

    _esm = source("common.js", "sliders.js", "colours.js", "spectrum.js", "unet.js", "psnr.js", "live.js")
    _css = source("sliders.css", "live.css")

    networks = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)  # label, width, depth, size, floats, …
    weights = traitlets.Bytes(read_only=True).tag(sync=True)  # float32, little-endian, one after the other, deflated
    picture_names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    pictures = traitlets.Bytes(read_only=True).tag(sync=True)  # uint8, for each network all in its size, deflated
    network = traitlets.Int(0).tag(sync=True)
    picture = traitlets.Int(0).tag(sync=True)  # −1 where the reader made one
    sigma = traitlets.Float(0.1).tag(sync=True)
    pixel = traitlets.List(traitlets.Int(), [0, 0], minlen=2, maxlen=2).tag(sync=True)

    def __init__(self, **traits):
        super().__init__({}, **traits)

    @traitlets.validate("network", "picture")
    def _check_index(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        low, count = (0, len(self.networks)) if name == "network" else (-1, len(self.picture_names))
        if self.networks and not low <= value < count:
            raise ValueError(f"{name} must be from {low} to {count - 1}, got {value}")
        return value

    @traitlets.validate("sigma")
    def _check_sigma(self, proposal):
        return positive_number("sigma", proposal["value"])


def live(
    networks: UNet | Mapping[str, UNet],
    *,
    size: int | Mapping[str, int] = 64,
    pictures: Mapping[str, Tensor] | None = None,
    psnr: Mapping[str, Mapping[str, tuple]] | None = None,
    sigma: float = 0.1,
    alt: str = ALT,
) -> LiveWidget:
    r"""Networks that run in the page, on pictures with noise of standard deviation σ.

    The reader chooses a network and a picture (or draws, or loads one, which
    stays on the reader's machine), and drags σ; chooses a pixel i and sees its
    filter $\partial f_i/\partial y$; asks for the leading eigenvectors of the
    symmetric part of $\nabla f(y)$; and follows the stochastic reverse
    diffusion of `gahb.sample` from noise to a picture, and back.

    Parameters
    ----------
    networks : a `gahb.UNet` of one channel in eval mode, or label → network. One of
        60,000 parameters takes about 3 ms for 40×40 pixels, and 8 ms for 64×64.
    size : side of the pictures in pixels, at most 128, divisible by the network's
        pooling; or label → side.
    pictures : name → square grey picture (…, H, H), values in [0, 1], of at least
        that size; averaged down to it. By default photographs that ship with
        scikit-image and were not trained on, a disk, a C² image, and a blank sheet.
    psnr : label → (name → (noise levels, PSNR in dB)): curves to be shown with the
        network of that label, its own first, at most two.
    sigma : noise level shown first, positive.
    alt : what is shown, for who cannot see it.

    Returns
    -------
    A widget whose traits `network`, `picture` (indices), `sigma` and `pixel` (row,
    column) can be read and set from Python.

    Raises
    ------
    ValueError, TypeError : an argument of the wrong kind or value, by name; or
        networks and pictures that take more than 1.5 MB on the page.

    Examples
    --------
    >>> import gahb
    >>> network = gahb.zoo.load("calpha-live")
    >>> disk = gahb.images.disks(1, 40)[0, 0]
    >>> widget = gahb.widgets.live(network, size=40, pictures={"disk": disk}, alt="A denoiser at a disk")
    >>> widget
    <A denoiser at a disk>
    >>> widget.sigma, widget.pixel = 0.3, [20, 20]  # as if the reader had chosen them
    """
    networks = networks if isinstance(networks, Mapping) else {"network": networks}
    if not networks:
        raise ValueError("networks must have at least one network, got none")
    sizes = dict(size) if isinstance(size, Mapping) else dict.fromkeys(networks, size)
    pictures = default_pictures() if pictures is None else {str(name): _grey(name, x) for name, x in pictures.items()}
    if not pictures:
        raise ValueError("pictures must have at least one picture, got none")
    about, weights, pixels = [], [], []
    for label, network in networks.items():
        if not isinstance(network, UNet) or network.channels != 1:
            kind = f"one of {network.channels} channels" if isinstance(network, UNet) else type(network).__name__
            raise TypeError(f"networks[{label!r}] must be a UNet of one channel, got {kind}")
        check_denoises(network)
        side = positive_int(f"size of {label!r}", sizes.get(label))
        if side > _MOST or side % network.divisor:
            allowed = f"at most {_MOST} and divisible by {network.divisor}"
            raise ValueError(f"size of {label!r} must be {allowed}, got {side}")
        state = flat_state(network)
        weights.append(state.tobytes())
        for name, x in pictures.items():
            if len(x) < side:
                raise ValueError(f"pictures[{name!r}] must have at least {side} pixels a side, got {len(x)}")
        pixels += [(255 * reduced(x, side)).round().byte().numpy().tobytes() for x in pictures.values()]
        about.append(
            dict(label=str(label), width=network.width, depth=network.depth, size=side, floats=state.size,
                 parameters=sum(p.numel() for p in network.parameters()),
                 curves=_curves(label, (psnr or {}).get(label)))
        )
    weights, pixels = (zlib.compress(b"".join(parts), 9) for parts in (weights, pixels))
    check_size("networks", (len(weights) + len(pixels)) * 4 // 3, "give smaller networks, or fewer pictures")  # base64
    return LiveWidget(
        networks=about, weights=weights, picture_names=list(pictures), pictures=pixels,
        sigma=positive_number("sigma", sigma), pixel=[about[0]["size"] * 2 // 5] * 2, alt=check_text("alt", alt),
    )


def flat_state(network: UNet) -> np.ndarray:
    """The floats of a UNet's state, in its own order: little-endian float32, as `unet.js` reads them."""
    parts = [value.detach().cpu().float().numpy().ravel() for value in network.state_dict().values()]
    return np.concatenate(parts).astype("<f4")


def default_pictures() -> dict[str, Tensor]:
    """What the reader finds without `pictures`: name → (H, H)."""

    def cut(name: str, top: int, left: int, side: int) -> Tensor:
        return photograph(name, multiple=1)[0, top : top + side, left : left + side]

    return {
        "camera": cut("camera.png", 20, 60, 128),
        "cat": cut("chelsea.png", 10, 55, 128),
        "astronaut": cut("astronaut.png", 4, 60, 100),
        "coffee": centre(photograph("coffee.png"), 192)[0],
        "coins": cut("coins.png", 8, 8, 96),
        "disk": disks(1, _MADE, seed=3)[0, 0],
        "smooth on both sides of a smooth contour": c_alpha(1, _MADE, 2, seed=1)[0, 0],
        "blank sheet": torch.full((_MOST, _MOST), 0.75),
    }


def _grey(name, picture) -> Tensor:
    array = torch.from_numpy(finite(f"pictures[{name!r}]", picture)).float().squeeze()
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"pictures[{name!r}] must be one square grey picture, got shape {tuple(array.shape)}")
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"pictures[{name!r}] must be in [0, 1], got {array.min():g} to {array.max():g}")
    return array


def reduced(picture: Tensor, side: int) -> Tensor:
    """A square picture (H, H) averaged down to (side, side)."""
    return torch.nn.functional.interpolate(picture[None, None], (side, side), mode="area")[0, 0]


def _curves(label, curves: Mapping[str, tuple] | None) -> list[dict]:
    if curves is None:
        return []
    if not isinstance(curves, Mapping) or len(curves) > 2:
        raise ValueError(f"psnr[{label!r}] must map at most two names to (sigmas, psnr), got {curves!r}")
    found = []
    for name, (sigmas, values) in curves.items():
        sigmas = finite(f"psnr[{label!r}][{name!r}] sigmas", sigmas)
        values = finite(f"psnr[{label!r}][{name!r}]", values)
        if sigmas.ndim != 1 or sigmas.shape != values.shape or not sigmas.size or sigmas.min() <= 0:
            raise ValueError(f"psnr[{label!r}][{name!r}] must be (n,) positive noise levels and (n,) decibels, "
                             f"got shapes {sigmas.shape} and {values.shape}")
        found.append(dict(label=str(name), sigmas=sigmas.tolist(), psnr=values.tolist()))
    return found
