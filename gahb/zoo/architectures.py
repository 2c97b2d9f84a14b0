r"""Two older bias-free networks of bias_free_denoising (Mohan et al., ICLR 2020), to read its files into.

Neither has a normalisation, and both return the clean image itself. They are
here to be loaded and measured, not to be trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._validate import check_denoiser_input


def _conv(inputs: int, outputs: int, side: int = 3, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias; with stride 1 the picture keeps its size."""
    padding = dilation * (side - 1) // 2
    return nn.Conv2d(inputs, outputs, side, stride=stride, dilation=dilation, padding=padding, bias=False)


class RecurrentCNN(nn.Module):
    """One chain of convolutions, applied `stages` times to y and its own last answer.

    $x_0 = y$, $x_{s+1} = g(y, x_s)$; the last $x_s$ is the estimate. g has a
    first layer from two pictures, `hidden` inner layers and a last one, all of
    `width` channels, with a ReLU after each but the last.
    """

    def __init__(self, width: int = 64, hidden: int = 5, side: int = 3, stages: int = 4):
        super().__init__()
        self.stages = stages
        self.first_layer = _conv(2, width, side)
        self.hidden_layer_list = nn.ModuleList(_conv(width, width, side) for _ in range(hidden))
        self.last_layer = _conv(width, 1, side)

    def forward(self, y: Tensor, sigma=None) -> Tensor:
        """Estimate of x, shaped like `y` (B, 1, H, W); `sigma` is not used (blind)."""
        check_denoiser_input(y, channels=1, divisor=1)
        x = y
        for _ in range(self.stages):
            h = torch.relu(self.first_layer(torch.cat([y, x], dim=1)))
            for layer in self.hidden_layer_list:
                h = torch.relu(layer(h))
            x = self.last_layer(h)
        return x


class DilatedUNet(nn.Module):
    """A UNet of one scale: half resolution by a stride, a wider view by dilations, one skip.

    With `residual` the network's output is the noise, and is subtracted from y.
    """

    def __init__(self, width: int = 32, residual: bool = False):
        super().__init__()
        self.residual = residual
        self.conv1, self.conv2 = _conv(1, width, 5), _conv(width, width)
        self.conv3 = _conv(width, 2 * width, stride=2)
        self.conv4 = _conv(2 * width, 2 * width)
        self.conv5, self.conv6 = (_conv(2 * width, 2 * width, dilation=dilation) for dilation in (2, 4))
        self.conv7 = nn.ConvTranspose2d(2 * width, 2 * width, 4, stride=2, padding=1, bias=False)
        self.conv8, self.conv9 = _conv(3 * width, width), _conv(width, 1, 5)

    def forward(self, y: Tensor, sigma=None) -> Tensor:
        """Estimate of x, shaped like `y` (B, 1, H, W), H and W even; `sigma` is not used (blind)."""
        check_denoiser_input(y, channels=1, divisor=2)
        full = torch.relu(self.conv2(torch.relu(self.conv1(y))))
        h = full
        for layer in (self.conv3, self.conv4, self.conv5, self.conv6, self.conv7):
            h = torch.relu(layer(h))
        h = torch.relu(self.conv8(torch.cat([h, full], dim=1)))
        return y - self.conv9(h) if self.residual else self.conv9(h)
