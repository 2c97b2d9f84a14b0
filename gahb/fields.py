r"""Neural fields: images kept as a latent grid, and rendered at any size.

An encoder maps an image to a grid z of a few channels. A decoder turns z into
features on the same grid, and a small network computes a pixel anywhere from
the feature of the nearest grid place, the position relative to that place, and
the side of the pixel, as in Chen, Liu & Wang (CVPR 2021) and in Chen et al.
(CVPR 2024). A pixel is the mean of the image over its square, so that it
depends on its side: the same place is grey on the edge of an object in a large
pixel, and black or white in a small one.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ._validate import check_images, positive_int, positive_number

POOL = 2  # pixels of the encoder's image a side for one place of the grid


class NeuralField(nn.Module):
    r"""An autoencoder whose latent grid is rendered at any size.

    With g places a side, the pixel of side s centred at $(r, c)$, in sides of
    the image, is

    $$R\bigl(\phi_{ij},\; 2(gr - i) - 1,\; 2(gc - j) - 1,\; gs\bigr),
      \qquad i = \lfloor gr\rfloor,\; j = \lfloor gc\rfloor,$$

    where φ = D(z) are the features and R is a perceptron of three layers, the
    same for all pixels. The latents lie in (0, 1), as images do: whatever takes
    images here takes them too.

    Parameters
    ----------
    latents : channels of the grid, which has half of the image's side.
    width : channels of the encoder and of the features; R is twice as wide.
    cell : whether R is told the side of the pixel.

    Raises
    ------
    ValueError : for an argument out of range; when called, for images that are not
        (B, 1, H, W) in [0, 1] with sides divisible by 2.

    Examples
    --------
    >>> import gahb
    >>> field = gahb.NeuralField(latents=2, width=8).eval()
    >>> z = field.encode(gahb.images.disks(3, 20))
    >>> z.shape, field.render(z, 20).shape, field.render(z, 33).shape
    (torch.Size([3, 2, 10, 10]), torch.Size([3, 1, 20, 20]), torch.Size([3, 1, 33, 33]))
    """

    divisor = POOL
    channels = 1

    def __init__(self, latents: int = 4, width: int = 32, cell: bool = True):
        super().__init__()
        self.latents, self.width = positive_int("latents", latents), positive_int("width", width)
        if not isinstance(cell, bool):
            raise ValueError(f"cell must be True or False, got {cell!r}")
        self.cell = cell
        self.encoder = nn.Sequential(
            _conv(1, width), nn.ReLU(), _conv(width, width), nn.ReLU(), nn.AvgPool2d(POOL),
            _conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, latents), nn.Sigmoid(),
        )
        self.decoder = nn.Sequential(
            _conv(latents, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 1),
        )
        self.place = nn.Linear(2 + cell, 2 * width, bias=False)  # with the line above, R's first layer
        self.renderer = nn.Sequential(nn.ReLU(), nn.Conv2d(2 * width, 2 * width, 1), nn.ReLU(),
                                      nn.Conv2d(2 * width, 1, 1))
        self.register_buffer("sizes", torch.zeros(2))  # smallest and largest size trained at; 0: not trained

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latents, H/2, W/2) in (0, 1) of images `x` (B, 1, H, W) in [0, 1]."""
        check_images("x", x)
        if x.shape[1] != 1 or x.shape[2] % POOL or x.shape[3] % POOL:
            raise ValueError(f"x must be (B, 1, H, W) with H and W divisible by {POOL}, got {tuple(x.shape)}")
        return self.encoder(x)

    def render(self, z: Tensor, size: int) -> Tensor:
        """Images (B, 1, size, size) of latents `z` (B, latents, g, g).

        A warning says so where `size` is outside the sizes that the field was trained at.
        """
        self._check(z)
        positive_int("size", size)
        low, high = self.sizes.tolist()
        if high and not low <= size <= high:
            warnings.warn(f"size {size} is outside the {low:g} to {high:g} pixels that this field was trained at",
                          stacklevel=2)
        places = (torch.arange(size, dtype=z.dtype, device=z.device) + 0.5) / size
        return self.pixels(z, places, places, 1 / size)

    def pixels(self, z: Tensor, rows: Tensor, columns: Tensor, side: float | Tensor) -> Tensor:
        """Pixels (B, 1, R, C) of side `side` at centres `rows` (R,) or (B, R) and `columns` (C,) or (B, C).

        All are in sides of the image; `side` may be (B,). ValueError for latents of
        another shape, centres outside [0, 1], and a side that is not positive.
        """
        self._check(z)
        side = torch.as_tensor(side, dtype=z.dtype, device=z.device).expand(len(z))
        positive_number("side", side.min().item())
        index, relative = zip(*(_nearest(name, at, len(z), g)
                                for name, at, g in (("rows", rows, z.shape[2]), ("columns", columns, z.shape[3]))))
        batch = torch.arange(len(z), device=z.device)[:, None, None]
        features = self.decoder(z).permute(0, 2, 3, 1)  # (B, g, g, 2 width)
        h = features[batch, index[0][:, :, None], index[1][:, None, :]]  # (B, R, C, 2 width)
        down, right, *cell = self.place.weight.T
        h = h + relative[0][:, :, None, None] * down + relative[1][:, None, :, None] * right
        if self.cell:
            h = h + (side * z.shape[2])[:, None, None, None] * cell[0]
        return self.renderer(h.permute(0, 3, 1, 2))

    def forward(self, x: Tensor, size: int | None = None) -> Tensor:
        """What is left of images `x` (B, 1, H, H) after encoding, rendered at `size`, by default their own."""
        return self.render(self.encode(x), x.shape[-1] if size is None else size)

    def _check(self, z: Tensor) -> None:
        if not isinstance(z, Tensor) or z.ndim != 4 or z.shape[1] != self.latents or z.shape[2] != z.shape[3]:
            shape = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"z must be latents (B, {self.latents}, g, g), got {shape}")


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    """The picture goes on past its border with the pixels of its edge."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


def _nearest(name: str, at: Tensor, n: int, g: int) -> tuple[Tensor, Tensor]:
    """Index (n, R) of the grid place nearest to each centre, and the position relative to it, in [−1, 1]."""
    if at.ndim not in (1, 2) or (at.ndim == 2 and len(at) != n) or not at.numel():
        raise ValueError(f"{name} must be centres (R,) or ({n}, R), got shape {tuple(at.shape)}")
    if not (float(at.min()) >= 0 and float(at.max()) <= 1):
        raise ValueError(f"{name} must be in [0, 1], in sides of the image, got {float(at.min()):.4g} to "
                         f"{float(at.max()):.4g}")
    at = at.expand(n, -1) * g
    index = at.floor().long().clamp(max=g - 1)
    return index, 2 * (at - index) - 1
