"""Recipes: everything that determines a trained denoiser, as a small readable file.

    network: {kind: UNet, width: 32, depth: 2}
    images: {kind: c_alpha, size: 32, alpha: 2}
    training: {steps: 4000, batch: 32}

`images` names a class of `gahb.images` and its arguments. Without `n` every
step sees fresh images; with `n` the network is trained on that many, and
`subset` ("first" or "second") says which of two disjoint sets. For a folder,
`path` may hold environment variables. `shuffle` permutes the pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from . import images as classes
from .denoisers.networks import BFCNN, UNet
from .risk import psnr_curve
from .training import ImageSource, fit

NETWORKS = {"UNet": UNet, "BFCNN": BFCNN}
CLASSES = {"c_alpha": classes.c_alpha, "disks": classes.disks, "dead_leaves": classes.dead_leaves,
           "photos": classes.photos, "folder": classes.folder}
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # noise levels of the learning curves
_SECOND, _TEST = 1 << 30, 1 << 31  # indices at which the second subset and the test images of a class begin


@dataclass(frozen=True)
class Recipe:
    """A network, its images and its training; the hash names the result."""

    name: str
    network: dict
    images: dict
    training: dict

    def __post_init__(self):
        for field, allowed in (("network", NETWORKS), ("images", CLASSES)):
            kind = getattr(self, field).get("kind")
            if kind not in allowed:
                raise ValueError(f"recipe {self.name}: {field}.kind must be one of {', '.join(allowed)}, got {kind!r}")
        subset = self.images.get("subset", "first")
        if subset not in ("first", "second"):
            raise ValueError(f"recipe {self.name}: images.subset must be first or second, got {subset!r}")

    @property
    def hash(self) -> str:
        """Of network, images and training, not of the name."""
        content = {key: value for key, value in asdict(self).items() if key != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def build(self) -> nn.Module:
        """The untrained network; its initial weights depend on the training seed only."""
        return build(self.network, seed=self.training.get("seed", 0))

    def source(self) -> ImageSource:
        """The training images: a tensor where `n` is given, else a stream of fresh ones."""
        return self._images(test=False)

    def test_images(self, n: int = 64) -> Tensor:
        """Images of the same class that are in neither subset."""
        return self._images(test=True, count=n)

    def _images(self, *, test: bool, count: int = 64) -> ImageSource:
        arguments = dict(self.images)
        kind, n = arguments.pop("kind"), arguments.pop("n", None)
        second, shuffle = arguments.pop("subset", "first") == "second", arguments.pop("shuffle", None)
        seen = (lambda x: x) if shuffle is None else partial(classes.shuffle_pixels, seed=shuffle)
        if kind == "folder":
            every = classes.folder(os.path.expandvars(arguments.pop("path")), **arguments)
            first, other, rest = classes.split(every, n) if n else (every[count:], None, every[:count])
            return seen(rest[:count] if test else other if second else first)
        if kind == "photos" and test:
            arguments["split"] = "test"
        make = partial(CLASSES[kind], **arguments)
        if test:
            return seen(make(count, start=_TEST))
        if n:
            return seen(make(n, start=_SECOND if second else 0))
        return lambda n, start: seen(make(n, start=start))

    def train(self, *, checkpoint=None, progress: bool = True, log: list | None = None) -> nn.Module:
        """Fit the network, with a learning curve (PSNR of test images by noise level) in the log."""
        test = self.test_images()

        def monitor(network: nn.Module) -> dict:
            return {"psnr": [round(p, 3) for p in psnr_curve(network, test, LEVELS).psnr.tolist()]}

        return fit(self.build(), self.source(), checkpoint=checkpoint, progress=progress, log=log, monitor=monitor,
                   **self.training)


def build(specification: dict, *, seed: int = 0) -> nn.Module:
    """A network from ``{kind: UNet | BFCNN, …arguments}``; initial weights from `seed` only."""
    arguments = dict(specification)
    kind = arguments.pop("kind", None)
    if kind not in NETWORKS:
        raise ValueError(f"network kind must be one of {', '.join(NETWORKS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[kind](**arguments)


def read(path: str | os.PathLike) -> Recipe:
    """A recipe from a YAML file; the file's stem is its name."""
    path = Path(path)
    content = yaml.safe_load(path.read_text())
    fields = {"network", "images", "training"}
    if not isinstance(content, dict) or set(content) != fields:
        raise ValueError(f"{path} must have the entries {', '.join(sorted(fields))}, got {content!r:.80}")
    return Recipe(name=path.stem, **content)
