"""Two classical denoisers of scikit-image, under the contract: what a network must beat.

Both are given σ; they run on the CPU, image by image, and are not
differentiable: the result carries no gradient, and `torch.func` is refused.
"""

from __future__ import annotations

from functools import partial
from inspect import signature

import numpy as np
import torch
from torch import Tensor

from .._validate import check_points, positive_int, sigma_vector
from .placement import described


class BayesShrink:
    """Soft wavelet thresholding with BayesShrink thresholds, cycle-spun.

    Chang, Yu & Vetterli (2000), as in `skimage.restoration.denoise_wavelet`.

    Parameters
    ----------
    levels : wavelet levels (`wavelet_levels`).
    shifts : circular shifts in each direction, all pairs.

    Raises
    ------
    ValueError for settings < 1; in a call for y that is not (B, 1, H, W) and a
    sigma that is None or not positive; NotImplementedError under `torch.func`.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(2, 16)
    >>> y = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> bool((gahb.BayesShrink(levels=2, shifts=2)(y, 0.1) - x).square().mean() < 0.1**2)
    True
    """

    def __init__(self, levels: int = 4, shifts: int = 4):
        self.levels, self.shifts = positive_int("levels", levels), positive_int("shifts", shifts)

    def __repr__(self) -> str:
        return described(self, **vars(self))

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        return _image_by_image(self._one, y, sigma)

    def _one(self, y: np.ndarray, sigma: float) -> np.ndarray:
        from skimage.restoration import cycle_spin, denoise_wavelet

        keywords = dict(sigma=sigma, method="BayesShrink", mode="soft", wavelet_levels=self.levels)
        renamed = "workers" in signature(cycle_spin).parameters  # since scikit-image 0.26
        one_process = {"workers" if renamed else "num_workers": 1}
        return cycle_spin(y, func=denoise_wavelet, max_shifts=self.shifts - 1, func_kw=keywords, **one_process)


class NonLocalMeans:
    """Means over patches that look alike; `skimage.restoration.denoise_nl_means`.

    Buades, Coll & Morel (2005), with the settings of scikit-image's own gallery
    for its fast mode where σ is known: h = 0.6 σ.

    Parameters
    ----------
    patch, distance : side of a patch, and how far to look for others.

    Raises
    ------
    As for :class:`BayesShrink`.

    Examples
    --------
    >>> import gahb, torch
    >>> x = gahb.images.disks(2, 16)
    >>> y = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    >>> bool((gahb.NonLocalMeans()(y, 0.1) - x).square().mean() < 0.1**2)
    True
    """

    def __init__(self, patch: int = 5, distance: int = 6):
        self.patch, self.distance = positive_int("patch", patch), positive_int("distance", distance)

    def __repr__(self) -> str:
        return described(self, **vars(self))

    def __call__(self, y: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        return _image_by_image(self._one, y, sigma)

    def _one(self, y: np.ndarray, sigma: float) -> np.ndarray:
        from skimage.restoration import denoise_nl_means

        run = partial(denoise_nl_means, patch_size=self.patch, patch_distance=self.distance, fast_mode=True)
        return run(y, h=0.6 * sigma, sigma=sigma)


def _image_by_image(one, y: Tensor, sigma) -> Tensor:
    check_points("y", y)
    if y.ndim != 4 or y.shape[1] != 1:
        raise ValueError(f"y must be (B, 1, H, W), got shape {tuple(y.shape)}")
    levels = sigma_vector(sigma, y)
    try:
        levels = levels.tolist()
        arrays = y[:, 0].detach().cpu().double().numpy()
    except RuntimeError as error:  # a wrapper of torch.func holds no numbers
        raise NotImplementedError("scikit-image's denoisers are not differentiable and refuse torch.func") from error
    images = [one(image, s) for image, s in zip(arrays, levels)]
    return torch.from_numpy(np.stack(images))[:, None].to(y)
