"""The images with the largest mean-removed cosines, among many: streamed, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

View = Callable[[Tensor], Tensor]  # images (b, …) to images (b, …): mirrored, shifted, cropped


def unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(n, d) images, each less its own mean, over their norms; a constant image becomes 0."""
    away, inverse = _centred(images.flatten(1).to(dtype))
    return away * inverse[:, None]


def most_similar(samples: Tensor, images: Tensor, block: int) -> Tensor:
    """Index (n,) of the image whose cosine with each of the samples is largest, to float32 rounding."""
    search = Search.of(unit(samples), keep=1)
    for _ in search.through(images, block):
        pass
    return search.index[:, 0]


@dataclass
class Search:
    """The most similar images found so far, for samples (n, d) of unit length; `through` goes on where it stands."""

    directions: Tensor  #: (n, d)
    value: Tensor  #: (n, keep) cosines, the largest first
    index: Tensor  #: (n, keep) of the images
    view: Tensor  #: (n, keep) in which each image is most similar: 0 as it is, else 1 + the number of the view
    done: int = 0  #: images that have been looked at

    @classmethod
    def of(cls, directions: Tensor, keep: int) -> Search:
        """A search that has looked at nothing yet; `keep` is 1 or 2."""
        value = directions.new_full((len(directions), keep), -torch.inf)
        index = torch.zeros(value.shape, dtype=torch.long, device=value.device)
        return cls(directions, value, index, torch.zeros_like(index))

    def through(self, images, block: int, views: Sequence[View] = (), own: Tensor | None = None) -> Iterator[int]:
        """Look at the images from `done` on; yields after every block how many have been looked at.

        `images` has a length, and slices (b, …). With `own` (n,), sample i is image own[i], and is
        not compared with itself. The cosine with an image is the largest over its views, so that
        the first two images are two, and not one in two views.
        """
        n, d = self.directions.shape
        buffer = self.directions.new_empty(min(block, len(images)), d)
        product = self.directions.new_empty(n, len(buffer))
        other = torch.empty_like(product) if views else None
        for start in range(self.done, len(images), block):
            x = images[start : start + block].to(self.directions)
            here, view = self._cosines(x.flatten(1), buffer, product), None
            for k, change in enumerate(views, 1):
                changed = self._cosines(change(x).flatten(1), buffer, other)
                view = torch.zeros(here.shape, dtype=torch.uint8, device=here.device) if view is None else view
                view[changed > here] = k
                torch.maximum(here, changed, out=here)
            if own is not None:
                mine = ((own >= start) & (own < start + len(x))).nonzero().flatten()
                here[mine, own[mine] - start] = -torch.inf
            self._update(here, view, start)
            self.done = start + len(x)
            yield self.done

    def _cosines(self, x: Tensor, buffer: Tensor, out: Tensor) -> Tensor:
        """(n, b) cosines with images x (b, d)."""
        away, inverse = _centred(x, out=buffer[: len(x)])
        if len(x) < out.shape[1]:
            out = out.new_empty(len(out), len(x))
        return torch.mm(self.directions, away.T, out=out).mul_(inverse)

    def _update(self, here: Tensor, view: Tensor | None, start: int) -> None:
        """Put the best of a block's cosines (n, b) among those known; they are overwritten."""
        values, places = [], []
        for _ in range(self.value.shape[1]):  # twice the maximum is faster than `topk`
            value, place = here.max(dim=1, keepdim=True)
            here.scatter_(1, place, -torch.inf)
            values.append(value)
            places.append(place)
        value, place = torch.cat(values, dim=1), torch.cat(places, dim=1)
        if torch.isnan(value).any():
            raise ValueError("samples and images must be finite")
        seen = torch.zeros_like(place) if view is None else view.gather(1, place).long()
        known = torch.cat([self.value, value], dim=1)
        best = known.sort(dim=1, descending=True, stable=True).indices[:, : self.value.shape[1]]
        self.value = known.gather(1, best)
        self.index = torch.cat([self.index, place + start], dim=1).gather(1, best)
        self.view = torch.cat([self.view, seen], dim=1).gather(1, best)


def _centred(x: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x (n, d) less the mean of each row, and 1 / norm of that (n,), 0 where only rounding is left."""
    mean = x.mean(dim=1)
    away = torch.sub(x, mean[:, None], out=out)
    norm = torch.linalg.vector_norm(away, dim=1)
    rounding = 1e-5 * torch.hypot(norm, math.sqrt(x.shape[1]) * mean)  # 1e-5 of the norm of x
    return away, torch.where(norm > rounding, 1 / norm, 0)
