"""The search behind `gahb.copies`: the two most similar training images of every query, tile by tile, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from .._files import checksum, read_tensors, replacing
from ..kernels.similarity import Search, unit

AUGMENT = ("flip", "shift", "crop")
TILE = 512 << 20  # bytes of samples that are compared at once
EVERY = 20  # seconds from one checkpoint to the next


class CopySearch:
    """The two most similar training images of every query, tile by tile; stored and taken up again."""

    def __init__(self, n: int, identity: str, checkpoint) -> None:
        self.value, self.index = torch.full((n, 2), -torch.inf), torch.zeros(n, 2, dtype=torch.long)
        self.view = torch.zeros(n, 2, dtype=torch.long)
        self.tile, self.done, self.identity = 0, 0, identity
        self.path = None if checkpoint is None else Path(checkpoint)
        if self.path is not None and self.path.exists():
            self._restore()

    def rows(self, images) -> int:
        """How many queries are compared at once."""
        return max(1, TILE // (4 * math.prod(images.shape[1:])))

    def tiles(self, images) -> int:
        return -(-len(self.value) // self.rows(images))

    def run(self, queries, train, own, views, block, device) -> Iterator[int]:
        """Search; yields how many images have been looked at, over all tiles."""
        size, stored = self.rows(train), time.monotonic()
        try:
            for tile in range(self.tile, self.tiles(train)):
                part = slice(tile * size, min((tile + 1) * size, len(self.value)))
                search = self._search(part, _directions(queries, part, block, device))
                mine = None if own is None else own[part].to(device)
                for done in search.through(train, block, views, own=mine):
                    self._take(part, search)
                    if done == len(train):
                        self.tile, self.done = tile + 1, 0
                    if time.monotonic() - stored > EVERY:
                        self._store()
                        stored = time.monotonic()
                    yield tile * len(train) + done
        finally:  # also when interrupted
            self._store()

    def _search(self, part: slice, directions: Tensor) -> Search:
        known = (table[part].to(directions.device) for table in (self.value, self.index, self.view))
        return Search(directions, *known, done=self.done)

    def _take(self, part: slice, search: Search) -> None:
        for table, found in ((self.value, search.value), (self.index, search.index), (self.view, search.view)):
            table[part] = found.cpu()
        self.done = search.done

    def _store(self) -> None:
        if self.path is not None:
            tensors = dict(value=self.value, index=self.index, view=self.view)
            place = dict(identity=self.identity, tile=str(self.tile), done=str(self.done))
            with replacing(self.path) as partial:
                save_file(tensors, partial, metadata=place)

    def _restore(self) -> None:
        try:
            tensors, place = read_tensors(self.path, f"checkpoint {self.path}")
        except ValueError:  # of something else
            return
        if place.get("identity") == self.identity:
            self.value, self.index, self.view = (tensors[name] for name in ("value", "index", "view"))
            self.tile, self.done = int(place["tile"]), int(place["done"])


def _directions(queries: list[tuple], part: slice, block: int, device: torch.device) -> Tensor:
    """(n, d) unit vectors of the queries in `part`: images by index, from one set after the other."""
    dimension = math.prod(queries[0][0].shape[1:])
    directions = torch.empty(part.stop - part.start, dimension, device=device)
    filled, first = 0, 0
    for images, index in queries:
        wanted = index[max(part.start - first, 0) : max(part.stop - first, 0)]
        for some in wanted.split(block) if len(wanted) else ():
            directions[filled : filled + len(some)] = unit(_picked(images, some).to(device))
            filled += len(some)
        first += len(index)
    return directions


def _picked(images, index: Tensor) -> Tensor:
    """Images by index; neighbours are read as one slice."""
    first, last = int(index[0]), int(index[-1])
    if last - first + 1 == len(index):
        return images[first : last + 1]
    return torch.stack([images[int(i)] for i in index])


def identity_of(samples, train, others, settings: list) -> str:
    """Which search it is: settings and shapes, and three images of each set."""
    tensors = {}
    for name, images in (("samples", samples), ("train", train), ("others", others)):
        for i in {0, len(images) // 2, len(images) - 1}:
            tensors[f"{name} {i}"] = images[i].detach().cpu()
    shapes = [tuple(images.shape) for images in (samples, train, others)]
    return checksum(tensors, str(settings), str(shapes))


# ------------------------------------------------------- mirrored, shifted, cropped


def views_of(augment: Collection[str], shape: tuple[int, ...]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Label → what is done to training images (b, C, H, W)."""
    if not augment:
        return {}
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ValueError(f"augment needs images (n, C, H, W) of at least 8×8 pixels, got {shape} each")
    changes = {}
    if "shift" in augment:
        for down, right in product((-1, 0, 1), repeat=2):
            if (down, right) != (0, 0):
                changes[f"shifted by ({down}, {right})"] = partial(_shifted, down=down, right=right)
    if "crop" in augment:
        height, width = (round(7 * side / 8) for side in shape[1:])
        rest = shape[1] - height, shape[2] - width
        places = dict.fromkeys([(rest[0] // 2, rest[1] // 2), *product((0, rest[0]), (0, rest[1]))])
        for top, left in places:
            changes[f"cropped at ({top}, {left})"] = partial(_cropped, box=(top, left, height, width))
    if "flip" in augment:
        mirrored = {f"mirrored, {label}": partial(_mirrored, then=change) for label, change in changes.items()}
        changes = {"mirrored": _mirrored, **changes, **mirrored}
    return changes


def _mirrored(x: Tensor, then: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    x = x.flip(-1)
    return x if then is None else then(x)


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    """By one pixel; the border repeats the outermost pixels."""
    height, width = x.shape[2:]
    top, left = 1 - down, 1 - right
    return F.pad(x, (1, 1, 1, 1), mode="replicate")[:, :, top : top + height, left : left + width]


def _cropped(x: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    top, left, height, width = box
    crop = x[:, :, top : top + height, left : left + width]
    return F.interpolate(crop, x.shape[2:], mode="bilinear", align_corners=False)
