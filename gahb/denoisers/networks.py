r"""Bias-free convolutional denoisers.

A network without additive constants is homogeneous of degree one,
$f(ay) = a f(y)$ for $a > 0$, and piecewise linear, so that
$f(y) = \nabla f(y)\,y$ exactly (Mohan, Kadkhodaie, Simoncelli &
Fernandez-Granda, ICLR 2020). It is not told the noise level: σ is read off
the picture.

Both networks predict the noise inside and return the clean image,
$f(y) = y - r(y)$, so that the Jacobian of the denoiser is
$\mathrm{Id} - \nabla r(y)$.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .._validate import check_denoiser_input, positive_int, sigma_vector


class BiasFreeNorm(nn.Module):
    r"""Divide each channel by its standard deviation; multiply by a learned gain.

    $$h_c \mapsto \gamma_c\, h_c / s_c, \qquad
      s_c^2 = \operatorname{Var}_{\text{batch, space}}(h_c) + \epsilon$$

    In training mode $s_c$ is the batch's (gradients flow through it) and a
    running mean of it is kept; in eval mode, and once `frozen` is set, the
    running value is used and the layer is linear. No mean is subtracted from
    the output and nothing is added: homogeneity is kept. With `shared` set the
    batch is that of all processes of torch.distributed, each with an equal share.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps, self.frozen, self.shared = momentum, eps, False, False
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("running_sd", torch.ones(1, channels, 1, 1))

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or self.frozen:
            return h * (self.gain / self.running_sd)
        wide = h.to(torch.promote_types(h.dtype, torch.float32))
        variance = wide.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
        if self.shared:
            variance = _of_all(variance, wide.mean(dim=(0, 2, 3), keepdim=True))
        sd = (variance + self.eps).sqrt()
        with torch.no_grad():
            self.running_sd.lerp_(sd, self.momentum)
        return h * (self.gain / sd).to(h.dtype)


def _of_all(variance: Tensor, mean: Tensor) -> Tensor:
    """Variance of the batch from those of its equal shares: mean of the variances plus variance of the means."""
    from torch.distributed import _functional_collectives as collectives  # the underscore has what has gradients
    from torch.distributed import group

    newer, older = "all_gather_single_autograd", "all_gather_tensor_autograd"  # one function, renamed after PyTorch 2.6
    gather = getattr(collectives, newer if hasattr(collectives, newer) else older)
    moments = torch.cat([variance, mean])[None]  # (1, 2, C, 1, 1)
    variances, means = gather(moments, 0, group.WORLD).unbind(1)
    return variances.mean(dim=0, keepdim=True) + means.var(dim=0, keepdim=True, unbiased=False)


BORDERS = ("zero", "circular", "replicate")


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution without bias, to images of the same size.

    Past the border the image goes on with zeros ("zero"), periodically
    ("circular") or with the pixels of its edge ("replicate").
    """

    def __init__(self, inputs: int, outputs: int, border: str = "zero"):
        super().__init__(inputs, outputs, 3, padding=1 if border == "zero" else 0, bias=False)
        self.border = border
        nn.init.normal_(self.weight, std=math.sqrt(2 / (9 * inputs)))

    def forward(self, h: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        if self.border == "zero":
            return super().forward(h)
        if self.training:
            return super().forward(nn.functional.pad(h, (1, 1, 1, 1), mode=self.border))
        # the same by an operation that `gahb.jacobian.linearized` has a derivative for
        for axis in (2, 3):
            h = h.index_select(axis, self._places(h.shape[axis], h.device))
        return super().forward(h)

    def _places(self, n: int, device: torch.device) -> Tensor:
        """Which of n pixels stand at −1, 0, …, n."""
        places = torch.arange(-1, n + 1, device=device)
        return places % n if self.border == "circular" else places.clamp(0, n - 1)


def check_border(border: str) -> str:
    """ValueError unless `border` is one of `BORDERS`."""
    if border not in BORDERS:
        raise ValueError(f"border must be {', '.join(map(repr, BORDERS))}, got {border!r}")
    return border


def _conv_norm_relu(inputs: int, outputs: int, border: str) -> list[nn.Module]:
    return [Conv3x3(inputs, outputs, border), BiasFreeNorm(outputs), nn.ReLU()]


class _BiasFreeDenoiser(nn.Module):
    """The denoiser contract around a network that predicts the noise."""

    divisor: int = 1
    channels: int

    def forward(self, y: Tensor, sigma=None) -> Tensor:
        """Estimate of x, shaped like `y` (B, C, H, W); `sigma` is not used (blind)."""
        check_denoiser_input(y, channels=self.channels, divisor=self.divisor)
        return y - self.residual(y)

    def residual(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class UNet(_BiasFreeDenoiser):
    r"""Bias-free, blind UNet of the paper (appendix A).

    Each of `depth` encoder blocks has two 3×3 convolutions and an average
    pooling by 2; the channels double with every block. Two convolutions in
    the middle; each decoder block upsamples by a transposed convolution,
    concatenates the encoder's output and has two convolutions. The input is
    (B, channels, H, W), in units of images in [0, 1].

    Parameters
    ----------
    width : channels of the first block (7,659,264 parameters at 64, depth 3).
    depth : poolings; H and W must be divisible by ``2 ** depth``.
    channels : channels of the image.
    border : what lies past the border of every picture that is convolved: "zero",
        "circular" (periodic: shifts of y by multiples of ``2 ** depth`` shift
        the answer) or "replicate" (the pixels of the edge).

    Raises
    ------
    ValueError : for an argument out of range; when called, for a `y` of another
        number of channels, or whose H or W is not divisible by ``2 ** depth``.

    Examples
    --------
    Before and after training, the network takes images of several sizes, and $f(3y) = 3f(y)$:

    >>> import gahb, torch
    >>> f = gahb.UNet(width=8, depth=2).eval()
    >>> y = torch.rand(5, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    >>> f(y).shape
    torch.Size([5, 1, 16, 24])
    >>> torch.allclose(f(3 * y), 3 * f(y), atol=1e-4)
    True
    """

    def __init__(self, width: int = 64, depth: int = 3, channels: int = 1, border: str = "zero"):
        super().__init__()
        self.border = check_border(border)
        self.width = positive_int("width", width)
        self.depth = positive_int("depth", depth)
        self.channels = positive_int("channels", channels)
        self.divisor = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList()
        for level in range(depth):
            first = (
                [Conv3x3(channels, width, border), nn.ReLU()]
                if level == 0
                else _conv_norm_relu(widths[level - 1], widths[level], border)
            )
            self.encoder.append(nn.Sequential(*first, *_conv_norm_relu(widths[level], widths[level], border)))
        self.middle = nn.Sequential(
            *_conv_norm_relu(widths[-2], widths[-1], border), *_conv_norm_relu(widths[-1], widths[-1], border)
        )
        self.upsample, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            here = widths[level]
            self.upsample.append(nn.ConvTranspose2d(2 * here, here, 2, stride=2, bias=False))
            last = [Conv3x3(here, channels, border)] if level == 0 else _conv_norm_relu(here, here, border)
            self.decoder.append(nn.Sequential(*_conv_norm_relu(2 * here, here, border), *last))

    def residual(self, y: Tensor) -> Tensor:
        """The predicted noise $r(y) = y - f(y)$."""
        skips, h = [], y
        for block in self.encoder:
            h = block(h)  # (B, width 2^level, H / 2^level, W / 2^level)
            skips.append(h)
            h = nn.functional.avg_pool2d(h, 2)
        h = self.middle(h)
        for level in reversed(range(self.depth)):
            h = torch.cat([self.upsample[level](h), skips[level]], dim=1)
            h = self.decoder[level](h)
        return h


class PointNetwork(nn.Module):
    r"""A small σ-conditioned network for points (B, d): not blind, not bias-free.

    $$f(y, \sigma) = y - \sigma\, r\bigl(y/\sqrt{1+\sigma^2},\, \log\sigma\bigr)$$

    with $r$ three hidden layers of `width` units (SiLU). It predicts the unit
    noise, which is of order one at every σ, for data of order one.

    Parameters
    ----------
    d : dimension of the points.
    width : units of each hidden layer.

    Raises
    ------
    ValueError : for a `d` or `width` that is no positive integer; when called, for
        a `y` that is not (B, d), and a `sigma` that is None or not positive.

    Examples
    --------
    >>> import gahb, torch
    >>> points = gahb.Gaussian(torch.zeros(2), torch.eye(2)).sample(500)
    >>> f = gahb.fit(gahb.PointNetwork(2, width=16), points, steps=20, progress=False)
    >>> f(torch.zeros(3, 2), 0.5).shape
    torch.Size([3, 2])
    """

    def __init__(self, d: int, width: int = 128):
        super().__init__()
        self.d = positive_int("d", d)
        positive_int("width", width)
        sizes = [d + 1, width, width, width]
        layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.SiLU())]
        self.noise = nn.Sequential(*layers, nn.Linear(width, d))

    def forward(self, y: Tensor, sigma=None) -> Tensor:
        """Estimate of x, shaped like `y` (B, d); `sigma` a positive float or (B,) tensor, not None."""
        if y.ndim != 2 or y.shape[1] != self.d:
            raise ValueError(f"y must be (B, {self.d}), got shape {tuple(y.shape)}")
        sigma = sigma_vector(sigma, y)[:, None]
        return y - sigma * self.noise(torch.cat([y / (1 + sigma**2).sqrt(), sigma.log()], dim=1))


class BFCNN(_BiasFreeDenoiser):
    r"""Bias-free CNN: a chain of 3×3 convolutions at full resolution.

    Mohan et al. (ICLR 2020); the second architecture of the paper.

    Parameters
    ----------
    width : channels of every layer but the ends.
    layers : convolutions, at least 3 (21 at width 64: 0.70 M parameters,
        receptive field 43×43).
    channels : channels of the image.
    linear_first : whether the first convolution has no ReLU, as in some published networks.
    border : as of :class:`gahb.UNet`; here every shift is an equivariance where it is "circular".

    Raises
    ------
    ValueError : for an argument out of range; when called, for a `y` that is not
        (B, channels, H, W). H and W are free.

    Examples
    --------
    With a periodic border, a shifted image has the shifted answer:

    >>> import gahb, torch
    >>> f = gahb.BFCNN(width=8, layers=5, border="circular").eval()
    >>> y = torch.rand(1, 1, 12, 15, generator=torch.Generator().manual_seed(0))
    >>> shifted = y.roll((2, 3), dims=(2, 3))
    >>> torch.allclose(f(shifted), f(y).roll((2, 3), dims=(2, 3)), atol=1e-5)
    True
    """

    def __init__(self, width: int = 64, layers: int = 21, channels: int = 1, linear_first: bool = False,
                 border: str = "zero"):
        super().__init__()
        self.border = check_border(border)
        self.width = positive_int("width", width)
        self.layers = positive_int("layers", layers, at_least=3)
        self.channels = positive_int("channels", channels)
        inner = [m for _ in range(layers - 2) for m in _conv_norm_relu(width, width, border)]
        first = nn.Identity() if linear_first else nn.ReLU()
        self.chain = nn.Sequential(Conv3x3(channels, width, border), first, *inner, Conv3x3(width, channels, border))

    def residual(self, y: Tensor) -> Tensor:
        """The predicted noise $r(y) = y - f(y)$."""
        return self.chain(y)
